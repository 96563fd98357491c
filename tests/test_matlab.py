"""MATLAB files: what SciPy writes is read, in either order of bytes, and what is hostile takes little memory."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from invjax import UserError, matlab

RNG = np.random.default_rng(0)


def cells(*values):
    array = np.empty((1, len(values)), object)
    array[0, :] = values
    return array


def written(compress=False, **variables):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=compress)
    return file.getvalue()


def read(data, limit=10**6):
    return dict(matlab.variables(data, limit))


def same(found, expected):
    """Equal, types of numbers included."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            same(found[name], expected[name])
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype and found.dtype.isnative
        np.testing.assert_array_equal(found, expected, strict=True)
    else:
        assert found == expected


ONE, TWO = np.array([[1.0]]), np.array([[2.0]])
PLAIN = {
    "double": RNG.normal(size=(3, 4, 5)),
    "single": RNG.normal(size=(2, 3)).astype(np.float32),
    "integers": np.int16([[1, -2, 300]]),
    "large": np.uint64([[2**63 + 1]]),
    "empty": np.zeros((0, 3)),
    "text": "naïve Φ",
    "letter": "Φ",
    "no_text": "",
    "struct": {"a": ONE, "a_long_name": {"b": "c"}},
    "no_struct": {},
}
STRUCTS = np.array([[(1.0, "one"), (2.0, "two")]], [("number", object), ("name", object)])
WRITTEN = PLAIN | {
    "cells": cells(PLAIN["double"], "cat", cells(), {"a": 1.0}),
    "structs": STRUCTS,
    "no_structs": STRUCTS[:, :0],
    "logical": np.array([[True, False]]),
    "complex": np.array([[1 + 2j]]),
    "sparse": scipy.sparse.csc_matrix(np.eye(3)),
}
READ = PLAIN | {
    "cells": [PLAIN["double"], "cat", [], {"a": ONE}],
    "structs": [{"number": ONE, "name": "one"}, {"number": TWO, "name": "two"}],
    "no_structs": [],
    "logical": np.uint8([[1, 0]]),
    "complex": None,
    "sparse": None,
}


@pytest.mark.parametrize("compress", [False, True])
def test_what_scipy_writes(compress):
    same(read(written(compress, **WRITTEN)), READ)


@pytest.mark.parametrize("length", range(1, 9))
def test_elements_after_a_compressed_one_lie_anywhere(length):
    """Compressed elements are not padded, and the others by their own size only."""
    first = written(True, first=RNG.normal(size=(length, 1)), text="x" * length)
    rest = written(False, second=RNG.normal(size=(length, 1)).astype(np.float32), third="y" * length)
    last = written(True, last=cells("z" * length))
    found = read(first + rest[matlab.HEADER :] + last[matlab.HEADER :])
    same(found, {**read(first), **read(rest), **read(last)})
    assert list(found) == ["first", "text", "second", "third", "last"]


# --- by hand -----------------------------------------------------------------------------------------------------


def element(kind, data, order="<"):
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind, shape, *parts, order="<", name=b""):
    head = element(6, struct.pack(f"{order}II", kind, 0), order)
    head += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    return element(14, head + element(1, name, order) + b"".join(parts), order)


def file(*elements, order="<"):
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}HH", 0x100, 0x4D49) + b"".join(elements)


def packed(data):
    return element(15, zlib.compress(data, 9))[: 8 + len(zlib.compress(data, 9))]


@pytest.mark.parametrize("order", "<>")
def test_order_of_bytes(order):
    def part(kind, data):
        return element(kind, data, order)

    def array(kind, *parts, shape=(1, 2)):
        return matrix(kind, shape, *parts, order=order, name=b"" if kind != 2 else b"variable")

    codec = "le" if order == "<" else "be"
    values = [
        array(6, part(9, np.array([1.5, 2], f"{order}f8").tobytes())),
        array(7, part(3, np.array([1, -2], f"{order}i2").tobytes())),  # whole numbers are stored as integers
        array(10, part(3, np.array([1, -2], f"{order}i2").tobytes())),
        array(4, part(4, "cΦ".encode(f"utf-16-{codec}"))),
        array(4, part(18, "cΦ".encode(f"utf-32-{codec}"))),
        array(4, part(16, "cΦ".encode())),
        element(14, b"", order),
        array(16, part(1, b"a function")),
    ]
    width = struct.pack(f"{order}HHI", *((4, 5) if order == ">" else (5, 4)), 2)
    fields = b"".join(name.encode() + b"\0" for name in "abcdefgh")
    data = file(array(2, width, part(1, fields), *values, shape=(1, 1)), order=order)
    found = read(data)["variable"]
    expected = [np.array([[1.5, 2]]), np.float32([[1, -2]]), np.int16([[1, -2]]), "cΦ", "cΦ", "cΦ", None, None]
    assert found["c"].dtype == f"{order}i2"
    same(found | {"c": np.int16(found["c"])}, dict(zip("abcdefgh", expected, strict=True)))


NAMES = element(5, struct.pack("<I", 2))
BOMBS = {
    "numbers": matrix(6, (1, 2**24), element(9, bytes(2**27))),
    "whole numbers": matrix(6, (1, 2**21), element(2, bytes(2**21))),
    "text": matrix(4, (1, 2**20), element(16, "𝄞".encode() + b"x" * 2**20)),
    "cells": matrix(1, (1, 2**18), element(14, b"") * 2**18),
    "structs": matrix(2, (1, 2**18), NAMES, element(1, b"a\0"), element(14, b"") * 2**18),
    "fields": matrix(2, (1, 1), NAMES, element(1, b"ab" * 2**19)),
    "one field": matrix(2, (1, 1), NAMES, element(1, b"ab" * 2**19), element(14, b"")),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_memory_is_bounded(kind):
    limit, data = 2**22, file(packed(BOMBS[kind]))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="unpacks to too much"):
            read(data, limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * limit


@pytest.mark.parametrize(
    "spoilt",
    [
        packed(BOMBS["text"])[:-8],
        struct.pack("<II", 15, 20) + zlib.compress(BOMBS["text"])[:20],
        matrix(6, (1, 1), element(9, bytes(8)))[:-8],
        matrix(6, (1, 5), struct.pack("<HH", 2, 5), bytes(8)),  # no more than four bytes share eight with their tag
    ],
)
def test_what_ends_early(spoilt):
    with pytest.raises(UserError, match="damaged: the file ends early"):
        read(file(spoilt), 10**8)


def test_much_of_what_the_limit_allows_is_read():
    """The estimate of what objects take is not wildly off, either way."""
    data = written(True, cells=cells(*[np.ones((1, 1))] * 5000))
    tracemalloc.start()
    found = read(data, 10**7)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found["cells"]) == 5000 and current < 10**7
