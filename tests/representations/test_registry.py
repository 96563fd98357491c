import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import UserError, cli, read_results, representations

HAND_MADE = ["hog", "hogb", "dsift", "hog_uoctti"]


def test_names():
    assert set(HAND_MADE) <= set(representations.names())


@pytest.mark.parametrize("name", HAND_MADE)
def test_get_builds_what_the_name_says(name):
    phi = representations.get(name)
    assert phi.name == name
    assert phi.input.channels == 1 and phi.input.mean == (128.0,)
    assert representations.get(name).apply == phi.apply


def test_get_passes_options_on():
    assert representations.get("hog", cell=6).feature_shape((30, 30, 1)) == (5, 5, 27)
    assert representations.get("hog", orientations=4).feature_shape((32, 32, 1)) == (4, 4, 12)
    assert representations.get("hog", bilinear=True).apply == representations.get("hogb").apply


def test_every_factory_is_documented():
    assert all(representations.factory(name).__doc__ for name in representations.names())


def test_unknown_name():
    with pytest.raises(UserError, match=r"unknown representation 'dsiift'\. Did you mean dsift\? Valid: .*hog"):
        representations.get("dsiift")
    with pytest.raises(UserError, match=r"unknown representation 'xyzzy'\. Valid: "):
        representations.get("xyzzy")


def test_unknown_option():
    with pytest.raises(UserError, match=r"hog has no option 'size'\. Valid: cell, orientations, bilinear"):
        representations.get("hog", size=3)


def test_value_out_of_range():
    with pytest.raises(UserError, match="cell must be a whole number of at least 2, got 1"):
        representations.get("dsift", cell=1)


def test_a_representation_can_be_jitted():
    phi, image = representations.get("hogb"), jnp.ones((16, 16, 1)).at[3, 3].set(90)
    np.testing.assert_allclose(jax.jit(phi)(image), phi(image), atol=1e-6)


HALVES = """
from invjax import InputSpec, Representation

def half(params, image):
    return params * image[::2, ::2]

def make(gain: float = 1.0):
    return Representation(gain, half, "half", InputSpec(1, (128.0,)))

def wrong():
    return 3

def broken():
    return missing

number = 7
"""


@pytest.fixture
def halves(tmp_path):
    """A file of a user's."""
    path = tmp_path / "halves.py"
    path.write_text(HALVES)
    return str(path)


def test_a_file_of_the_users_is_a_name(halves):
    picture = np.arange(-32.0, 32.0, dtype=np.float32).reshape(8, 8, 1)
    np.testing.assert_array_equal(representations.get(f"{halves}:make")(picture), picture[::2, ::2])
    np.testing.assert_array_equal(representations.get(f"{halves}:make", gain=3.0)(picture), 3 * picture[::2, ::2])
    assert representations.get(f"{halves}:make").apply == representations.get(f"{halves}:make").apply


@pytest.mark.parametrize("wrong", ["wrong", "broken", "number", "absent"])
def test_what_a_file_has_not_is_told_in_a_line(halves, wrong):
    with pytest.raises(UserError) as told:
        representations.get(f"{halves}:{wrong}")
    assert "\n" not in str(told.value) and wrong in str(told.value)


@pytest.mark.parametrize("name", ["no_such_file.py:make", "no_such_module:make", "json:make"])
def test_what_is_not_there_is_told_in_a_line(name):
    with pytest.raises(UserError) as told:
        representations.get(name)
    assert "\n" not in str(told.value) and name.split(":")[0] in str(told.value)


def test_an_option_of_the_users_is_checked(halves):
    with pytest.raises(UserError):
        representations.get(f"{halves}:make", loss=1)


def test_a_registered_name_is_a_name(halves, monkeypatch):
    monkeypatch.setattr(representations, "_FACTORIES", dict(representations._FACTORIES))  # of this test only
    make = representations.factory(f"{halves}:make")
    representations.register("half_of_the_tests", make)
    representations.register("half_of_the_tests", make)  # a notebook's cell, run twice
    assert representations.get("half_of_the_tests", gain=2.0).params == 2.0
    assert "half_of_the_tests" in representations.names()
    for name, wrong in (("hog", make), ("a:b", make), ("", make), ("other", 3)):
        with pytest.raises(UserError):
            representations.register(name, wrong)


def test_the_command_inverts_a_representation_of_the_users(halves, picture, tmp_path):
    arguments = ["--representation", f"{halves}:make", "--steps", "5", "--size", "32", "--out", str(tmp_path / "out")]
    assert cli.main(["invert", str(picture), *arguments]) == 0
    [row] = read_results(tmp_path / "out").to_dict("records")
    assert row["representation"] == "half" and row["status"] == "ok"
