"""Networks in float32, TF32 and bfloat16: what is multiplied with what, forward and backward, and what comes out."""

import re

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from invjax import UserError, descent, devices, networks, recipes
from invjax.networks import ops
from invjax.representations import get
from invjax.representations.network import build

from .common import QUICKLY, convolved, convolved_gradients, normalised, relative, seeded
from .test_network import IMAGES, PARAMS, SMALL, by_definition

ULP = 2.0**-8  # what rounding to bfloat16 changes at most, of a number


def halved(*shape, **options):
    """Noise rounded to bfloat16."""
    return seeded(*shape, **options).astype(ml_dtypes.bfloat16)


def double(*arrays):
    return [np.asarray(array, np.float64) for array in arrays]


def phi_of(precision):
    """SMALL as a representation."""
    network = SMALL.clone(precision=precision)
    return build(network, PARAMS)


def value_and_gradient(function, x, g):
    value, pull_back = jax.vjp(function, x)
    return value, pull_back(g)[0]


# --- bfloat16 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "channels", "window", "stride", "pad", "groups"),
    [(13, (3, 4), 7, 2, 0, 1), (7, (4, 6), 5, 1, 2, 2), (8, (64, 64), 3, 1, 1, 1)],  # the last one has Winograd's size
)
def test_convolution(side, channels, window, stride, pad, groups):
    """Products of rounded numbers, added up in more digits, rounded once."""
    x, kernel = halved(2, side, side, channels[0]), halved(window, window, channels[0] // groups, channels[1], seed=1)
    prepared = ops.prepare(jnp.asarray(kernel), stride, groups)
    expected = convolved(*double(x, kernel), stride, pad, groups)
    g = halved(*expected.shape, seed=2)
    value, gradient = value_and_gradient(lambda x: ops.conv(x, prepared, window, stride, pad), jnp.asarray(x), g)
    assert value.dtype == gradient.dtype == jnp.bfloat16
    assert relative(value, expected) < ULP
    assert relative(gradient, convolved_gradients(*double(x, kernel, g), stride, pad, groups)[0]) < ULP


def test_fully_connected():
    x, kernel, g = halved(3, 32), halved(32, 6, seed=1), halved(3, 6, seed=2)
    value, gradient = value_and_gradient(lambda x: ops.dense(x, jnp.asarray(kernel)), jnp.asarray(x), g)
    assert value.dtype == gradient.dtype == jnp.bfloat16
    rows, matrix, weights = double(x, kernel, g)
    assert relative(value, rows @ matrix) < ULP
    assert relative(gradient, weights @ matrix.T) < ULP


def test_normalisation_is_that_of_float32_rounded():
    """Sums in bfloat16 would be off by several digits: α Σ x² is small beside k."""
    x, g = halved(2, 3, 4, 20, scale=60), halved(2, 3, 4, 20, seed=1)

    def both(x, g):
        return value_and_gradient(lambda x: ops.local_response(x, 5, 1e-4, 1.0), jnp.asarray(x), jnp.asarray(g))

    value, gradient = both(x, g)
    assert value.dtype == gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(*double(value), normalised(*double(x)), rtol=ULP)
    exact = both(*(array.astype(np.float32) for array in (x, g)))[1]
    np.testing.assert_array_equal(gradient, exact.astype(jnp.bfloat16))


def test_a_whole_network():
    expected = by_definition(*double(IMAGES[:1]), jax.tree.map(np.float64, PARAMS))["fc"]
    network = SMALL.clone(precision="bfloat16")
    rough = network.apply(network.prepare(PARAMS), IMAGES[:1])["fc"]
    assert rough.dtype == jnp.float32
    assert 1e-4 < relative(rough, expected) < 0.03
    unprepared = network.apply({"params": PARAMS}, IMAGES[:1])["fc"]
    assert 1e-4 < relative(unprepared, expected) < 0.03


def test_gradients_are_near_those_of_float32():
    gradients = [
        jax.jit(jax.grad(lambda x, phi: jnp.sum(phi(x) ** 2)), compiler_options=QUICKLY)(IMAGES[0], phi_of(precision))
        for precision in ("float32", "bfloat16")
    ]
    exact, rough = (np.asarray(gradient, np.float64).ravel() for gradient in gradients)
    assert gradients[1].dtype == jnp.float32
    assert exact @ rough > 0.99 * np.linalg.norm(exact) * np.linalg.norm(rough)
    assert np.abs(exact - rough).max() > 1e-4 * np.abs(exact).max()


# --- programs ----------------------------------------------------------------------------------------------------


def products_of_a_step(precision):
    """The program of a whole step, and (precision, type) of each product in it."""
    phi = phi_of(precision).prepared()
    method, weights, _ = recipes.prepare(phi, IMAGES[0].shape, "paper")
    problem = descent.Problem(jnp.ones(phi.feature_shape(IMAGES[0].shape)), jax.random.key(0), weights)
    state = descent.start(method, problem)
    text = jax.jit(descent.step, static_argnums=0).lower(method, phi, problem, state).as_text()
    found = []
    for line in re.findall(r"stablehlo\.(?:convolution|dot_general)(.*)", text):
        [chosen] = set(re.findall("HIGHEST|HIGH|DEFAULT", line))
        [number] = set(re.findall(r"x(f32|bf16)>", line.rpartition(" : ")[2]))
        found.append((chosen, number))
    return text, found


@pytest.mark.parametrize(("precision", "chosen"), [("float32", "HIGHEST"), ("tf32", "HIGH")])
def test_every_product_of_a_step_has_the_precision(precision, chosen):
    text, products = products_of_a_step(precision)
    assert len(products) == 2 * 5  # conv1, narrow, wide in two groups, fc
    assert set(products) == {(chosen, "f32")}
    assert "bf16" not in text


def test_products_of_a_step_in_bfloat16():
    text, products = products_of_a_step("bfloat16")
    assert len(products) == 10 and {number for _, number in products} == {"bf16"}
    [main] = re.findall(r"func\.func public @main\((.*)", text)
    kernels, state = main.split("-> (")
    assert "bf16" in kernels and "bf16" not in state  # picture, momentum and objective stay in float32


# --- by name -----------------------------------------------------------------------------------------------------


def test_a_precision_is_part_of_what_is_computed():
    def one(**options):
        return get("squeezenet", layer="conv1", weights="random", **options).apply

    assert one() == one(precision="tf32") and hash(one()) == hash(one(precision="tf32"))
    assert len({one(precision=name) for name in networks.PRECISIONS}) == 3


def test_an_unknown_precision():
    with pytest.raises(UserError, match="precision must be one of float32, tf32, bfloat16, got 'half'"):
        get("squeezenet", layer="conv1", weights="random", precision="half")


def test_float32_and_tf32_are_the_same_on_a_cpu():
    if not devices.sequential():
        pytest.skip("other devices have both")
    exact, fast = (np.asarray(jax.jit(phi_of(name))(IMAGES[0])) for name in ("float32", "tf32"))
    np.testing.assert_array_equal(exact, fast)
