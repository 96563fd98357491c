"""MATLAB 5 to 7 files: the variables that are arrays of floats.

The format is read here: SciPy's reader allocates what a file declares, and crashes on some damaged ones.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from invjax.errors import UserError

HEADER = 128  # bytes; the last four are version and order of bytes
ENDINGS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: np.float64, 7: np.float32}  # of matrices; MATLAB stores whole numbers as integers all the same
_COMPLEX = 0x800


def arrays(data: bytes, limit: int) -> Iterator[tuple[str, np.ndarray]]:
    """Real arrays of floats by name, not what is inside structs and cells.

    Args:
        data: content of the file.
        limit: bytes that it may unpack to.

    Raises:
        UserError: it would unpack to more, or it is damaged.
        Exception: it is damaged in other ways.
    """
    order = ENDINGS[data[HEADER - 4 : HEADER]]
    for kind, content in _elements(memoryview(data)[HEADER:], order):
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(content, limit + 1)
            limit -= len(unpacked)
            if limit < 0:
                raise UserError("unpacks to too much: split it into files of a few hundred megabytes")
            kind, content = next(_elements(memoryview(unpacked), order))
        if kind == _MATRIX:
            yield from _matrix(content, order)


def _matrix(content: memoryview, order: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array, where it is one of floats."""
    parts = _elements(content, order)
    (flags,) = struct.unpack_from(f"{order}I", next(parts)[1])
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX:
        return
    shape = tuple(np.frombuffer(next(parts)[1], f"{order}i4").tolist())
    name = bytes(next(parts)[1]).decode("latin1")
    stored, numbers = next(parts)
    values = np.frombuffer(numbers, order + _NUMBERS[stored])
    if min(shape) < 0 or len(values) != math.prod(shape):
        raise UserError(f"'{name}' is damaged")
    yield name, values.reshape(shape, order="F").astype(_CLASSES[flags & 0xFF])


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of the elements that follow each other."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:  # up to four bytes share eight with their tag
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(data):
            raise UserError("the file is damaged (it ends early)")
        yield kind, data[start : start + size]
        at = start + size + (0 if kind == _COMPRESSED else -(start + size) % 8)
