"""What is inverted: files of pictures and of features, checked at the start, and read again when they are needed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from invjax import features, images, inversion
from invjax.errors import UserError
from invjax.types import Feature, Representation

Shape: TypeAlias = tuple[int, int, int]
Shapes: TypeAlias = dict[Any, Shape]  # of pictures that were read, by file and what they are shown as


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the run: a name of its own, and where it is."""

    name: str
    path: Path


class OnDemand(Sequence[Any]):
    """What files hold, read when it is asked for: a run needs memory for a batch, of however many files it is.

    Args:
        files: of each item.
        read: the item of a place; raises UserError where it cannot be read.

    Attributes:
        files: of each item.
        digests: of the files as they are now.
    """

    def __init__(self, files: Sequence[Picture], read: Callable[[int], Any]) -> None:
        self.files, self._read = tuple(files), read
        self.digests = tuple(_digest(file.path, _modified(file.path)) for file in files)

    def hashes(self) -> dict[str, str]:
        """The digests by name."""
        return {file.name: digest for file, digest in zip(self.files, self.digests, strict=True)}

    def __len__(self) -> int:
        """Number of items."""
        return len(self.files)

    def __getitem__(self, place: Any) -> Any:
        """Reads an item.

        Raises:
            UserError: its file is gone, or is not what it was.
        """
        path = self.files[place].path
        if _digest(path, _modified(path)) != self.digests[place]:
            raise UserError(f"{path}: has changed since the run began, or is gone")
        return self._read(place)


def _modified(path: Path) -> int:
    """When a file was written last; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@functools.cache
def _digest(path: Path, modified: int) -> str:
    """Of a file; of one that was written anew another, of none at all an empty one."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def find_pictures(patterns: tuple[str, ...]) -> list[Picture]:
    """Files, folders of pictures and glob patterns, each picture with a name of its own.

    Raises:
        UserError: nothing given, nothing there, or a folder without pictures.
    """
    if not patterns:
        raise UserError("no pictures: set config.images to files, folders or patterns, or config.features")
    paths: dict[Path, Path] = {}
    for path in itertools.chain.from_iterable(map(images.expand, patterns)):
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


def load_pictures(pictures: Sequence[Picture], phi: Representation, size: int) -> Sequence[np.ndarray]:
    """All pictures as phi wants to see them, read when they are asked for.

    Args:
        pictures: of `find_pictures`.
        phi: the representation.
        size: side in pixels, 0: as they are.

    Raises:
        UserError: one or more cannot be used; every one is named.
    """
    picture_shapes(pictures, phi, size)
    return on_demand(pictures, phi, size)


def on_demand(pictures: Sequence[Picture], phi: Representation, size: int) -> OnDemand:
    """The same without a look at them; arguments as of `load_pictures`."""
    return OnDemand(pictures, lambda place: images.load_image(pictures[place].path, phi.input, size or None))


def picture_shapes(
    pictures: Sequence[Picture], phi: Representation, size: int, known: Shapes | None = None
) -> list[Shape]:
    """Reads every picture once, and keeps its shape only.

    Args:
        pictures, phi, size: as of `load_pictures`.
        known: shapes of pictures that were read before; grows.

    Raises:
        UserError: one or more cannot be used; every one is named.
    """
    shapes, problems, known = [], [], {} if known is None else known
    for picture in pictures:
        key = picture.path, phi.input.channels, size
        try:
            if key not in known:
                known[key] = images.load_image(picture.path, phi.input, size or None).shape
            phi.input.check(known[key], phi.name)
            shapes.append(known[key])
        except UserError as error:
            problems.append(str(error) if str(picture.path) in str(error) else f"{picture.path}: {error}")
    if problems:
        head = f"{len(problems)} of {len(pictures)} pictures cannot be used: " if len(pictures) > 1 else ""
        raise UserError(head + "; ".join(problems))
    return shapes


def given_features(
    paths: Iterable[str], phi: Representation, shape: Shape, layout: str, mask: np.ndarray | float = 1.0
) -> OnDemand:
    """Features that were computed elsewhere, read when they are asked for; one file is kept in memory.

    Args:
        paths: of files that `features.read_features` reads.
        phi: the representation.
        shape: [H, W, C] of the pictures to be found.
        layout: of the features, one of `features.LAYOUTS`.
        mask: what to multiply them with.

    Raises:
        UserError: a file that cannot be read, or that holds what is no feature of phi that can be inverted.
    """
    found: dict[Picture, int] = {}  # and the number in the file
    taken: set[str] = set()
    for path in map(Path, paths):
        items = _features_in(path, _modified(path), phi, shape, layout)
        try:
            for item in items:
                inversion.check_target(phi, item, shape)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        for number in range(len(items)):
            name = _name(path, f"{path.stem}-{number}" if len(items) > 1 else path.stem, taken)
            taken.add(name)
            found[Picture(name, path)] = number
    places = list(found.items())

    def read(place: int) -> Feature:
        picture, number = places[place]
        item = _features_in(picture.path, _modified(picture.path), phi, shape, layout)[number]
        return jax.tree.map(lambda leaf: np.asarray(leaf * mask), item)

    return OnDemand(tuple(found), read)


@functools.lru_cache(maxsize=1)  # the next feature is mostly of the same file
def _features_in(path: Path, modified: int, phi: Representation, shape: Shape, layout: str) -> list[Feature]:
    arrays = features.read_features(path)
    try:
        return features.match(arrays, phi.feature_shape(shape), layout, phi.layer)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
