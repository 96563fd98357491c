"""The plan: which reconstructions a config asks for, in batches that compile once."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import inspect
import itertools
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from invjax import features, images, inversion, metrics, nets, optimizers, recipes, representations
from invjax.errors import UserError
from invjax.representations.networks import networks
from invjax.types import Feature, Representation


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the run: a name of its own, and where it is."""

    name: str
    path: Path


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """One row of the results, before it is computed. `picture` counts the job's pictures."""

    picture: int
    image: str
    lambda_tv: float
    restart: int


@dataclasses.dataclass(frozen=True)
class Job:
    """All reconstructions of one representation at one picture size: one compilation.

    Attributes:
        phi: the representation.
        method: how it is inverted.
        weights: of the regularizers; that of total variation is each row's own.
        steps: gradient steps.
        recipe: name of the recipe.
        rows: the reconstructions, in order.
        image_shape: [H, W, C] of the pictures to be found.
        originals: float32 [pictures, H, W, C], what phi was shown; None where the features come from elsewhere.
        targets: phi of them, NumPy, leading axis pictures.
        pairwise_distance: mean distance between targets, NaN for a single picture.
        seed: of the noise.
    """

    phi: Representation
    method: recipes.Method
    weights: dict[str, float]
    steps: int
    recipe: str
    rows: tuple[Reconstruction, ...]
    image_shape: tuple[int, int, int]
    originals: np.ndarray | None
    targets: Feature
    pairwise_distance: float
    seed: int

    @property
    def names(self) -> dict[int, str]:
        """Names of the pictures, by their place in `targets`."""
        return {row.picture: row.image for row in self.rows}

    def problems(self, rows: Sequence[Reconstruction]) -> inversion.Problem:
        """The batch that finds `rows`."""
        index = np.array([row.picture for row in rows])
        weights = {name: np.full(len(rows), weight, np.float32) for name, weight in self.weights.items()}
        weights["tv"] = np.array([row.lambda_tv for row in rows], np.float32)
        keys = [noise_key(self.seed, row.image, row.restart) for row in rows]
        targets = jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), self.targets)
        return inversion.Problem(targets, jnp.stack(keys), jax.tree.map(jnp.asarray, weights))


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
    if not path.name.isprintable():
        raise UserError(f"{str(path)!r}: a file name of unprintable letters; rename the file")
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
    weights = {f"weights of {job.phi.name}": job.phi.source for job in jobs if job.phi.source}
    return weights | {
        name if job.originals is not None else f"{name} {job.phi.name} {job.phi.layer}".rstrip(): _hash(job, place)
        for job in jobs
        for place, name in job.names.items()
    }


def _hash(job: Job, place: int) -> str:
    arrays = jax.tree.leaves(job.targets) if job.originals is None else [job.originals]
    return hashlib.sha256(b"".join(array[place].tobytes() for array in arrays)).hexdigest()


def load_pictures(pictures: list[Picture], phi: Representation, size: int) -> list[np.ndarray]:
    """All pictures as phi wants to see them.

    Raises:
        UserError: one or more cannot be used; every one is named.
    """
    loaded, problems = [], []
    for picture in pictures:
        try:
            loaded.append(images.load_image(picture.path, phi.input, size or None))
            phi.input.check(loaded[-1].shape, phi.name)
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
    """Everything a checked config asks for, with pictures read and features computed, or features read.

    Raises:
        UserError: a picture, a file of features or a representation's option cannot be used.
    """
    pictures = [] if config.features else find_pictures(config.images)
    phis = [phi for name in config.representations for phi in _representations(config, name)]
    if config.features:
        return [_job_of_features(config, phi) for phi in phis]
    return [job for phi in phis for job in _jobs_of(config, phi, pictures)]


def _representations(config: ConfigDict, name: str) -> list[Representation]:
    """One for each layer, of a network."""
    options = {option: value for option, value in config.options.items() if value is not None}
    if name not in nets.names():
        return [representations.get(name, **options)]
    if options:
        raise UserError(f"config.options.{next(iter(options))}: {name} has no such option")
    return networks(name, config.layers or ("",), config.weights, config.weights_seed)


def _jobs_of(config: ConfigDict, phi: Representation, pictures: list[Picture]) -> Iterator[Job]:
    """One job for each size of picture."""
    size = phi.input.size if config.size is None else config.size
    loaded = load_pictures(pictures, phi, size)
    for shape in dict.fromkeys(image.shape for image in loaded):
        chosen = [(picture, image) for picture, image in zip(pictures, loaded, strict=True) if image.shape == shape]
        found = compute_features(phi, [image for _, image in chosen])
        for (picture, _), feature in zip(chosen, found, strict=True):
            try:
                inversion.check_target(phi, feature, shape)
            except UserError as error:
                raise UserError(f"{picture.path}: {error}") from None
        names = [picture.name for picture, _ in chosen]
        yield _job(config, phi, names, found, shape, np.stack([image for _, image in chosen]))


def _job_of_features(config: ConfigDict, phi: Representation) -> Job:
    """The job of features that were computed elsewhere."""
    size = config.size or phi.input.size
    shape = (size, size, phi.input.channels)
    found: dict[str, Feature] = {}
    for path in map(Path, config.features):
        arrays = features.read_features(path)
        try:
            items = features.match(arrays, phi.feature_shape(shape), config.features_layout, phi.layer)
            for item in items:
                inversion.check_target(phi, item, shape)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        for index, item in enumerate(items):
            found[_name(path, f"{path.stem}-{index}" if len(items) > 1 else path.stem, found)] = item
    return _job(config, phi, list(found), list(found.values()), shape)


def _job(
    config: ConfigDict,
    phi: Representation,
    names: list[str],
    found: list[Feature],
    shape: tuple[int, int, int],
    originals: np.ndarray | None = None,
) -> Job:
    recipe, targets = _recipe(config, phi), jax.tree.map(lambda *leaves: np.stack(leaves), *found)
    method, weights, steps = recipes.prepare(phi, shape, recipe, **_settings(config))
    return Job(
        phi=phi,
        method=method,
        weights=weights,
        steps=steps,
        recipe=recipe.name,
        rows=tuple(
            Reconstruction(index, name, float(weight), restart)
            for index, name in enumerate(names)
            for weight in config.lambda_tv or (phi.lambda_tv,)
            for restart in range(config.restarts)
        ),
        image_shape=shape,
        originals=originals,
        targets=targets,
        pairwise_distance=metrics.mean_pairwise_distance(targets),
        seed=config.seed,
    )


def _settings(config: ConfigDict) -> dict[str, Any]:
    """The fields that `recipes.prepare` asks for by name; total variation's weight is each row's own."""
    wanted = inspect.signature(recipes.prepare).parameters.keys() - {"recipe", "lambda_tv"}
    return {name: config[name] for name in wanted if name in config}


def _recipe(config: ConfigDict, phi: Representation) -> recipes.Recipe:
    if config.recipe != "custom":
        return recipes.get(config.recipe, phi)
    chosen = config.optimizer
    rate = optimizers.DEFAULT_RATES[chosen.name] if chosen.rate is None else chosen.rate
    return recipes.Recipe("custom", recipes.FAST.steps, chosen.name, rate, chosen.schedule)
