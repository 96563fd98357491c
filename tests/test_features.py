"""Features from files: what every format holds is read as it was written, whatever is broken is one line."""

import io
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from invjax import UserError, features
from invjax.features import match, read_features

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 5, 6)), RNG.normal(size=(3, 7)).astype(np.float32)


def npy(array=A):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **(arrays or {"a": A, "group/b": B, "labels": np.arange(3), "text": np.array("cat")}))
    return file.getvalue()


def hdf5(fill=None, **options):
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as root:
        (fill or two_arrays)(root)
    return file.getvalue()


def two_arrays(root):
    root.create_dataset("a", data=A, chunks=(2, 5, 6), compression="gzip")
    root["group/b"] = B
    root["group/labels"] = np.arange(3)
    root["group/text"] = "cat"
    root["nothing"] = h5py.Empty("f4")
    root["number"] = 3.0
    root["again"] = h5py.SoftLink("/a")
    root["elsewhere"] = h5py.ExternalLink("other.h5", "/a")


def matlab(compress=False):
    file = io.BytesIO()
    variables = {"a": A, "b": B, "whole": np.array([[1.0, 2.0]]), "labels": np.arange(3), "text": "cat"}
    scipy.io.savemat(file, variables | {"cell": np.array([A, "cat"], object)}, do_compression=compress)
    return file.getvalue()


def matlab_hdf5():
    """As MATLAB writes it: 512 bytes of its own, axes reversed."""

    def fill(root):
        for name, value, kind in (("a", A.T, "double"), ("#refs#/a", A.T, "double"), ("b", B.T, "single")):
            root[name] = value
            root[name].attrs["MATLAB_class"] = np.bytes_(kind)
        root["text"] = np.frombuffer("cat".encode("utf-16-le"), np.uint16)[:, None]
        root["empty"] = np.zeros(2, np.float64)
        root["empty"].attrs["MATLAB_empty"] = np.uint8(1)

    data = hdf5(fill, userblock_size=512)
    return b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + data[128:]


WHOLE = {
    "npy": npy(),
    "npz": npz(),
    "npz compressed": npz(np.savez_compressed),
    "hdf5": hdf5(),
    "matlab": matlab(),
    "matlab compressed": matlab(compress=True),
    "matlab 7.3": matlab_hdf5(),
}


@pytest.fixture
def saved(tmp_path):
    """Writes a file whose name says nothing."""

    def save(data):
        path = tmp_path / "dog.dat"
        path.write_bytes(data)
        return path

    return save


@pytest.mark.parametrize("kind", WHOLE)
def test_every_format_holds_what_was_written(saved, kind):
    found = read_features(saved(WHOLE[kind]))
    second = "group/b" if kind.startswith(("npz", "hdf5")) else "b"
    expected = {"dog": A} if kind == "npy" else {"a": A, second: B}
    if kind in ("matlab", "matlab compressed"):
        expected["whole"] = np.array([[1.0, 2.0]])
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)


def test_order_and_bytes_of_numpy_arrays(saved):
    for array in (np.asfortranarray(A), A.astype(">f4"), A.astype(np.float16)):
        np.testing.assert_array_equal(read_features(saved(npy(array)))["dog"], array)


def test_names_can_be_printed(saved):
    [name] = read_features(saved(npz(**{"a\nb": A})))
    assert name.isprintable()


def swapped(data, width):
    """The same numbers with their bytes the other way round."""
    return b"".join(data[at : at + width][::-1] for at in range(0, len(data), width))


def test_matlab_on_a_big_endian_machine(saved):
    file = io.BytesIO()
    scipy.io.savemat(file, {"numbers": B.ravel()})
    data = file.getvalue()
    # version and order, tag, flags, shape, tag of the name, the name as it is, tag of the numbers, numbers
    head, body = data[:124] + swapped(data[124:128], 2), data[128:]
    turned = swapped(body[:48], 4) + body[48:56] + swapped(body[56:], 4)
    np.testing.assert_array_equal(read_features(saved(head + turned))["numbers"], B.reshape(1, -1))


class Bomb:
    """Unpickling it is noticed."""

    def __reduce__(self):
        return (pytest.fail, ("something in a file was run",))


def claims(shape, size=96):
    """A .npy that holds less than it says."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(size)


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def external(root):
    root.create_dataset("a", (3,), "f4", external=[("/etc/hostname", 0, 12)])


def virtual(root):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (3,))
    root.create_virtual_dataset("a", layout)


def table(root):
    root["a"] = np.zeros(3, [("x", "f4")])
    root.create_dataset("texts", data=["cat", "dog"], dtype=h5py.string_dtype())


BROKEN = {
    "empty": (b"", "not a file of features"),
    "text": (b"1.0, 2.0, 3.0\n" * 30, "not a file of features"),
    "pickle": (pickle.dumps(Bomb()), "not a file of features"),
    "objects": (npy(np.array([Bomb()], object)), "no arrays of floating-point numbers"),
    "objects in npz": (npz(a=np.array([Bomb()], object)), "no arrays of floating-point numbers"),
    "whole numbers": (npy(np.arange(3)), "no arrays of floating-point numbers"),
    "no items": (npy(np.zeros((0, 3))), "no arrays of floating-point numbers"),
    "one number": (npy(np.float64(3)), "no arrays of floating-point numbers"),
    "structured": (npy(np.zeros(3, [("x", "f4")])), "no arrays of floating-point numbers"),
    "too short": (claims((13,)), "damaged"),
    "far too short": (claims((10**9, 10**9, 10**9)), "damaged"),
    "negative": (claims((-3,)), "damaged"),
    "no shape": (claims("__import__('os')"), "damaged"),
    "npz of something else": (zipped(a=b"cat"), "damaged"),
    "npz of less": (zipped(a=claims((10**9,))), "damaged"),
    "empty npz": (zipped(), "no arrays of floating-point numbers"),
    "external": (hdf5(external), "a lies in another file"),
    "virtual": (hdf5(virtual), "a lies in another file"),
    "no floats in hdf5": (hdf5(table), "no arrays of floating-point numbers"),
    "damaged hdf5": (WHOLE["hdf5"][:64] + bytes(len(WHOLE["hdf5"]) - 64), "damaged"),
    "damaged matlab": (WHOLE["matlab compressed"][:300] + bytes(200), "damaged"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_one_line(saved, kind):
    data, message = BROKEN[kind]
    with pytest.raises(UserError, match=message) as caught:
        read_features(saved(data))
    assert str(caught.value).startswith(str(saved(data))) and "\n" not in str(caught.value)


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(UserError, match=r"none\.npy: no such file"):
        read_features(tmp_path / "none.npy")
    with pytest.raises(UserError, match="not a file"):
        read_features(tmp_path)


def zeros_in_hdf5(zeros):
    return hdf5(lambda root: root.create_dataset("a", data=zeros, compression="gzip"))


def zeros_in_matlab(zeros):
    file = io.BytesIO()
    scipy.io.savemat(file, {"a": zeros}, do_compression=True)
    return file.getvalue()


@pytest.mark.parametrize("pack", [lambda a: npz(np.savez_compressed, a=a), zeros_in_hdf5, zeros_in_matlab])
def test_what_unpacks_to_too_much_is_refused(saved, monkeypatch, pack):
    monkeypatch.setattr(features, "LIMIT", 10**5)
    data = pack(np.zeros(2 * 10**5))
    assert len(data) < 10**4
    with pytest.raises(UserError, match="unpacks to too much"):
        read_features(saved(data))


def read_or_refused(path):
    """A broken file may still hold arrays; otherwise it is one line."""
    try:
        assert all(array.dtype.kind == "f" for array in read_features(path).values())
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_files(saved, kind):
    data = WHOLE[kind]
    for length in range(0, len(data), max(1, len(data) // 60)):
        read_or_refused(saved(data[:length]))


@pytest.mark.parametrize("kind", WHOLE)
def test_changed_bytes(tmp_path_factory, kind):
    path = tmp_path_factory.mktemp("changed") / "dog.dat"
    data = WHOLE[kind]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=1, max_size=8))
    def change(changes):
        changed = bytearray(data)
        for place, value in changes:
            changed[place] = value
        path.write_bytes(changed)
        read_or_refused(path)

    change()


HWC = (4, 5, 6)


@pytest.mark.parametrize(
    ("stored", "layout", "count"),
    [
        ((4, 5, 6), "hwc", 1),
        ((1, 4, 5, 6), "hwc", 1),
        ((7, 4, 5, 6), "hwc", 7),
        ((6, 4, 5), "chw", 1),
        ((7, 6, 4, 5), "chw", 7),
    ],
)
def test_features_with_positions(stored, layout, count):
    array = RNG.normal(size=stored)
    found = match({"a": array}, HWC, layout)
    assert len(found) == count and all(feature.dtype == np.float32 for feature in found)
    axes = "nchw->nhwc" if layout == "chw" else "nhwc->nhwc"
    np.testing.assert_allclose(found, np.einsum(axes, array.reshape(count, *stored[-3:])), rtol=1e-6)


@pytest.mark.parametrize("layout", features.LAYOUTS)
@pytest.mark.parametrize("shape", [(8,), (1, 1, 8)])
@pytest.mark.parametrize(
    ("stored", "count"),
    [
        ((8,), 1),
        ((1, 8), 1),
        ((8, 1), 1),
        ((1, 1, 8), 1),
        ((8, 1, 1), 1),
        ((3, 8), 3),
        ((3, 1, 1, 8), 3),
        ((3, 8, 1, 1), 3),
    ],
)
def test_features_without_positions_have_no_layout(stored, count, shape, layout):
    array = RNG.normal(size=stored).astype(np.float32)
    np.testing.assert_array_equal(match({"a": array}, shape, layout), array.reshape(count, *shape))


def test_layers_by_name():
    arrays = {"conv1": np.ones((2, *HWC)), "block/fc": np.arange(6.0).reshape(2, 3), "other": np.ones(1)}
    first, second = match(arrays, {"conv1": HWC, "block/fc": (3,)})
    assert first["conv1"].shape == HWC
    np.testing.assert_array_equal([first["block/fc"], second["block/fc"]], arrays["block/fc"])
    [_, nested] = match(arrays, {"conv1": HWC, "block": {"fc": (3,)}})
    np.testing.assert_array_equal(nested["block"]["fc"], [3, 4, 5])
    [single, _] = match(arrays, (3,), layer="block/fc")
    np.testing.assert_array_equal(single, [0, 1, 2])


@pytest.mark.parametrize(
    ("arrays", "expected", "layout", "message"),
    [
        ({"a": (256, 13, 13)}, (13, 13, 256), "hwc", r"expected \[13, 13, 256\], .* got \[256, 13, 13\]: .*layout chw"),
        ({"a": (5, 13, 13, 256)}, (13, 13, 256), "chw", r"got \[5, 13, 13, 256\]: --features-layout hwc"),
        ({"a": (13, 13, 256, 5)}, (13, 13, 256), "hwc", "the axis of features comes first"),
        ({"a": (12, 12, 256)}, (13, 13, 256), "hwc", "or another --size"),
        ({"a": (8,), "b": (9,)}, (8,), "hwc", r"several arrays \(a, b\)"),
        ({"a": (8,)}, {"a": (8,), "b": (9,)}, "hwc", "no array 'b' among a"),
        ({"a": (2, 8), "b": (3, 8)}, {"a": (8,), "b": (8,)}, "hwc", "got 2 of a, 3 of b"),
    ],
)
def test_what_does_not_match_is_explained(arrays, expected, layout, message):
    with pytest.raises(UserError, match=message) as caught:
        match({name: np.ones(shape) for name, shape in arrays.items()}, expected, layout)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_must_be_finite_floats(value):
    with pytest.raises(UserError, match="'a' has values that are not finite"):
        match({"a": np.array([1.0, value])}, (2,))
    with pytest.raises(UserError, match="'a' holds int64"):
        match({"a": np.array([1, 2])}, (2,))
