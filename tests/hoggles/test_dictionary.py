"""The file of a dictionary."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invjax import UserError, hoggles, representations
from tests.hoggles.common import scene


@pytest.fixture(scope="module")
def small():
    """A dictionary of a few atoms, of other options than the default."""
    phi = representations.get("hog_uoctti", cell=4, orientations=5, bilinear=True)
    return hoggles.train([scene(0, 32, 32)], phi, window=2, atoms=5, passes=0)


def content(dictionary, folder):
    dictionary.save(folder / "content.npz")
    return (folder / "content.npz").read_bytes()


def test_what_is_written_is_read(small, tmp_path):
    small.save(tmp_path / "there" / "a.npz")
    found = hoggles.load(str(tmp_path / "there" / "a.npz"))
    assert vars(found).keys() == vars(small).keys()
    for field, value in vars(small).items():
        np.testing.assert_array_equal(getattr(found, field), value)
    assert found.representation().apply == small.representation().apply
    assert content(small, tmp_path) == (tmp_path / "there" / "a.npz").read_bytes()  # no times in it


def test_numpy_reads_it_too(small, tmp_path):
    with np.load(io.BytesIO(content(small, tmp_path))) as arrays:
        np.testing.assert_array_equal(arrays["patches"], small.patches)
        np.testing.assert_array_equal(arrays["features"], small.features)


def test_it_tells_what_it_is(small):
    text = small.describe()
    for part in ("5 atoms of hog_uoctti", "2×2 cells", "λ 0.2", "1 pictures sha256:", "98 windows", "seed 0"):
        assert part in text


def test_files_that_are_none(small, tmp_path):
    np.savez(tmp_path / "other.npz", patches=np.ones((2, 2)))
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "folder.npz").mkdir()
    for name, message in (
        ("other.npz", "not a dictionary of HOGgles: `invjax hoggles train` makes one"),
        ("text.npz", "not a dictionary"),
        ("folder.npz", "not a file"),
        ("nowhere.npz", "no such file"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            hoggles.load(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


@given(data=st.data())
@settings(max_examples=100, deadline=None, database=None)
def test_truncated_and_flipped_bytes(small, tmp_path_factory, data):
    """A dictionary or one line, nothing else."""
    folder = tmp_path_factory.getbasetemp()
    changed = bytearray(content(small, folder))
    places = st.integers(0, len(changed) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        changed[place] = value
    if data.draw(st.booleans()):
        del changed[data.draw(places) :]
    path = folder / "changed.npz"
    path.write_bytes(changed)
    try:
        assert hoggles.load(path).atoms == small.atoms
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 3},
        {"window": 10**9},
        {"window": -4},
        {"window": "2"},
        {"name": "fc8"},
        {"name": "caffenet", "options": {}},
        {"options": {"cell": 5, "orientations": 5, "bilinear": True}},
        {"options": {"cell": 10**9, "orientations": 5, "bilinear": True}},
        {"options": {"cell": 4, "orientations": 10**9, "bilinear": True}},
        {"options": {"cell": 4, "sides": 3}},
        {"sparsity": -1.0},
        {"contrast": float("nan")},
        {"patches": [[1.0]]},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_text_that_does_not_fit_the_arrays(small, tmp_path, changes):
    arrays = {"patches": small.patches, "features": small.features}
    about = {field: value for field, value in vars(small).items() if field not in arrays}
    np.savez(tmp_path / "a.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("about.json", json.dumps(about | changes))
    with pytest.raises(UserError) as caught:
        hoggles.load(tmp_path / "a.npz")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
