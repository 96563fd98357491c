"""The plan: which reconstructions a config asks for, in batches that compile once."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import inspect
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from invjax import images, inversion, metrics, optimizers, recipes, representations
from invjax.errors import UserError
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
        originals: float32 [pictures, H, W, C], what phi was shown.
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
    originals: np.ndarray
    targets: Feature
    pairwise_distance: float
    seed: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """[H, W, C]."""
        return self.originals.shape[1:]

    @property
    def names(self) -> dict[int, str]:
        """Names of the pictures, by their place in `originals`."""
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
        raise UserError("no pictures: set config.images to files, folders or patterns")
    paths: dict[Path, Path] = {}
    for path in itertools.chain.from_iterable(map(_expand, patterns)):
        paths.setdefault(path.resolve(), path)
    names: dict[str, Path] = {}
    for path in paths.values():
        if not path.name.isprintable():
            raise UserError(f"{str(path)!r}: a file name of unprintable letters; rename the file")
        name, count = path.stem, 1
        while name in names:  # cat.jpg and cat.png, or the same name in two folders
            count += 1
            name = f"{path.stem}-{count}"
        names[name] = path
    return [Picture(name, path) for name, path in names.items()]


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
    """What tells the pictures of one run from those of another: a hash of the pixels by name."""
    return {
        name: hashlib.sha256(job.originals[place].tobytes()).hexdigest()
        for job in jobs
        for place, name in job.names.items()
    }


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
    """Everything a checked config asks for, with pictures read and features computed.

    Raises:
        UserError: a picture or a representation's option cannot be used.
    """
    pictures = find_pictures(config.images)
    phis = [_representation(config, name) for name in config.representations]
    return [job for phi in phis for job in _jobs_of(config, phi, pictures)]


def _representation(config: ConfigDict, name: str) -> Representation:
    options = {option: value for option, value in config.options.items() if value is not None}
    return representations.get(name, **options)


def _jobs_of(config: ConfigDict, phi: Representation, pictures: list[Picture]) -> Iterator[Job]:
    """One job for each size of picture."""
    loaded, recipe = load_pictures(pictures, phi, config.size), _recipe(config, phi)
    for shape in dict.fromkeys(image.shape for image in loaded):
        chosen = [(picture, image) for picture, image in zip(pictures, loaded, strict=True) if image.shape == shape]
        features = compute_features(phi, [image for _, image in chosen])
        for (picture, _), feature in zip(chosen, features, strict=True):
            try:
                inversion.check_target(phi, feature, shape)
            except UserError as error:
                raise UserError(f"{picture.path}: {error}") from None
        targets = jax.tree.map(lambda *leaves: np.stack(leaves), *features)
        method, weights, steps = recipes.prepare(phi, shape, recipe, **_settings(config))
        yield Job(
            phi=phi,
            method=method,
            weights=weights,
            steps=steps,
            recipe=recipe.name,
            rows=tuple(
                Reconstruction(index, picture.name, float(weight), restart)
                for index, (picture, _) in enumerate(chosen)
                for weight in config.lambda_tv
                for restart in range(config.restarts)
            ),
            originals=np.stack([image for _, image in chosen]),
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
