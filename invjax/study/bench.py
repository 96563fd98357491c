"""The reconstructions of one representation, picture by picture, beside the controls."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from invjax import inversion, metrics
from invjax.errors import UserError
from invjax.experiment.plan import noise_key
from invjax.objective import sigma
from invjax.report.rundir import Row, Run, grouped
from invjax.study.pictures import Restarts, Warn, originals, read_original, read_restarts
from invjax.study.rows import Units, tabulate
from invjax.study.sample import Sample, Seen
from invjax.study.scope import INVERTED, Scope, Shape, build
from invjax.study.tables import CEILING, FLOOR, MEASURES, RECONSTRUCTIONS, Found, group_of
from invjax.types import InputSpec

PICTURES = 32  # of which the mean distance is a unit: as good as that of more, and soon computed


class Bench:
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
        found = Sample(restarts.pictures, measures).look([*self._scope.views, inverted], original, classifier)
        norm = math.nan if original is None else found.seen[INVERTED].norm
        apart = _distance_of_the_run(restarts.rows, norm)
        samples = {RECONSTRUCTIONS: found}
        for of, control in controls.items():
            samples[of] = _with_errors(control.look([inverted], original), apart)
        units = _units(found.seen, {**self._apart, INVERTED: apart}, "restarts" if original is None else "picture")
        return tabulate(samples, units, classifier)

    def _open(self, shape: Shape) -> None:
        """Builds everything for pictures of that shape."""
        layers = list(dict.fromkeys(row.layer for row in self._rows))
        most = max(len(group) for group in grouped(self._rows, group_of).values())
        count = max(min(len(originals(self._run)), PICTURES), most + 1)  # of the pictures that are looked at together
        self._scope = build(self._config, self._rows[0].representation, layers, shape, count)
        self._check_weights()
        self._shape = shape
        pictures = list(itertools.islice(self._others(), PICTURES))
        self._apart = {
            name: metrics.mean_pairwise_distance(features)
            for view in (self._scope.views if len(pictures) > 1 else ())
            for name, features in view.look(pictures)
        }

    def _check_weights(self) -> None:
        for row in self._rows:
            here = self._scope.inverted[row.layer].phi.source
            if row.weights and here and row.weights != here:
                raise UserError(f"{row.representation}: the run's weights were {row.weights}, these are {here}")

    @property
    def _spec(self) -> InputSpec:
        """What the representation wants to be shown; the same for all layers."""
        return next(iter(self._scope.inverted.values())).phi.input

    def _original(self, image: str) -> np.ndarray | None:
        """What Φ was shown; None, and a warning, where that is not to be had."""
        if self._run.config.get("features"):
            return None  # nothing was shown
        try:
            original = read_original(self._run, image, self._spec, self._shape)
            if original is None:
                raise UserError(f"images/{image}/original.png: of another size or without colours")
            return original
        except UserError as error:
            self._warn(f"{error}: studied without the picture")
            return None

    def _others(self) -> Iterator[np.ndarray]:
        """What Φ was shown of all pictures, as far as it is to be had."""
        for image in originals(self._run):
            with contextlib.suppress(UserError):
                original = read_original(self._run, image, self._spec, self._shape)
                if original is not None:
                    yield original

    def _controls(self, rows: Sequence[Row], original: np.ndarray | None) -> dict[str, Sample]:
        """The picture itself, and the noise that the descents started from."""
        if not rows[0].seed.isdecimal():
            raise UserError(f"{self._run.workdir}/results.csv: seed is '{rows[0].seed}', not a whole number")
        keys = [noise_key(int(rows[0].seed), rows[0].image, restart) for restart in sorted({r.restart for r in rows})]
        noise = sigma(self._shape) * np.stack([inversion.noise(key, self._shape) for key in keys])
        pictures = {FLOOR: noise} if original is None else {CEILING: original[None], FLOOR: noise}
        samples = {of: Sample(shown, _likeness(shown, original, self._spec)) for of, shown in pictures.items()}
        views, classifier = self._scope.views, self._scope.classifier
        return {of: sample.look(views, original, classifier) for of, sample in samples.items()}


def _likeness(pictures: np.ndarray, original: np.ndarray | None, spec: InputSpec) -> dict[str, list[float]]:
    """PSNR and SSIM of each picture, NaN without an original."""
    return {
        measure.__name__: [math.nan if original is None else measure(picture, original, spec) for picture in pictures]
        for measure in (metrics.psnr, metrics.ssim)
    }


def _distance_of_the_run(rows: Sequence[Row], norm: float) -> float:
    """The mean distance of pictures in normalized_error, found from ‖Φ₀‖; NaN where there was none, or no ‖Φ₀‖."""
    found = [
        math.sqrt(row.relative_error) * norm / row.normalized_error
        for row in rows
        if 0 < row.normalized_error < math.inf
    ]
    return float(np.mean(found)) if found else math.nan


def _with_errors(control: Sample, apart: float) -> Sample:
    """A control with its errors in the representation that was inverted."""
    inverted = control.seen[INVERTED]
    relative = [float((error / inverted.norm) ** 2) for error in inverted.errors]
    normalized = [metrics.normalized_error(error, inverted.norm, apart) for error in relative]
    return control.measured(relative_error=relative, normalized_error=normalized)


def _units(seen: Mapping[str, Seen], apart: Mapping[str, float], otherwise: str) -> Units:
    """Mean distances of pictures where there are any, norms otherwise."""
    return {
        name: (apart[name], "pictures") if apart.get(name, 0) > 0 else (one.norm, otherwise)
        for name, one in seen.items()
    }
