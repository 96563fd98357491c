"""Regularizers against loops over pixels, their derivatives against central differences in float64."""

import jax
import numpy as np
import pytest

from invjax import UserError, regularizers

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(4, 5, 3)).astype(np.float32)
BETAS = [0.3, 0.5, 1, 1.5, 2, 2.5, 3]
ALPHAS = [1, 1.5, 2, 3, 4, 5.5, 6]


def alpha_norm(image, alpha):
    return sum(abs(value) ** alpha for value in image.ravel())


def total_variation(image, beta):
    height, width, channels = image.shape
    rounding = 1e-12 if beta < 1 else 0.0
    total = 0.0
    for i, j, c in np.ndindex(height, width, channels):
        right = image[i, j + 1, c] - image[i, j, c] if j + 1 < width else 0.0
        down = image[i + 1, j, c] - image[i, j, c] if i + 1 < height else 0.0
        total += (right**2 + down**2 + rounding) ** (beta / 2) - rounding ** (beta / 2)
    return total


def bounded_range(image, low, high):
    return sum(max(0, low - value) ** 2 + max(0, value - high) ** 2 for value in image.ravel())


def central_differences(function, image, step=1e-6):
    gradient = np.zeros(image.shape)
    for index in np.ndindex(image.shape):
        moved = np.zeros(image.shape)
        moved[index] = step
        gradient[index] = (function(image + moved) - function(image - moved)) / (2 * step)
    return gradient


CASES = [
    *((regularizers.alpha_norm(a), lambda image, a=a: alpha_norm(image, a)) for a in ALPHAS),
    *((regularizers.total_variation(b), lambda image, b=b: total_variation(image, b)) for b in BETAS),
    (regularizers.bounded_range(-0.5, 0.3), lambda image: bounded_range(image, -0.5, 0.3)),
]
NAMES = [*(f"alpha={a}" for a in ALPHAS), *(f"beta={b}" for b in BETAS), "range"]


@pytest.mark.parametrize("regularizer, definition", CASES, ids=NAMES)
def test_value(regularizer, definition):
    np.testing.assert_allclose(regularizer(IMAGE), definition(IMAGE.astype(np.float64)), rtol=1e-5)


@pytest.mark.parametrize("regularizer, definition", CASES, ids=NAMES)
def test_derivative(regularizer, definition):
    expected = central_differences(definition, IMAGE.astype(np.float64))
    gradient = jax.jit(jax.grad(regularizer))(IMAGE)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("value", [0, 0.7])
@pytest.mark.parametrize("beta", BETAS)
def test_total_variation_of_a_flat_picture(beta, value):
    result, gradient = jax.value_and_grad(regularizers.total_variation(beta))(np.full((3, 4, 1), value, np.float32))
    assert abs(result) < 1e-6
    assert not gradient.any()  # and not NaN


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("height", [1e-30, 1e-22, 1e-10, 1e-5, 1])
def test_total_variation_of_a_step_has_finite_derivatives(beta, height):
    image = np.zeros((4, 6, 1), np.float32)
    image[:, 3:] = height
    result, gradient = jax.jit(jax.value_and_grad(regularizers.total_variation(beta)))(image)
    assert np.isfinite(result) and np.isfinite(gradient).all()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_alpha_norm_at_zero(alpha):
    """Flat is where any of them is least: no derivative, and at the kink of |u| the subgradient of least norm."""
    result, gradient = jax.value_and_grad(regularizers.alpha_norm(alpha))(np.zeros((2, 3, 1), np.float32))
    assert result == 0 and not gradient.any()  # and not NaN


@pytest.mark.parametrize("regularizer, definition", CASES, ids=NAMES)
def test_derivative_at_kinks_and_bounds(regularizer, definition):
    """At a kink the central difference in float64 is the subgradient of least norm."""
    image = np.array([0, 0, -0.5, 0.3, 0, 0, 0.3, 0.3, 0.3], np.float32).reshape(3, 3, 1)
    gradient = jax.jit(jax.grad(regularizer))(image)
    expected = central_differences(definition, image.astype(np.float64))
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_total_variation_of_one_pixel_is_zero():
    assert regularizers.total_variation(2)(np.ones((1, 1, 3), np.float32)) == 0


def test_inside_the_range_costs_nothing():
    result, gradient = jax.value_and_grad(regularizers.bounded_range(-4, 4))(IMAGE)
    assert result == 0 and not gradient.any()


@pytest.mark.parametrize("alpha", [0.99, 0, -2, float("nan")])
def test_alpha_out_of_range(alpha):
    with pytest.raises(UserError, match="alpha ≥ 1"):
        regularizers.alpha_norm(alpha)


@pytest.mark.parametrize("beta", [0, -1, float("nan")])
def test_beta_out_of_range(beta):
    with pytest.raises(UserError, match="beta > 0"):
        regularizers.total_variation(beta)


@pytest.mark.parametrize("low, high", [(1, 1), (2, 1), (float("nan"), 1)])
def test_empty_range(low, high):
    with pytest.raises(UserError, match="low < high"):
        regularizers.bounded_range(low, high)


def test_by_name():
    assert regularizers.get("alpha_norm") is regularizers.alpha_norm(6.0)
    assert regularizers.get("total_variation(beta=1.5)") is regularizers.total_variation(1.5)
    assert regularizers.get("bounded_range(high=2, low=-1)") is regularizers.bounded_range(-1, 2)
    assert regularizers.get(np.sum) is np.sum
    with pytest.raises(UserError, match="low, high"):
        regularizers.get("bounded_range")
    with pytest.raises(UserError, match="Did you mean total_variation"):
        regularizers.get("total_variaton")


def test_the_same_arguments_give_the_same_function():
    """Otherwise jit would compile it again."""
    assert regularizers.alpha_norm(6.0) is regularizers.alpha_norm(6.0)
    assert regularizers.total_variation(1.0) is regularizers.total_variation(1.0)
    assert regularizers.bounded_range(-1.0, 1.0) is regularizers.bounded_range(-1.0, 1.0)
