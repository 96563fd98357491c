import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import UserError, representations

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
