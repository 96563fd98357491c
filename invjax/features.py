"""Features from files: computed elsewhere, saved by NumPy, HDF5 or MATLAB, to be inverted here.

Files are recognised by their content. Only arrays of floats are read: nothing in a file is run, no file that it refers
to is opened, and what would unpack to more than LIMIT is refused before it is.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from invjax import matlab
from invjax.errors import UserError
from invjax.files import reading
from invjax.types import Feature

LIMIT = 1 << 30  # bytes of all arrays of a file
DEFLATED = 1032  # bytes that one byte can unpack to
LAYOUTS = ("hwc", "chw")

Arrays = Iterator[tuple[str, np.ndarray]]


def read_features(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of floats of a .npy, .npz, HDF5 or MATLAB file (5, 7 or 7.3).

    Args:
        path: of the file.

    Returns:
        Arrays by name, at least one: the name inside the file, of HDF5 groups "group/name"; of a .npy the file's name
        without suffix. Axes are in the order in which the program that wrote the file shows them.

    Raises:
        UserError: no such file, another format, damaged, too large, or no arrays of floats in it.
    """
    path = Path(path)
    with reading(path):
        limit = min(LIMIT, DEFLATED * path.stat().st_size)
        arrays = {
            name if name.isprintable() else ascii(name): array
            for name, array in _reader(path)(path, limit)
            if array.ndim and array.size
        }
    if not arrays:
        raise UserError(
            f"{path}: no arrays of floating-point numbers in it; all else, also Python objects, is not read"
        )
    return arrays


def _reader(path: Path) -> Callable[[Path, int], Arrays]:
    with path.open("rb") as file:
        head = file.read(matlab.HEADER)
    if head.startswith(b"\x93NUMPY"):
        return _npy
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _npz
    if matlab.is_matlab(head):
        return _matlab
    import h5py  # here and below: it takes long, and few files need it

    if h5py.is_hdf5(path):
        return _matlab_hdf5 if head.startswith(b"MATLAB 7.3") else _hdf5
    raise UserError("not a file of features: .npy, .npz, HDF5 and MATLAB's .mat are read")


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise UserError("damaged, or unpacks to too much: split it into files of a few hundred megabytes")


def _npy(path: Path, limit: int) -> Arrays:
    with path.open("rb") as file:
        yield from _numpy_array(path.stem, file, min(limit, path.stat().st_size))


def _npz(path: Path, limit: int) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        _check_size(sum(member.file_size for member in members), limit)
        for member in members:
            with archive.open(member) as file:
                yield from _numpy_array(member.filename.removesuffix(".npy"), file, member.file_size)


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _numpy_array(name: str, file: IO[bytes], size: int) -> Arrays:
    """Name and array of a .npy of `size` bytes, where its items are floats."""
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    if min(shape, default=0) < 0:
        raise UserError("the file is damaged (a negative length)")
    if dtype.kind == "f":
        _check_size(math.prod(shape) * dtype.itemsize, size)  # NumPy reserves memory for whatever the header tells
        file.seek(0)
        yield name, np.lib.format.read_array(file, allow_pickle=False)


def _hdf5(path: Path, limit: int) -> Arrays:
    for name, dataset in _datasets(path, limit):
        yield name, dataset[()]


def _matlab_hdf5(path: Path, limit: int) -> Arrays:
    """MATLAB 7.3: HDF5 with the axes reversed; what cells hold is below "#refs#"."""
    for name, dataset in _datasets(path, limit):
        if not name.startswith("#") and "MATLAB_empty" not in dataset.attrs:
            yield name, dataset[()].T


def _datasets(path: Path, limit: int) -> Iterator[tuple[str, Any]]:
    """What holds floats, in this file and in no other."""
    import h5py

    found: list[tuple[str, h5py.Dataset]] = []

    def collect(name: str, item: Any) -> None:  # called for what the file itself contains, not for its links
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.size:
            if item.is_virtual or item.external:
                raise UserError(f"{name} lies in another file: save it as an array")
            for shape in (item.shape, item.chunks or ()):
                _check_size(math.prod(shape) * item.dtype.itemsize, DEFLATED * item.id.get_storage_size())
            found.append((name, item))

    with h5py.File(path, "r") as file:
        file.visititems(collect)
        _check_size(sum(item.nbytes for _, item in found), limit)
        yield from found


def _matlab(path: Path, limit: int) -> Arrays:
    for name, value in matlab.variables(path.read_bytes(), limit):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield name, value.copy()  # not a view of the whole file


def match(arrays: Mapping[str, np.ndarray], expected: Any, layout: str = "hwc", layer: str = "") -> list[Feature]:
    """Finds the features that a representation expects among the arrays of a file.

    Args:
        arrays: of `read_features`, float of any precision: one feature each, or several along a first axis, as many in
            every array.
        expected: of `Representation.feature_shape`: a shape, or a dict of them by layer.
        layout: of features with positions, one of LAYOUTS: rows, columns, channels, or channels first. Other features
            have none. Axes of length one may be there or not.
        layer: where one feature is expected and there are several arrays: the name of the right one.

    Returns:
        The features, at least one, float32, with the structure and the shapes that are expected.

    Raises:
        UserError: no array of a layer's name, one of another shape (the message tells what to do) or not of finite
            floats, or different numbers of features.
    """
    if isinstance(expected, dict):
        shapes = _flat(expected)
        missing = [name for name in shapes if name not in arrays]
        if missing:
            raise UserError(f"no array '{missing[0]}' among {', '.join(arrays)}: there must be one for each layer")
    else:
        shapes = {layer if layer in arrays else _only_name(arrays, layer): expected}
    batches = {name: _batch(name, arrays[name], shape, layout) for name, shape in shapes.items()}
    counts = {len(batch) for batch in batches.values()}
    if len(counts) > 1:
        told = ", ".join(f"{len(batch)} of {name}" for name, batch in batches.items())
        raise UserError(f"as many features are needed of each layer, got {told}")
    if not isinstance(expected, dict):
        return list(*batches.values())
    return [_nested(expected, {name: batch[index] for name, batch in batches.items()}) for index in range(*counts)]


def _flat(expected: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """{"a": {"b": shape}} as {"a/b": shape}."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in expected.items():
        shapes |= _flat(shape, f"{prefix}{name}/") if isinstance(shape, dict) else {prefix + name: shape}
    return shapes


def _nested(expected: Mapping[str, Any], features: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, Any]:
    """The inverse of `_flat`."""
    return {
        name: _nested(shape, features, f"{prefix}{name}/") if isinstance(shape, dict) else features[prefix + name]
        for name, shape in expected.items()
    }


def _only_name(arrays: Mapping[str, np.ndarray], layer: str) -> str:
    if len(arrays) > 1:
        wanted = f"call the right one '{layer}'" if layer else "save a single one"
        raise UserError(f"several arrays ({', '.join(arrays)}) and one feature to be inverted: {wanted}")
    return next(iter(arrays))


def _batch(name: str, array: np.ndarray, shape: tuple[int, ...], layout: str) -> np.ndarray:
    """float32 [features, *shape] of one array."""
    if array.dtype.kind != "f":
        raise UserError(f"'{name}' holds {array.dtype}: features are floating-point numbers")
    count = _count(array.shape, shape, layout)
    if count is None:
        raise UserError(f"'{name}': {_explanation(array.shape, shape, layout)}")
    with np.errstate(over="ignore"):
        batch = array.reshape(count, *_stored(shape, layout)).astype(np.float32)
    if not np.isfinite(batch).all():
        raise UserError(f"'{name}' has values that are not finite")
    return np.moveaxis(batch, 1, -1) if layout == "chw" and len(shape) == 3 else batch


def _stored(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """A feature's shape in a file."""
    return (shape[2], *shape[:2]) if layout == "chw" and len(shape) == 3 else shape


def _count(got: tuple[int, ...], shape: tuple[int, ...], layout: str) -> int | None:
    """How many features an array of shape `got` holds; None where it holds none."""

    def long(axes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(axis for axis in axes if axis != 1)

    wanted = long(_stored(shape, layout))
    if long(got) == wanted:
        return 1
    return got[0] if long(got[1:]) == wanted else None


def _explanation(got: tuple[int, ...], shape: tuple[int, ...], layout: str) -> str:
    text = f"expected {list(_stored(shape, layout))}, or [N, ...] of N features, got {list(got)}"
    for other in LAYOUTS:
        if _count(got, shape, other) is not None:
            return f"{text}: --features-layout {other}"
    if _count((got[-1], *got[:-1]), shape, layout) is not None:
        return f"{text}: the axis of features comes first"
    return f"{text}: another layer, or another --size?"
