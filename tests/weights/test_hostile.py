"""Broken and hostile files: a clear line, little memory, no code run."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invjax import UserError, weights
from tests.weights import common
from tests.weights.common import TINY, Call, Global, Persistent, canonical, field, numbers, pickled, varint, zipped

LAYERS = numbers()
FILES = {
    "caffe V2": common.caffe(LAYERS),
    "caffe V1": common.caffe(LAYERS, version=1, legacy=True),
    "matconvnet": common.matconvnet(LAYERS),
    "matconvnet uncompressed": common.matconvnet(LAYERS, compress=False),
    "torch zip": common.torch_zip(LAYERS),
    "torch legacy": common.torch_legacy(LAYERS),
    "npz": common.npz(canonical(LAYERS)),
    "npz compressed": common.npz(canonical(LAYERS), np.savez_compressed),
    "safetensors": common.safetensors(canonical(LAYERS), network="tiny", mean="[1, 2, 3]"),
}
MEGABYTE = 2**20


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=100, deadline=None, database=None)
def test_truncated_and_flipped_bytes(tmp_path_factory, name, data):
    """Weights or a UserError, nothing else."""
    content = bytearray(FILES[name])
    places = st.one_of(st.integers(0, len(content) - 1), st.integers(0, min(len(content), 600) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = value
    if data.draw(st.booleans()):
        del content[data.draw(places) :]
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(content)
    try:
        assert weights.load(TINY, str(path)).params.keys() == LAYERS.keys()
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


# --- hostile -----------------------------------------------------------------------------------------------------


def element(kind, data):
    """An element of a MATLAB file."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind, shape, name=b"", rest=b""):
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + element(1, name) + rest)


def matlab(*elements):
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49) + b"".join(elements)


def nested_cells(depth):
    cells = b""
    for _ in range(depth):
        cells = matrix(1, (1, 1), b"layers", cells)
    return cells


def packed(data):
    return struct.pack("<II", 15, len(zlib.compress(data))) + zlib.compress(data)


def npy(shape, data=b"", kind="<f4"):
    file = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


def torch_file(*instructions):
    """A zip file of PyTorch with such a pickle."""
    return zipped({"archive/data.pkl": b"\x80\x02" + b"".join(instructions) + b"."})


def objects():
    file = io.BytesIO()
    np.savez(file, **{"conv1/weight": np.array([print, {}], object)})
    return file.getvalue()


class Bomb:
    """Makes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def strided(shape, strides, offset=0):
    return common.torch_zip(LAYERS, {"conv1.weight": common.tensor("0", np.zeros(shape), strides, offset)})


FEW = LAYERS["fc7"]["bias"]  # three numbers, in a storage called 7
STORAGE = Persistent(("storage", Global("torch", "FloatStorage"), "7", "cpu", 3))
REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


def view(offset, shape, strides):
    return common.torch_zip(LAYERS, {"a.weight": Call(REBUILD, STORAGE, offset, shape, strides, False, {})})


HOSTILE = {
    "empty": (b"", "not a file of weights that is known here"),
    "a letter": (b"Dear reader,\n" * 50, "not a file of weights that is known here"),
    "a web page": (b"<!DOCTYPE html><html>404</html>", "not a file of weights that is known here"),
    "zeros": (bytes(5000), "not a file of weights that is known here"),
    # Caffe
    "caffe: no weights": (field(1, "net") + field(100, field(1, "relu")), "no weights in it"),
    "caffe: a length of 2^40": (b"\xa2\x06" + varint(2**40) + b"x", "not a file of weights"),
    "caffe: an infinite varint": (b"\xff" * 500, "not a file of weights"),
    "caffe: many layers": (field(100, b"") * 100_000, "no layers in it, or too many"),
    "caffe: many blobs": (field(100, field(1, "a") + field(7, b"") * 100_000), "one with 100000 arrays"),
    "caffe: a huge shape": (
        field(100, field(1, "a") + field(7, field(7, field(1, varint(2**31) * 2)) + field(5, bytes(8)))),
        r"an array of 2 numbers says that its shape is \[2147483648, 2147483648\]",
    ),
    "caffe: a negative shape": (
        field(100, field(1, "a") + field(7, field(7, field(1, varint(2**64 - 1) * 2)) + field(5, bytes(4)))),
        "an array of 1 numbers says",
    ),
    "caffe: half a number": (field(100, field(1, "a") + field(7, field(5, bytes(7)))), "does not parse"),
    "caffe: deep groups": (b"\x0b" * 100_000, "does not parse"),
    "caffe: a name twice": (common.caffe(LAYERS) + common.caffe(LAYERS), "two layers called 'conv1'"),
    "caffe: a name for terminals": (
        common.caffe({"\x1b[2J\nconv": LAYERS["conv1"]}),
        r"left over: \?\[2J\?conv/bias, \?\[2J\?conv/weight",
    ),
    # MATLAB
    "matlab: nothing": (matlab(), "not a simplenn network"),
    "matlab: 200 million cells": (
        matlab(matrix(1, (200_000_000, 1), b"layers", matrix(6, (0, 0)))),
        "damaged",
    ),
    "matlab: a huge array": (matlab(matrix(6, (2**30, 2**30), b"layers", element(9, bytes(8)))), "damaged"),
    "matlab: a long element": (matlab(struct.pack("<II", 14, 2**32 - 1)), "the file ends early"),
    "matlab: nested": (matlab(nested_cells(3000)), "damaged"),
    "matlab: a bomb": (matlab(packed(bytes(2**28))), "unpacks to too much"),
    "matlab: not compressed": (matlab(struct.pack("<II", 15, 9) + b"not zlib!"), "damaged"),
    "matlab: no order of bytes": (b"MATLAB 5.0 MAT-file".ljust(126) + b"??", "not a file of weights"),
    "matlab: 7.3": (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", "HDF5, which is not read: .*'-v7'"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    # PyTorch
    "torch: code": (zipped({"archive/data.pkl": pickle.dumps(Bomb("/nowhere"), 2)}), "mkdir, which is not loaded"),
    "torch: eval": (torch_file(b"cbuiltins\neval\nX\x01\0\0\x001\x85R"), "builtins.eval, which is not loaded"),
    "torch: a model": (torch_file(b"ctorch.nn\nLinear\n"), "torch.nn.Linear, .* save model.state_dict"),
    "torch: a list": (torch_file(b"]"), "not a state_dict"),
    "torch: a far memo": (torch_file(b"]r\xff\xff\xff\x7f"), "not a state_dict"),
    "torch: a bytearray of 2^40": (torch_file(b"\x96" + struct.pack("<Q", 2**40)), "does more than name arrays"),
    "torch: a long string": (torch_file(b"X\xff\xff\xff\x7f"), "damaged"),
    "torch: nested keys": (torch_file(b"}", b")" + b"\x85" * 200_000, b"Ns"), "keys that are not names"),
    "torch: nested": (torch_file(b")" + b"\x85" * 200_000), "not a state_dict"),
    "torch: a large pickle": (zipped({"archive/data.pkl": b"]" * 2**21}), "far larger than that of a state_dict"),
    "torch: attributes": (torch_file(b"ctorch._utils\n_rebuild_tensor_v2\n}X\1\0\0\0aNsb"), "not a state_dict"),
    "torch: no storage": (
        torch_file(b"}X\1\0\0\0a", pickled(Call(REBUILD, "x", 0, (1,), (1,)))[2:-1], b"s"),
        "an array without a storage",
    ),
    "torch: a missing storage": (
        zipped({"archive/data.pkl": pickled({"a.weight": common.tensor("0", FEW)})}),
        "damaged",
    ),
    "torch: beyond the end": (view(1, (3,), (1,)), "reaches beyond its storage"),
    "torch: before the start": (view(-1, (1,), (1,)), "reaches beyond its storage"),
    "torch: a step too far": (view(0, (2,), (3,)), "reaches beyond its storage"),
    "torch: backwards": (view(2, (2,), (-1,)), "reaches beyond its storage"),
    "torch: endless": (view(0, (2**40,), (0,)), "reaches beyond its storage"),
    "torch: big-endian": (
        zipped({"archive/data.pkl": pickled({}), "archive/byteorder": b"big"}),
        "big-endian",
    ),
    # plain arrays
    "npz: objects": (objects(), "conv1/weight.npy is not a plain array"),
    "npz: a huge array": (zipped({"conv1/weight.npy": npy((2**40,), bytes(8))}), "is not a plain array"),
    "npz: a bomb": (zipped({"conv1/weight.npy": bytes(2**28)}), "unpacks to far more than weights would"),
    "npz: lzma": (zipped({"conv1/weight.npy": npy((), bytes(4))}, zipfile.ZIP_LZMA), "unpacks to far more"),
    "npz: strings": (zipped({"conv1/weight.npy": npy((1,), b"abcd", "S4")}), "conv1/weight does not hold numbers"),
    "npz: nothing": (zipped({}) + b"", "not a file of weights"),
    "npz: pictures": (zipped({"cat.jpg": b"cat"}), "does not fit tiny: missing"),
    "safetensors: a huge header": (struct.pack("<Q", 2**40) + b"{" + bytes(50), "not a file of weights"),
    "safetensors: nonsense": (struct.pack("<Q", 50) + b"{" + bytes(49), "damaged"),
    "safetensors: nested": (struct.pack("<Q", 90_001) + b"{" + b'"a":{' * 18_000, "damaged"),
    "safetensors: another network": (
        common.safetensors(canonical(LAYERS), network="vgg16"),
        "holds weights of vgg16, not of tiny",
    ),
    "safetensors: another mean": (
        common.safetensors(canonical(LAYERS), mean="[1, 2]"),
        "the mean of its pictures is not three numbers",
    ),
    "safetensors: no mean": (common.safetensors(canonical(LAYERS), mean='["a", "b", "c"]'), "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(write, name):
    content, message = HOSTILE[name]
    path = write(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message) as error:
            weights.load(TINY, str(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{path}: ")
    assert peak < 50 * MEGABYTE + 50 * len(content)


def test_no_code_is_run(write, tmp_path):
    made = tmp_path / "made by a pickle"
    for content in (pickle.dumps(Bomb(made), 2), pickle.dumps({"a.weight": Bomb(made)}, 4)):
        legacy = pickled(common.LEGACY_MAGIC) + content
        for data in (zipped({"archive/data.pkl": content}), legacy, content):
            with pytest.raises(UserError):
                weights.load(TINY, str(write(data)))
    assert not made.exists()


def test_our_functions_stay_as_they_are(write):
    """BUILD would set attributes of whatever the pickle names."""
    attributes = pickled(({}, {"__defaults__": (7,), "mark": 7}))[2:-1]
    with pytest.raises(UserError):
        weights.load(TINY, str(write(torch_file(b"ctorch._utils\n_rebuild_tensor_v2\n", attributes, b"b"))))
    from invjax.weights import pytorch

    assert pytorch._tensor.__defaults__ is None and not hasattr(pytorch._tensor, "mark")


def test_folders_and_missing_files(tmp_path):
    for path, message in ((tmp_path, "not a file"), (tmp_path / "none.npz", "no such file")):
        with pytest.raises(UserError, match=message):
            weights.import_file(path, TINY)
