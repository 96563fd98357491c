"""MATLAB 5 to 7 files as plain Python.

The format is read here: SciPy's reader allocates what a file declares, 1.6 GB for one of 232 bytes, and crashes on some
damaged ones.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from invjax.errors import UserError

HEADER = 128  # bytes; the last four are version and order of bytes
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin1", 2: "latin1", 4: "utf-16-{}", 16: "utf-8", 17: "utf-16-{}", 18: "utf-32-{}"}
_CELL, _STRUCT, _CHAR, _NUMERIC, _FLOATS = 1, 2, 4, range(6, 16), {6: "f8", 7: "f4"}  # classes of matrices
_COMPLEX = 0x800  # one of their flags
_OBJECT = 256  # bytes of memory that an element takes beside its content


def is_matlab(head: bytes) -> bool:
    """Whether a file that begins with these HEADER bytes is one of MATLAB 5 to 7."""
    return head[HEADER - 4 : HEADER] in _ORDERS


def variables(data: bytes, limit: int) -> Iterator[tuple[str, Any]]:
    """Names and values of what is in a file.

    Arrays of real numbers are arrays, text is text, a cell array is a list, a struct a dict, not exactly one struct a
    list of dicts, all by columns, and all else is None.

    Args:
        data: content of the file.
        limit: bytes of memory that it may unpack to.

    Raises:
        UserError: it would unpack to more, or it is damaged.
        Exception: it is damaged in other ways.
    """
    reader = _Reader(_ORDERS[data[HEADER - 4 : HEADER]], limit)
    for kind, content in reader.elements(memoryview(data)[HEADER:]):
        if kind == _COMPRESSED:
            kind, content = reader.unpack(content)
        if kind == _MATRIX:
            yield reader.matrix(content)


class _Reader:
    """Makes Python of elements.

    Attributes:
        order: of bytes, "<" or ">".
        left: bytes of memory that may still be used.
    """

    def __init__(self, order: str, limit: int) -> None:
        self.order, self.left = order, limit

    def use(self, size: int) -> None:
        """Counts memory before it is used."""
        self.left -= size
        if self.left < 0:
            raise UserError("unpacks to too much: save less in one file")

    def elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Type and content of the elements that follow each other."""
        at = 0
        while at < len(data):
            self.use(_OBJECT)
            kind, size = struct.unpack_from(f"{self.order}II", data, at)
            start, after = at + 8, at + 8 + size + (0 if kind == _COMPRESSED else -size % 8)
            if kind >> 16:  # up to four bytes share eight with their tag
                kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if start + size > min(after, len(data)):
                raise UserError("damaged: the file ends early")
            yield kind, data[start : start + size]
            at = after

    def unpack(self, content: memoryview) -> tuple[int, memoryview]:
        """The element in a compressed one."""
        stream = zlib.decompressobj()
        data = stream.decompress(content, self.left + 1)
        self.use(len(data))
        if not stream.eof:  # where its checksum is
            raise UserError("damaged: the file ends early")
        return next(self.elements(memoryview(data)))

    def matrix(self, content: memoryview) -> tuple[str, Any]:
        """Name and value of a matrix, which in MATLAB everything is."""
        if not content:  # an empty place of a cell array
            return "", None
        (_, head), (_, shape), (_, name), *parts = self.elements(content)
        (flags,) = struct.unpack_from(f"{self.order}I", head)
        return bytes(name).decode("latin1"), self.value(flags, shape, parts)

    def value(self, flags: int, shape: memoryview, parts: list[tuple[int, memoryview]]) -> Any:
        """What a matrix holds; the last byte of its flags is its class."""
        kind = flags & 0xFF
        if kind == _CELL:
            return [self.matrix(content)[1] for _, content in parts]
        if kind == _STRUCT:
            return self.structs(*(content for _, content in parts))
        if kind == _CHAR:
            return self.text(*parts[0])
        if kind in _NUMERIC and not flags & _COMPLEX:
            return self.array(_FLOATS.get(kind), shape, *parts[0])
        return None

    def structs(self, width: memoryview, text: memoryview, *contents: memoryview) -> Any:
        """A dict, or a list of them where there is not exactly one."""
        if not text:
            return {}
        (step,) = struct.unpack(f"{self.order}I", width)
        self.use(_OBJECT * (len(text) // step))
        padded = [bytes(text[at : at + step]) for at in range(0, len(text), step)]
        names = [name.partition(b"\0")[0].decode("latin1") for name in padded]
        values = [self.matrix(content)[1] for content in contents]
        starts = range(0, len(values), len(names))
        structs = [dict(zip(names, values[at : at + len(names)], strict=True)) for at in starts]
        return structs[0] if len(structs) == 1 else structs

    def text(self, kind: int, content: memoryview) -> str:
        """Text in one of the encodings that there are."""
        self.use(4 * len(content))  # a single rare letter makes Python take so much for each
        ending = "le" if self.order == "<" else "be"
        return bytes(content).decode(_TEXTS[kind].format(ending), errors="replace")

    def array(self, floats: str | None, shape: memoryview, kind: int, numbers: memoryview) -> np.ndarray:
        """An array of floats of that type, or of integers as they are stored."""
        values = np.frombuffer(numbers, self.order + _NUMBERS[kind])
        if floats and values.dtype != floats:  # MATLAB stores whole numbers as integers
            self.use(values.size * np.dtype(floats).itemsize)
            values = values.astype(floats)
        return values.reshape(np.frombuffer(shape, f"{self.order}u4"), order="F")
