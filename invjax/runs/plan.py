"""The plan: which reconstructions a config asks for, in batches that compile once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import itertools
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from invjax import (
    descent,
    images,
    inversion,
    masks,
    metrics,
    named,
    optimizers,
    parameterizations,
    recipes,
    representations,
)
from invjax.errors import UserError
from invjax.representations.receptive import placed
from invjax.runs.config import check, options_of
from invjax.runs.effects import HOGGLES
from invjax.runs.inverters import Descent, Hoggles, Inverter
from invjax.runs.sources import (
    OnDemand,
    Picture,
    Shape,
    Shapes,
    find_pictures,
    given_features,
    on_demand,
    picture_shapes,
)
from invjax.runs.store import Key
from invjax.types import Feature, Image, Representation, work

LONGEST_NAME = 200  # bytes; file systems take 255, with suffixes
MEASURED = 200  # pictures between which the mean distance is taken, at most: 19,900 pairs; the paper has 100 pictures
LEFT_OUT = "; it does not count in the mean distance of normalized_error"


@dataclasses.dataclass(frozen=True, slots=True)
class Reconstruction:
    """One row of the results, before it is computed.

    Attributes:
        picture: its place in the job's pictures.
        image: the picture's name.
        restart: number of the start.
        seed: of the noise.
        weights: of the regularizers, by name.
        variant: of the sweep, empty without one.
    """

    picture: int
    image: str
    restart: int
    seed: int
    weights: dict[str, float]
    variant: str = ""

    @property
    def lambda_tv(self) -> float:
        """Weight of total variation."""
        return self.weights.get("tv", 0.0)


@dataclasses.dataclass(frozen=True)
class Targets:
    """The features to be inverted, of a batch's pictures.

    Attributes:
        features: Φ₀ by the picture's place in the job, NumPy.
        pairwise_distance: mean distance between the features of the job's pictures, see `Job.pairwise_distance`.
        originals: float32 [H, W, C], what phi was shown, by the picture's place; None where features are given.
        faults: why features of other pictures cannot be inverted.
    """

    features: Mapping[int, Feature]
    pairwise_distance: float
    originals: Mapping[int, np.ndarray | None] = dataclasses.field(default_factory=dict)
    faults: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def of(self, picture: int) -> Feature:
        """Φ₀ of one picture."""
        return self.features[picture]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """All reconstructions of one representation, method and picture size: one compilation.

    Attributes:
        phi: the representation.
        inverter: how it is inverted.
        recipe: name of the recipe.
        image_shape: [H, W, C] of the pictures to be found.
        pictures: their names.
        digests: of their files.
        originals: float32 [H, W, C], what phi is shown, read on demand; None where the features come from elsewhere.
        given: these features, read on demand; None where there are originals.
        rows: the reconstructions, in order.
        code: the user's own files that it is made of.
        starts: pictures to start from, one or one for each restart; none: noise.
    """

    phi: Representation
    inverter: Inverter
    recipe: str
    image_shape: tuple[int, int, int]
    pictures: tuple[str, ...]
    digests: tuple[str, ...]
    originals: Sequence[np.ndarray] | None
    given: Sequence[Feature] | None
    rows: tuple[Reconstruction, ...]
    code: OnDemand
    starts: OnDemand | None = None

    def targets(self, pictures: Iterable[int] | None = None) -> Targets:
        """Computes the features of some pictures, all by default; not kept, so that they do not fill the memory."""
        found, originals, faults = {}, {}, {}
        for picture in dict.fromkeys(range(len(self.pictures)) if pictures is None else pictures):
            try:
                found[picture], originals[picture] = self._look(picture)
                inversion.check_target(self.phi, found[picture], self.image_shape)
            except UserError as error:
                left_out = picture in found and not metrics.counts(metrics.row(found[picture]))
                faults[picture] = f"{error}{LEFT_OUT if left_out else ''}"
        return Targets(found, self.pairwise_distance, originals, faults)

    def blank(self) -> Targets:
        """Features of the right shapes: what they cost does not depend on what they say."""
        zeros = jax.tree.map(
            lambda shape: np.zeros(shape, np.float32),
            self.phi.feature_shape(self.image_shape),
            is_leaf=lambda shape: isinstance(shape, tuple),
        )
        return Targets(dict.fromkeys(range(len(self.pictures)), zeros), math.nan)

    def _look(self, picture: int) -> tuple[Feature, np.ndarray | None]:
        """Φ₀ of a picture, and what phi was shown, if anything."""
        if self.originals is None:
            return cast(Sequence[Feature], self.given)[picture], None
        original = self.originals[picture]
        return compute_features(self.phi, [original])[0], original

    @functools.cached_property
    def pairwise_distance(self) -> float:
        """The unit of normalized_error, between the pictures that are `compared`; NaN for a single one."""
        rows = []
        for place in self.compared:
            with contextlib.suppress(UserError):  # of a file that has changed, which is told when it is its turn
                rows.append(metrics.row(self._look(place)[0]))
        return metrics.distance_between_pictures(rows)

    @property
    def compared(self) -> list[int]:
        """Places of the pictures between which the mean distance is taken.

        Of more than MEASURED pictures, as many of them, evenly spaced: folders are often in order of classes.
        """
        pictures = len(self.pictures)
        count = min(pictures, MEASURED)
        return [number * pictures // count for number in range(count)]

    def problems(self, rows: Sequence[Reconstruction], targets: Targets) -> descent.Problem:
        """The batch that finds `rows`."""
        weights = {name: jnp.asarray([row.weights[name] for row in rows], jnp.float32) for name in rows[0].weights}
        keys = [noise_key(row.seed, row.image, row.restart) for row in rows]
        found = [targets.of(row.picture) for row in rows]
        features = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *found)
        return descent.Problem(features, jnp.stack(keys), weights, self._starts(rows))

    def _starts(self, rows: Sequence[Reconstruction]) -> jax.Array | None:
        """The pictures that `rows` start from, if any."""
        if self.starts is None:
            return None
        places = [row.restart % len(self.starts) for row in rows]
        pictures = {place: self.starts[place] for place in dict.fromkeys(places)}
        return jnp.asarray(np.stack([pictures[place] for place in places]))

    def key(self, row: Reconstruction) -> Key:
        """What tells a reconstruction from all others of the run."""
        place = {"representation": self.phi.name, "layer": self.phi.layer, "lambda_tv": row.lambda_tv}
        return Key.of({name: getattr(row, name) for name in ("image", "variant", "restart")} | place)

    @property
    def steps(self) -> int:
        """Gradient steps of a reconstruction."""
        return self.inverter.steps

    @property
    def work(self) -> float:
        """Of one reconstruction, in milliseconds of two CPU cores, as far as one can tell by the layer."""
        return max(self.steps, 1) * (2.0 + work(self.phi.apply).operations / 80e6)  # measured in docs/performance.md


@dataclasses.dataclass(frozen=True)
class Batch:
    """Reconstructions of one job, computed at once.

    Attributes:
        job: what they belong to.
        targets: features of their pictures, at least.
        rows: the reconstructions.
    """

    job: Job
    targets: Targets
    rows: tuple[Reconstruction, ...]

    @property
    def keys(self) -> list[Key]:
        """What tells each reconstruction from all others of the run."""
        return [self.job.key(row) for row in self.rows]

    def cut(self, size: int) -> Iterator[Batch]:
        """Batches of at most that size, in order."""
        for first in range(0, len(self.rows), size):
            yield dataclasses.replace(self, rows=self.rows[first : first + size])


def noise_key(seed: int, image: str, restart: int) -> jax.Array:
    """The key of one start: of seed, picture name and restart only, whatever else the run contains."""
    return inversion.restart_key(jax.random.fold_in(jax.random.key(seed), zlib.crc32(image.encode())), restart)


def fingerprints(jobs: Sequence[Job]) -> dict[str, str]:
    """What tells the pictures, features and weights of one run from those of another: hashes by name."""
    found: dict[str, str] = {}
    for job in jobs:
        file, _, digest = job.phi.origin.source.rpartition(" ")
        if digest.startswith("sha256:"):  # random ones follow from the config
            found[f"weights of {job.phi.name}: {file}"] = digest
        found |= dict(zip(job.pictures, job.digests, strict=True))
        if job.starts is not None:
            found |= {f"start {name}": digest for name, digest in job.starts.hashes().items()}
        found |= job.code.hashes()
    return found


def _code(config: ConfigDict) -> OnDemand:
    """The user's files that a config depends on: those in which its names are, and those that options name."""
    found = {named.parse(text).name.rpartition(":")[0]: named.file_of(text) for text in _texts(config) if text}
    files = [Picture(f"code of {place}", path) for place, path in found.items() if path]
    pointed = {"parameterization": parameterizations.files_of(config.parameterization)}
    pointed |= {"hoggles": [Path(config.hoggles)] if config.hoggles else []}
    files += [Picture(f"options of {field}: {path}", path) for field, paths in pointed.items() for path in paths]
    return OnDemand(files, str)


def _texts(config: ConfigDict) -> Iterator[str]:
    """What is made by name."""
    yield from (*config.representations, config.recipe, config.loss, config.optimizer.name, config.parameterization)
    yield from named.split(config.augment)
    yield from (term[1] for term in dict(config.regularizers or {}).values() if term and isinstance(term[1], str))


def compute_features(phi: Representation, pictures: Iterable[np.ndarray]) -> list[Feature]:
    """Φ of each picture, NumPy; one after the other, so that memory does not grow with their number."""
    return [jax.device_get(_feature(phi.bare, picture)) for picture in _checked(phi, pictures)]


@jax.jit
def _feature(phi: Representation, picture: Image) -> Feature:
    return phi.apply(phi.params, picture)


def _checked(phi: Representation, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for picture in pictures:
        phi.input.check(picture.shape, phi.name)
        yield picture


def make_jobs(config: ConfigDict) -> list[Job]:
    """Checks a config, and reads the pictures or features that it asks for.

    Variants that differ in weights or in what they show share their jobs, and with them compilation and batches.

    Raises:
        UserError: a field's value, a picture, a file of features or a representation's option cannot be used, or two
            reconstructions would have the same name.
    """
    variants = check(config)
    pictures = _find_once([variant.images for _, variant in variants if not variant.features])
    builder = _Builder()
    jobs: dict[Any, Job] = {}
    for name, variant in variants:
        for job in builder.jobs(variant, name, pictures.get(variant.images, [])):
            shown = job.image_shape, job.pictures, variant.features, variant.features_layout, variant.start
            key = job.phi, job.inverter, job.recipe, shown
            jobs[key] = dataclasses.replace(jobs[key], rows=jobs[key].rows + job.rows) if key in jobs else job
    _refuse_twins(list(jobs.values()))
    return list(jobs.values())


def _find_once(patterns: list[tuple[str, ...]]) -> dict[tuple[str, ...], list[Picture]]:
    """The pictures of each variant; one that several variants show has the same name in all."""
    everything = find_pictures(tuple(itertools.chain.from_iterable(patterns))) if patterns else []
    names = {picture.path.resolve(): picture for picture in everything}
    return {wanted: [names[picture.path.resolve()] for picture in find_pictures(wanted)] for wanted in patterns}


def _refuse_twins(jobs: list[Job]) -> None:
    taken = set()
    for job in jobs:
        for row in job.rows:
            place = stem(job, row)
            if place in taken:
                raise UserError(f"config.sweep: {job.key(row)} is asked for twice, or differs by too little")
            if len(place.rpartition("/")[2].encode()) > LONGEST_NAME:
                raise UserError(f"config.sweep: '{row.variant}' is too long for the name of a file: vary fewer fields")
            taken.add(place)


def stem(job: Job, row: Reconstruction) -> str:
    """Path of a reconstruction's files inside the run directory, without suffix."""
    variant = re.sub(r"[^\w.=+-]+", "-", row.variant)
    what = "_".join(filter(None, (job.phi.name, job.phi.layer.replace("/", "-").replace("*", "x"), variant)))
    return f"images/{row.image}/{what}_tv{row.lambda_tv:g}_r{row.restart}"


class _Builder:
    """Makes jobs; builds each representation and reads each picture once for all variants."""

    def __init__(self) -> None:
        self._phis: dict[Any, list[Representation]] = {}
        self._masked: dict[Any, Representation] = {}
        self._shapes: Shapes = {}

    def jobs(self, config: ConfigDict, variant: str, pictures: list[Picture]) -> Iterator[Job]:
        """The jobs of one variant."""
        for name in config.representations:
            for phi in self._representations(config, name):
                if config.features:
                    yield self._of_features(config, variant, phi)
                else:
                    yield from self._of_pictures(config, variant, phi, pictures)

    def _representations(self, config: ConfigDict, name: str) -> list[Representation]:
        """One for each layer, of a network."""
        key = name, config.layers, repr(sorted(options_of(config, name).items()))
        if key not in self._phis:
            self._phis[key] = representations_of(config, name)
        return self._phis[key]

    def _of_pictures(
        self, config: ConfigDict, variant: str, phi: Representation, pictures: list[Picture]
    ) -> Iterator[Job]:
        """One job for each size of picture."""
        size = phi.input.size if config.size is None else config.size
        alike: dict[Shape, list[Picture]] = {}
        for picture, shape in zip(pictures, picture_shapes(pictures, phi, size, self._shapes), strict=True):
            alike.setdefault(shape, []).append(picture)
        for shape, chosen in alike.items():
            yield _job(config, variant, self._mask(config.mask, phi, shape), shape, on_demand(chosen, phi, size))

    def _of_features(self, config: ConfigDict, variant: str, phi: Representation) -> Job:
        """The job of features that were computed elsewhere."""
        size = config.size or phi.input.size
        shape = (size, size, phi.input.channels)
        masked = self._mask(config.mask, phi, shape)
        mask = masked.params[1] if config.mask else 1.0
        found = given_features(config.features, phi, shape, config.features_layout, mask)
        return _job(config, variant, masked, shape, found)

    def _mask(self, mask: str, phi: Representation, shape: tuple[int, int, int]) -> Representation:
        if not mask:
            return phi
        key = mask, phi, shape
        if key not in self._masked:
            phi = placed(phi) if "centre" in masks.parse(mask) else phi  # for a figure of what it sees
            try:
                self._masked[key] = masks.apply(phi, masks.named(mask, phi.feature_shape(shape)))
            except UserError as error:
                raise UserError(f"config.mask '{mask}', {phi.title}: {error}") from None
        return self._masked[key]


def representations_of(config: ConfigDict, name: str, layers: Sequence[str] | None = None) -> list[Representation]:
    """Builds what a config asks for under a name: one for each layer.

    Args:
        config: of one variant.
        name: one of its representations.
        layers: of these layers instead of its own.

    Raises:
        UserError: no such layer, option or weights, or a name that no file can have.
    """
    found = representations.several(name, config.layers if layers is None else layers, **options_of(config, name))
    for phi in found:
        if not re.fullmatch(r"[\w.+-]+", phi.name):
            raise UserError(f"{name}: '{phi.name}' cannot be the name of a representation: letters, digits, _.+- only")
    return found


def _job(config: ConfigDict, variant: str, phi: Representation, shape: Shape, found: OnDemand) -> Job:
    names = tuple(file.name for file in found.files)
    originals, given = (None, found) if config.features else (found, None)
    inverter, weights = _inverter(config, phi, shape)
    own = {name: weight for name, weight in weights.items() if name != "tv"}
    lambdas = config.lambda_tv or (weights.get("tv", 0.0),)
    # rows share them: there may be a million rows
    chosen = [own | ({"tv": float(weight)} if weights else {}) for weight in lambdas]
    rows = (
        Reconstruction(place, name, restart, config.seed, weights, variant)
        for place, name in enumerate(names)
        for weights in chosen
        for restart in range(config.restarts)
    )
    return Job(
        phi=phi,
        inverter=inverter,
        recipe=config.recipe,
        image_shape=shape,
        pictures=names,
        digests=found.digests,
        originals=originals,
        given=given,
        rows=tuple(rows),
        code=_code(config),
        starts=_starts(config, phi, inverter, shape),
    )


def _starts(config: ConfigDict, phi: Representation, inverter: Inverter, shape: Shape) -> OnDemand | None:
    """The pictures to start from, each looked at once."""
    if not config.start or not isinstance(inverter, Descent):
        return None
    inversion.check_encodes(inverter.method)
    files = find_pictures(config.start)
    if len(files) not in (1, config.restarts):
        raise UserError(f"config.start must be a picture, or {config.restarts}, one for each restart, got {len(files)}")
    if config.restarts > len(files) and not config.augment:
        raise UserError("config.restarts: all from one config.start are the same: give one for each, or an augment")
    found = OnDemand(files, lambda place: images.load_image(files[place].path, phi.input, (shape[0], shape[1])))
    for place in range(len(found)):
        found[place]
    return found


def _inverter(config: ConfigDict, phi: Representation, shape: Shape) -> tuple[Inverter, dict[str, float]]:
    """What inverts phi, and the weights of regularizers by name, of which HOGgles has none."""
    if config.recipe == HOGGLES:
        from invjax import hoggles  # with what it needs of scikit-learn, which descents do not

        dictionary = hoggles.load(Path(config.hoggles))
        hoggles.check(dictionary, phi)
        return Hoggles(config.hoggles, dictionary), {}
    method, weights, steps = recipes.prepare(phi, shape, _recipe(config, phi), **_settings(config))
    return Descent(method, steps), weights


def _settings(config: ConfigDict) -> dict[str, Any]:
    """The fields that `recipes.prepare` asks for by name; total variation's weight is each row's own."""
    wanted = inspect.signature(recipes.prepare).parameters.keys() - {"recipe", "lambda_tv", "optimizer"}
    found = {name: config[name] for name in wanted if name in config}
    if config.regularizers is not None:
        found["regularizers"] = dict(config.regularizers.items())
    own = config.optimizer.name and not optimizers.is_scheduled(config.optimizer.name)
    return found | {"augment": config.augment or None, "optimizer": config.optimizer.name if own else None}


def _recipe(config: ConfigDict, phi: Representation) -> recipes.Recipe:
    recipe, chosen = recipes.get(config.recipe, phi), config.optimizer
    changes: dict[str, Any] = {}
    if chosen.name and optimizers.is_scheduled(chosen.name):
        name = named.parse(chosen.name).name
        changes = {"optimizer": name, "rate": optimizers.DEFAULT_RATES[name]}
    changes |= {"rate": chosen.rate} if chosen.rate is not None else {}
    changes |= {"schedule": chosen.schedule} if chosen.schedule else {}
    return dataclasses.replace(recipe, **changes)
