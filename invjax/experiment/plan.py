"""The plan: which reconstructions a config asks for, in batches that compile once."""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import inspect
import itertools
import re
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from invjax import features, images, inversion, masks, metrics, nets, optimizers, recipes, representations
from invjax.errors import UserError
from invjax.experiment.config import check
from invjax.representations.networks import networks
from invjax.types import Feature, Representation

if TYPE_CHECKING:
    from invjax.hoggles import Dictionary


LONGEST_NAME = 200  # bytes; file systems take 255, with suffixes


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the run: a name of its own, and where it is."""

    name: str
    path: Path


@dataclasses.dataclass(frozen=True)
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
    """The features to be inverted.

    Attributes:
        features: Φ₀ of each picture, NumPy, leading axis pictures.
        pairwise_distance: mean distance between them, NaN for a single picture.
    """

    features: Feature
    pairwise_distance: float

    def of(self, picture: int) -> Feature:
        """Φ₀ of one picture."""
        return jax.tree.map(lambda leaf: leaf[picture], self.features)


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """All reconstructions of one representation, method and picture size: one compilation.

    Attributes:
        phi: the representation.
        method: how it is inverted.
        steps: gradient steps.
        recipe: name of the recipe.
        image_shape: [H, W, C] of the pictures to be found.
        pictures: their names.
        digests: of their files.
        originals: float32 [H, W, C], what phi is shown; None where the features come from elsewhere.
        given: these features; None where there are originals.
        rows: the reconstructions, in order.
        dictionary: of HOGgles, instead of a descent.
    """

    phi: Representation
    method: recipes.Method
    steps: int
    recipe: str
    image_shape: tuple[int, int, int]
    pictures: tuple[str, ...]
    digests: tuple[str, ...]
    originals: tuple[np.ndarray, ...] | None
    given: tuple[Feature, ...] | None
    rows: tuple[Reconstruction, ...]
    dictionary: Dictionary | None = None

    def targets(self) -> Targets:
        """Computes the features; not kept, so that the jobs of many layers do not fill the memory."""
        found = self.given or compute_features(self.phi, self.originals or ())
        features = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
        return Targets(features, metrics.mean_pairwise_distance(features))

    def faults(self, targets: Targets) -> dict[int, str]:
        """Why features cannot be inverted, by picture; empty when all can."""
        found = {}
        for picture in range(len(self.pictures)):
            try:
                inversion.check_target(self.phi, targets.of(picture), self.image_shape)
            except UserError as error:
                found[picture] = str(error)
        return found

    def problems(self, rows: Sequence[Reconstruction], targets: Targets) -> inversion.Problem:
        """The batch that finds `rows`."""
        index = np.array([row.picture for row in rows])
        names = [name for name, _ in self.method.objective.regularizers]
        weights = {name: jnp.asarray([row.weights[name] for row in rows], jnp.float32) for name in names}
        keys = [noise_key(row.seed, row.image, row.restart) for row in rows]
        features = jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), targets.features)
        return inversion.Problem(features, jnp.stack(keys), weights)

    def key(self, row: Reconstruction) -> dict[str, Any]:
        """What tells a reconstruction from all others of the run."""
        return {
            "image": row.image,
            "representation": self.phi.name,
            "layer": self.phi.layer,
            "variant": row.variant,
            "lambda_tv": row.lambda_tv,
            "restart": row.restart,
        }

    @property
    def work(self) -> float:
        """Of one reconstruction, in milliseconds of two CPU cores, as far as one can tell by the layer."""
        operations = getattr(self.phi.apply, "operations", None)  # measured in docs/performance.md
        return max(self.steps, 1) * (2.0 + (operations() if operations else 0) / 80e6)


def noise_key(seed: int, image: str, restart: int) -> jax.Array:
    """The key of one start: of seed, picture name and restart only, whatever else the run contains."""
    return inversion.restart_key(jax.random.fold_in(jax.random.key(seed), zlib.crc32(image.encode())), restart)


def find_pictures(patterns: tuple[str, ...]) -> list[Picture]:
    """Files, folders of pictures and glob patterns, each picture with a name of its own.

    Raises:
        UserError: nothing given, nothing there, or a folder without pictures.
    """
    if not patterns:
        raise UserError("no pictures: set config.images to files, folders or patterns, or config.features")
    paths: dict[Path, Path] = {}
    for path in itertools.chain.from_iterable(map(_expand, patterns)):
        paths.setdefault(path.resolve(), path)
    names: dict[str, Path] = {}
    for path in paths.values():
        names[_name(path, path.stem, names)] = path
    return [Picture(name, path) for name, path in names.items()]


def _name(path: Path, stem: str, taken: Container[str]) -> str:
    """A name that is not taken: there may be cat.jpg and cat.png, or the same name in two folders."""
    if not path.name.isprintable() or stem in (".", ".."):
        raise UserError(f"{str(path)!r}: a file name of unprintable letters, or of dots; rename the file")
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}"
    return name


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if _is_picture(file))
        if not inside:
            raise UserError(f"{pattern}: no pictures in this folder ({', '.join(images.SUFFIXES)})")
        return inside
    if path.exists() or not glob.has_magic(pattern):
        if not path.exists() and "," in pattern:
            return [found for part in pattern.split(",") for found in _expand(part.strip())]
        return [path]
    matches = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207, absolute patterns too
    found = [match for match in matches if match.is_file()]
    if not found:
        raise UserError(f"{pattern}: no file matches this pattern")
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES and not path.name.startswith(".") and path.is_file()


def fingerprints(jobs: Sequence[Job]) -> dict[str, str]:
    """What tells the pictures, features and weights of one run from those of another: hashes by name."""
    found: dict[str, str] = {}
    for job in jobs:
        file, _, digest = job.phi.source.rpartition(" ")
        if digest.startswith("sha256:"):  # random ones follow from the config
            found[f"weights of {job.phi.name}: {file}"] = digest
        found |= dict(zip(job.pictures, job.digests, strict=True))
    return found


@functools.cache
def _digest(path: Path, modified: float) -> str:
    """Of a file; of one that was written anew another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


Shown: TypeAlias = dict[Any, np.ndarray]  # pictures that were read, by file and what they are shown as


def load_pictures(
    pictures: list[Picture], phi: Representation, size: int, shown: Shown | None = None
) -> list[np.ndarray]:
    """All pictures as phi wants to see them.

    Args:
        pictures: of `find_pictures`.
        phi: the representation.
        size: side in pixels, 0: as they are.
        shown: pictures that were read before; grows.

    Raises:
        UserError: one or more cannot be used; every one is named.
    """
    loaded, problems, shown = [], [], {} if shown is None else shown
    for picture in pictures:
        key = picture.path, phi.input.channels, phi.input.mean, size
        try:
            if key not in shown:
                shown[key] = images.load_image(picture.path, phi.input, size or None)
            phi.input.check(shown[key].shape, phi.name)
            loaded.append(shown[key])
        except UserError as error:
            problems.append(str(error) if str(picture.path) in str(error) else f"{picture.path}: {error}")
    if problems:
        head = f"{len(problems)} of {len(pictures)} pictures cannot be used: " if len(pictures) > 1 else ""
        raise UserError(head + "; ".join(problems))
    return loaded


def compute_features(phi: Representation, pictures: Iterable[np.ndarray]) -> list[Feature]:
    """Φ of each picture, NumPy; one after the other, so that memory does not grow with their number."""
    compute = jax.jit(Representation.__call__)
    return [jax.device_get(compute(phi, picture)) for picture in pictures]


def make_jobs(config: ConfigDict) -> list[Job]:
    """Checks a config, and reads the pictures or features that it asks for.

    Variants that differ in weights or in what they show share their jobs, and with them compilation and batches.

    Raises:
        UserError: a field's value, a picture, a file of features or a representation's option cannot be used, or two
            reconstructions would have the same name.
    """
    variants = check(config)
    pictures = _find_once([variant.images for _, variant in variants if not variant.features])
    workshop = _Workshop()
    jobs: dict[Any, Job] = {}
    for name, variant in variants:
        for job in workshop.jobs(variant, name, pictures.get(variant.images, [])):
            shown = job.image_shape, job.pictures, variant.features, variant.features_layout
            key = job.phi, job.method, job.steps, job.recipe, variant.hoggles, shown
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
                raise UserError(f"config.sweep: {describe(job, row)} is asked for twice, or differs by too little")
            if len(place.rpartition("/")[2].encode()) > LONGEST_NAME:
                raise UserError(f"config.sweep: '{row.variant}' is too long for the name of a file: vary fewer fields")
            taken.add(place)


def describe(job: Job, row: Reconstruction) -> str:
    """A reconstruction in a few words: "cat from hog, λ_TV 0.5, restart 0"."""
    what = f"{job.phi.name} {job.phi.layer}".strip()
    return ", ".join(
        filter(None, (f"{row.image} from {what}", row.variant, f"λ_TV {row.lambda_tv:g}, restart {row.restart}"))
    )


def stem(job: Job, row: Reconstruction) -> str:
    """Path of a reconstruction's files inside the run directory, without suffix."""
    variant = re.sub(r"[^\w.=+-]+", "-", row.variant)
    what = "_".join(filter(None, (job.phi.name, job.phi.layer.replace("/", "-").replace("*", "x"), variant)))
    return f"images/{row.image}/{what}_tv{row.lambda_tv:g}_r{row.restart}"


class _Workshop:
    """Makes jobs; builds each representation and reads each picture once for all variants."""

    def __init__(self) -> None:
        self._phis: dict[Any, list[Representation]] = {}
        self._masked: dict[Any, Representation] = {}
        self._shown: Shown = {}

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
        key = name, config.layers, config.weights, config.weights_seed, tuple(config.options.items())
        if key not in self._phis:
            self._phis[key] = _representations(config, name)
        return self._phis[key]

    def _of_pictures(
        self, config: ConfigDict, variant: str, phi: Representation, pictures: list[Picture]
    ) -> Iterator[Job]:
        """One job for each size of picture."""
        loaded = load_pictures(pictures, phi, phi.input.size if config.size is None else config.size, self._shown)
        for shape in dict.fromkeys(image.shape for image in loaded):
            chosen = [(picture, image) for picture, image in zip(pictures, loaded, strict=True) if image.shape == shape]
            alike, originals = zip(*chosen, strict=True)
            yield _job(config, variant, self._mask(config.mask, phi, shape), shape, alike, originals, None)

    def _of_features(self, config: ConfigDict, variant: str, phi: Representation) -> Job:
        """The job of features that were computed elsewhere."""
        size = config.size or phi.input.size
        shape = (size, size, phi.input.channels)
        found = _read_features(config, phi, shape)
        phi = self._mask(config.mask, phi, shape)
        mask = phi.params[1] if config.mask else 1.0
        given = tuple(jax.tree.map(lambda leaf: np.asarray(leaf * mask), feature) for feature in found.values())
        return _job(config, variant, phi, shape, tuple(found), None, given)

    def _mask(self, mask: str, phi: Representation, shape: tuple[int, int, int]) -> Representation:
        if not mask:
            return phi
        key = mask, phi, shape
        if key not in self._masked:
            try:
                self._masked[key] = masks.apply(phi, masks.named(mask, phi.feature_shape(shape)))
            except UserError as error:
                raise UserError(f"config.mask '{mask}', {phi.name} {phi.layer}".rstrip() + f": {error}") from None
        return self._masked[key]


def _representations(config: ConfigDict, name: str) -> list[Representation]:
    options = {option: value for option, value in config.options.items() if value is not None}
    if name not in nets.names():
        return [representations.get(name, **options)]
    if options:
        raise UserError(f"config.options.{next(iter(options))}: {name} has no such option")
    return networks(name, config.layers or ("",), config.weights, config.weights_seed)


def _read_features(config: ConfigDict, phi: Representation, shape: tuple[int, int, int]) -> dict[Picture, Feature]:
    """Features by name of file, or of file and number where a file holds several."""
    found: dict[Picture, Feature] = {}
    for path in map(Path, config.features):
        arrays = features.read_features(path)
        try:
            items = features.match(arrays, phi.feature_shape(shape), config.features_layout, phi.layer)
            for item in items:
                inversion.check_target(phi, item, shape)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        for index, item in enumerate(items):
            taken = {picture.name for picture in found}
            name = _name(path, f"{path.stem}-{index}" if len(items) > 1 else path.stem, taken)
            found[Picture(name, path)] = item
    return found


def _job(
    config: ConfigDict,
    variant: str,
    phi: Representation,
    shape: tuple[int, int, int],
    pictures: tuple[Picture, ...],
    originals: tuple[np.ndarray, ...] | None,
    given: tuple[Feature, ...] | None,
) -> Job:
    names = tuple(picture.name for picture in pictures)
    digests = tuple(_digest(picture.path, picture.path.stat().st_mtime) for picture in pictures)
    method, weights, steps = recipes.prepare(phi, shape, _recipe(config, phi), **_settings(config))
    lambdas, restarts = config.lambda_tv or (phi.lambda_tv,), config.restarts
    dictionary = None
    if config.recipe == "hoggles":  # no descent: no steps, no weights and no noise
        steps, lambdas, restarts = 0, (0.0,), 1
        dictionary = _dictionary(config, phi)
    rows = (
        Reconstruction(place, name, restart, config.seed, weights | {"tv": float(weight)}, variant)
        for place, name in enumerate(names)
        for weight in lambdas
        for restart in range(restarts)
    )
    return Job(phi, method, steps, config.recipe, shape, names, digests, originals, given, tuple(rows), dictionary)


def _dictionary(config: ConfigDict, phi: Representation) -> Dictionary:
    from invjax import hoggles  # with what it needs of scikit-learn, which descents do not

    dictionary = hoggles.load(Path(config.hoggles))
    hoggles.check(dictionary, phi)
    return dictionary


def _settings(config: ConfigDict) -> dict[str, Any]:
    """The fields that `recipes.prepare` asks for by name; total variation's weight is each row's own."""
    wanted = inspect.signature(recipes.prepare).parameters.keys() - {"recipe", "lambda_tv"}
    return {name: config[name] for name in wanted if name in config}


def _recipe(config: ConfigDict, phi: Representation) -> recipes.Recipe:
    if config.recipe == "hoggles":
        return recipes.FAST  # of which only the objective is used
    if config.recipe != "custom":
        return recipes.get(config.recipe, phi)
    chosen = config.optimizer
    rate = optimizers.DEFAULT_RATES[chosen.name] if chosen.rate is None else chosen.rate
    return recipes.Recipe("custom", recipes.FAST.steps, chosen.name, rate, chosen.schedule)
