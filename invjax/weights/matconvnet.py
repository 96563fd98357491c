"""MatConvNet's "simplenn" networks: MATLAB 5 .mat files.

The format is read here, since `scipy.io.loadmat` allocates what a file declares: 1.6 GB for one of 232 bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from invjax.errors import UserError
from invjax.weights.found import Found, Layers, allowance

_HEADER = 128  # bytes
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_TEXT = {1: "latin1", 2: "latin1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
_CELL, _STRUCT, _CHAR, _FIRST_NUMERIC, _LAST_NUMERIC = 1, 2, 4, 6, 15  # classes of matrices


def read(path: Path) -> Found:
    """Reads a network saved by MatConvNet, of the old form (filters, biases) or the new (weights), for RGB pictures.

    Raises:
        UserError: it is not one.
    """
    data = memoryview(path.read_bytes())
    if data[126:128] != b"IM":
        raise UserError("written on a big-endian machine: save it again on another")
    variables = dict(_variables(data[_HEADER:], allowance(path)))
    net = variables.get("net", variables)
    entries = net.get("layers")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "block" not in entry for entry in entries):
        raise UserError("not a simplenn network of MatConvNet, which has a cell array 'layers' of structs")
    layers: Layers = {}
    for number, entry in enumerate(entries):
        arrays = entry.get("weights") or [entry.get("filters"), entry.get("biases")]
        found = {name: array for name, array in zip(("weight", "bias"), arrays, strict=False) if _is_filled(array)}
        if found:
            layers[str(entry.get("name", f"layer {number}"))] = found | {"weight": _turned(found.get("weight"))}
    return Found(layers, "rgb", _mean(net))


def _is_filled(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.size > 0


def _turned(filters: np.ndarray | None) -> np.ndarray:
    """[h, w, in, out] → [out, in, h, w]; MATLAB drops last axes of 1."""
    if filters is None or filters.ndim > 4:
        raise UserError("a layer with biases has no filters [h, w, in, out]")
    return filters.reshape(filters.shape + (1,) * (4 - filters.ndim)).transpose(3, 2, 0, 1)


def _mean(net: dict[str, Any]) -> tuple[float, ...] | None:
    normalization = (net.get("meta") or net).get("normalization") or {}
    average: Any = normalization.get("averageImage")
    if not _is_filled(average):
        return None
    if average.ndim == 3:  # a picture, or one pixel
        average = average.mean(axis=(0, 1), dtype=np.float64)
    return tuple(float(value) for value in average.ravel())


def _variables(data: memoryview, most: int) -> Iterator[tuple[str, Any]]:
    """Names and values of the variables that matter."""
    for kind, content in _elements(data):
        if kind == _COMPRESSED:
            unpacked = memoryview(zlib.decompressobj().decompress(content, most))
            most -= len(unpacked)
            if most <= 0:
                raise UserError("unpacks to far more than weights would")
            kind, content = _next(_elements(unpacked))
        name, value = _matrix(content, {"layers", "meta", "net", "normalization"}) if kind == _MATRIX else ("", None)
        if name:
            yield name, value


def _matrix(content: memoryview, wanted: set[str] | None = None) -> tuple[str, Any]:
    """Name and value of a matrix: a list of a cell array, dicts of structs, an array, a string, None of what else."""
    parts = _elements(content)
    kind = next(parts, (0, b"\0"))[1][0]  # nothing at all is an empty place of a cell array
    if kind not in (_CELL, _STRUCT, _CHAR, *range(_FIRST_NUMERIC, _LAST_NUMERIC + 1)):
        return "", None
    shape = tuple(np.frombuffer(_next(parts)[1], "<i4"))
    name = bytes(_next(parts)[1]).decode("latin1")
    if wanted is not None and name not in wanted:
        return "", None
    if kind == _CELL:
        return name, [_matrix(part)[1] for _, part in parts]
    if kind == _STRUCT:
        return name, _structs(parts)
    stored, numbers = _next(parts)
    if kind == _CHAR:
        return name, bytes(numbers).decode(_TEXT[stored], errors="replace")
    return name, np.frombuffer(numbers, _NUMBERS[stored]).reshape(shape, order="F")


def _structs(parts: Iterator[tuple[int, memoryview]]) -> Any:
    """A dict, or a list of them where there is not exactly one."""
    (length,) = struct.unpack("<i", _next(parts)[1])
    text = bytes(_next(parts)[1])
    if length < 1:
        raise UserError("a struct with nameless fields")
    names = [text[at : at + length].partition(b"\0")[0].decode("latin1") for at in range(0, len(text), length)]
    values = [_matrix(part)[1] for _, part in parts]
    if not names:
        return {}
    structs = [dict(zip(names, values[at : at + len(names)], strict=True)) for at in range(0, len(values), len(names))]
    return structs[0] if len(structs) == 1 else structs


def _next(parts: Iterator[tuple[int, memoryview]]) -> tuple[int, memoryview]:
    for part in parts:
        return part
    raise UserError("an array ends early")


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and content of the elements that follow each other."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        start, after = at + 8, at + 8 + size + (0 if kind == _COMPRESSED else -size % 8)
        if kind >> 16:  # up to four bytes share eight with their tag
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        if start + size > len(data):
            raise UserError("the file ends early")
        yield kind, data[start : start + size]
        at = after
