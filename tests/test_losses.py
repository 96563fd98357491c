"""Losses against their definitions in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import UserError, losses

RNG = np.random.default_rng(0)
FEATURE, TARGET = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)

DEFINITIONS = {
    "euclidean": lambda f, t: np.sum((f - t) ** 2) / np.sum(t**2),
    "l1": lambda f, t: np.sum(np.abs(f - t)) / np.sum(np.abs(t)),
    "inner_product": lambda f, t: -np.sum(f * t) / np.sum(t**2),
}
DERIVATIVES = {
    "euclidean": lambda f, t: 2 * (f - t) / np.sum(t**2),
    "l1": lambda f, t: np.sign(f - t) / np.sum(np.abs(t)),
    "inner_product": lambda f, t: -t / np.sum(t**2),
}


def test_names():
    assert losses.names() == list(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_value(name):
    expected = DEFINITIONS[name](FEATURE.astype(float), TARGET.astype(float))
    np.testing.assert_allclose(losses.get(name)(FEATURE, TARGET), expected, rtol=1e-5)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_derivative(name):
    gradient = jax.grad(losses.get(name))(FEATURE, TARGET)
    np.testing.assert_allclose(gradient, DERIVATIVES[name](FEATURE, TARGET), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_derivative_where_values_are_equal(name):
    """As the zeros of rectified features mostly are: the middle of a kink pushes nowhere."""
    feature = np.where(np.arange(FEATURE.size).reshape(FEATURE.shape) % 2, TARGET, FEATURE)
    gradient = jax.grad(losses.get(name))(feature, TARGET)
    np.testing.assert_allclose(gradient, DERIVATIVES[name](feature, TARGET), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_dict_of_features_is_one_long_feature(name):
    def cut(feature):
        return {"first": feature[0], "others": [feature[1:].reshape(-1)]}

    expected = losses.get(name)(FEATURE, TARGET)
    np.testing.assert_allclose(losses.get(name)(cut(FEATURE), cut(TARGET)), expected, rtol=1e-5)


@pytest.mark.parametrize("name, at_target, at_zero", [("euclidean", 0, 1), ("l1", 0, 1), ("inner_product", -1, 0)])
def test_landmarks(name, at_target, at_zero):
    loss = losses.get(name)
    np.testing.assert_allclose(loss(TARGET, TARGET), at_target, rtol=1e-6)
    np.testing.assert_allclose(loss(0 * TARGET, TARGET), at_zero, rtol=1e-6)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_unit_of_features_does_not_matter(name):
    loss = losses.get(name)
    np.testing.assert_allclose(loss(100 * FEATURE, 100 * TARGET), loss(FEATURE, TARGET), rtol=1e-5)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_loss_is_one_number(name):
    assert jnp.shape(losses.get(name)(FEATURE, TARGET)) == ()


def test_unknown_name():
    with pytest.raises(UserError, match=r"unknown loss 'l2'\. Valid: euclidean, l1, inner_product"):
        losses.get("l2")


def test_a_loss_of_the_users(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def loss(f, t):\n    return 3.0\n\ndef make(power=1):\n    return lambda f, t: power\n")
    assert losses.get(f"{path}:loss")(FEATURE, TARGET) == 3
    assert losses.get(f"{path}:make(power=4)")(FEATURE, TARGET) == 4
    assert losses.get(f"{path}:make()") is losses.get(f"{path}:make()")
    assert losses.get("l1") is losses.get("l1()") is losses.get(losses.l1) is losses.l1
    for wrong in ("l1(power=3)", f"{path}:loss()", f"{path}:absent", 3):
        with pytest.raises(UserError):
            losses.get(wrong)
