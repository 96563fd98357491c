"""The reconstructions of one representation, picture by picture, beside the controls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from invjax import metrics, parameterizations
from invjax.analysis.restarts.pictures import Restarts, Warn, read_restarts
from invjax.analysis.restarts.rows import Units, tabulate
from invjax.analysis.restarts.sample import Sample
from invjax.analysis.restarts.scope import INVERTED, Scope, Shape, build
from invjax.analysis.restarts.tables import CEILING, FLOOR, RECONSTRUCTIONS, Found, group_of
from invjax.errors import UserError
from invjax.objective import sigma
from invjax.runs.originals import read_compared, read_original
from invjax.runs.plan import noise_key
from invjax.runs.rundir import Run, grouped
from invjax.runs.store import MEASURES, Row
from invjax.types import InputSpec


class Study:
    """Studies the reconstructions of one representation and variant.

    Args:
        run: the run.
        config: of the variant.
        rows: all reconstructions of this representation and variant.
        warn: is told, in a line, what is missing or damaged.
    """

    def __init__(self, run: Run, config: ConfigDict, rows: Sequence[Row], warn: Warn) -> None:
        self._run, self._config, self._rows, self._warn = run, config, rows, warn
        self._shape: Shape = (0, 0, 0)
        self._scope = Scope({}, ())
        self._apart: dict[str, float] = {}  # mean distance of different pictures, by feature
        self._apart_inverted: dict[str, float] = {}  # the same of what was inverted, by layer

    def study(self, rows: Sequence[Row]) -> Iterator[tuple[Restarts, Found]]:
        """Studies the reconstructions of one picture.

        Args:
            rows: these reconstructions.

        Yields:
            Each group of restarts of which any can be read, and its rows of every table.

        Raises:
            UserError: the representation cannot be built again, or only with other weights.
        """
        read = (read_restarts(self._run, group, self._warn) for group in grouped(rows, group_of).values())
        groups = [restarts for restarts in read if restarts]
        if not groups:
            return
        if groups[0].shape != self._shape:
            self._open(groups[0].shape)
        original = self._original(rows[0].image)
        controls = self._controls(rows, original)
        for restarts in groups:
            yield restarts, self._study(restarts, original, controls)

    def _study(self, restarts: Restarts, original: np.ndarray | None, controls: Mapping[str, Sample]) -> Found:
        inverted, classifier = self._scope.inverted[restarts.rows[0].layer], self._scope.classifier
        measures = {measure: [getattr(row, measure) for row in restarts.rows] for measure in MEASURES}
        found = Sample(restarts.pictures, measures).compared([*self._scope.views, inverted], original, classifier)
        apart = self._apart_inverted.get(restarts.rows[0].layer, math.nan)
        samples = {RECONSTRUCTIONS: found}
        for of, control in controls.items():
            samples[of] = _with_errors(control.compared([inverted], original), apart)
        norm = "restarts" if original is None else "picture"
        units = Units({**self._apart, INVERTED: apart}, {name: one.norm for name, one in found.seen.items()}, norm)
        return tabulate(samples, units, classifier)

    def _open(self, shape: Shape) -> None:
        """Builds everything for pictures of that shape."""
        layers = list(dict.fromkeys(row.layer for row in self._rows))
        most = max(len(group) for group in grouped(self._rows, group_of).values())
        compared = self._compared(shape)
        count = max(len(compared), most + 1)  # of the pictures that are looked at together
        made_by = self._run.origins[self._rows[0].representation].made_by
        self._scope = build(self._config, made_by, layers, shape, count)
        self._check_weights()
        self._shape = shape
        self._measure(compared)

    def _compared(self, shape: Shape) -> list[str]:
        """Names of the pictures between which the run has taken the mean distance; none, and a warning, without."""
        if self._config.features:
            return []  # nothing was shown
        first = self._rows[0]
        try:
            return read_compared(self._run.workdir, first.variant, first.representation, shape)
        except UserError as error:
            self._warn(f"{error}: studied without normalized distances")
            return []

    def _measure(self, compared: Sequence[str]) -> None:
        """Finds how far the pictures are apart in everything that is looked at."""
        self._apart, self._apart_inverted = {}, {}
        try:
            pictures = [self._read(image) for image in compared]
        except UserError as error:  # the mean of the others would be another
            self._warn(f"{error}: studied without normalized distances")
            return
        if len(pictures) < 2:
            return
        for view in self._scope.views:
            for name, rows in view.rows(pictures):
                self._apart[name] = metrics.distance_between_pictures(rows)
        for layer, view in self._scope.inverted.items():
            for _, rows in view.rows(pictures):
                self._apart_inverted[layer] = metrics.distance_between_pictures(rows)

    def _check_weights(self) -> None:
        for row in self._rows:
            here = self._scope.inverted[row.layer].phi.origin.source
            if row.weights and here and row.weights != here:
                raise UserError(f"{row.representation}: the run's weights were {row.weights}, these are {here}")

    @property
    def _spec(self) -> InputSpec:
        """What the representation wants to be shown; the same for all layers."""
        return next(iter(self._scope.inverted.values())).phi.input

    def _read(self, image: str) -> np.ndarray:
        return read_original(self._run.workdir, image, self._spec, self._shape)

    def _original(self, image: str) -> np.ndarray | None:
        """What Φ was shown; None, and a warning, where that is not to be had."""
        if self._config.features:
            return None  # nothing was shown
        try:
            return self._read(image)
        except UserError as error:
            self._warn(f"{error}: studied without the picture")
            return None

    def _controls(self, rows: Sequence[Row], original: np.ndarray | None) -> dict[str, Sample]:
        """The picture itself, and the noise that the descents started from."""
        if not rows[0].seed.isdecimal():
            raise UserError(f"{self._run.workdir}/results.csv: seed is '{rows[0].seed}', not a whole number")
        keys = [noise_key(int(rows[0].seed), rows[0].image, restart) for restart in sorted({r.restart for r in rows})]
        noise = sigma(self._shape) * np.stack([parameterizations.pixels(self._shape).start(key) for key in keys])
        pictures = {FLOOR: noise} if original is None else {CEILING: original[None], FLOOR: noise}
        samples = {of: Sample(shown, _likeness(shown, original, self._spec)) for of, shown in pictures.items()}
        views, classifier = self._scope.views, self._scope.classifier
        return {of: sample.compared(views, original, classifier) for of, sample in samples.items()}


def _likeness(pictures: np.ndarray, original: np.ndarray | None, spec: InputSpec) -> dict[str, list[float]]:
    """PSNR and SSIM of each picture, NaN without an original."""
    return {
        measure.__name__: [math.nan if original is None else measure(picture, original, spec) for picture in pictures]
        for measure in (metrics.psnr, metrics.ssim)
    }


def _with_errors(control: Sample, apart: float) -> Sample:
    """A control with its errors in the representation that was inverted."""
    inverted = control.seen[INVERTED]
    relative = [float((error / inverted.norm) ** 2) for error in inverted.errors]
    normalized = [metrics.normalized_error(error, inverted.norm, apart) for error in relative]
    return control.measured(relative_error=relative, normalized_error=normalized)
