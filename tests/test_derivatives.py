"""Φ with XLA's own derivatives, `phi.plain`: of first order, of second order, forward and reverse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import devices, losses
from invjax.derivatives import Plain, written_out
from invjax.networks.layers import Concat, Conv, Dense, LocalResponse, MaxPool, Relu
from invjax.networks.network import Network, chain
from invjax.representations import concat, flatten, from_function, get, mask
from invjax.representations.network import build
from invjax.types import InputSpec
from invjax.weights import random

from .conftest import blobs

SIDE = 20
quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # to be used once
LAYERS = chain(
    ("strided", Conv(6, 5, stride=2, pad=1)),
    ("relu", Relu()),
    ("norm", LocalResponse(alpha=0.5, k=2.0)),
    ("grouped", Conv(96, 3, pad=1, groups=2)),
    ("tiles", Conv(64, 3, pad=1)),  # channels enough for Winograd's way
    ("few", Conv(24, 3), "grouped"),  # few enough for rows side by side
    ("pool", MaxPool(), "tiles"),
    ("both", Concat(), "few", "tiles"),
    ("dense", Dense(5), "pool"),
)
OF_NETWORKS = [("strided",), ("relu",), ("norm",), ("grouped",), ("few",), ("pool",), ("dense",), ("norm", "pool")]
HOGS = [("hog", {"cell": 4}), ("hogb", {"cell": 4}), ("hog_uoctti", {"cell": 5}), ("dsift", {"cell": 3})]


def network(*layers, precision="float32"):
    """Φ of some layers, with random weights."""
    whole = Network(LAYERS, InputSpec(3, size=SIDE), layers, precision)
    return build(whole, random.draw(whole, 0, whole.weighted()))


CASES = {name: functools.partial(get, name, **options) for name, options in HOGS}
CASES |= {"+".join(layers): functools.partial(network, *layers) for layers in OF_NETWORKS}
CASES |= {
    "softened": lambda: get("hog", cell=4).softened(2.0),
    "several": lambda: concat({"a": mask(get("hog", cell=4), np.float32(0.5)), "b": flatten(get("dsift", cell=3))}),
}
every = pytest.mark.parametrize("case", CASES)


@functools.cache
def made(case):
    """Φ, a smooth picture, a direction in which it changes, and what the feature is multiplied with."""
    phi = CASES[case]()
    picture = np.stack([blobs(SIDE, seed) for seed in range(phi.input.channels)], -1).astype(np.float32) - 128
    picture += np.random.default_rng(5).normal(0, 3, picture.shape).astype(np.float32)
    shapes = jax.eval_shape(phi, picture)
    generator = np.random.default_rng(1)
    weights = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), shapes)
    return phi, picture, generator.normal(size=picture.shape).astype(np.float32), weights


def functional(phi, weights):
    """A random linear functional of the feature."""
    return lambda x: sum(jax.tree.leaves(jax.tree.map(lambda w, leaf: (w * leaf).sum(), weights, phi(x))))


def close(actual, expected, tolerance):
    """Up to so much of the greatest value."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def near(actual, differences):
    """Up to a twentieth of what it is on the whole: of differences, some straddle a kink."""
    assert np.linalg.norm(actual - differences) < 0.05 * np.linalg.norm(differences)


@every
def test_values_and_gradients_are_those_that_are_written_out(case):
    phi, x, _, weights = made(case)
    both = quickly(lambda phi, x: (phi(x), jax.grad(functional(phi, weights))(x)))
    (value, gradient), (expected, by_hand) = both(phi.plain, x), both(phi, x)
    jax.tree.map(functools.partial(close, tolerance=1e-6), value, expected)
    close(gradient, by_hand, 1e-4)


@every
def test_forward_mode_is_the_transpose_of_reverse_mode(case):
    """Of `jax.jvp` and of `jax.linearize`, against the gradient that is written out."""
    phi, x, v, weights = made(case)

    @quickly
    def forward(phi, x):
        tangents = jax.jvp(phi.plain, (x,), (v,))[1], jax.linearize(phi.plain, x)[1](v)
        return [functional(lambda tangent: tangent, weights)(tangent) for tangent in tangents]

    gradient = np.asarray(quickly(lambda phi, x: jax.grad(functional(phi, weights))(x))(phi, x), np.float64)
    size = np.linalg.norm(gradient) * np.linalg.norm(v) / np.sqrt(v.size)
    np.testing.assert_allclose(forward(phi, x), np.full(2, np.sum(gradient * v)), rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("hog", "several", "hog_uoctti")])
def test_forward_mode_is_what_finite_differences_say(case):
    """Hard votes jump."""
    phi, x, v, _ = made(case)
    step = 0.005
    after, before = (quickly(lambda phi, x: phi(x))(phi, x + sign * step * v) for sign in (1, -1))
    tangent = quickly(lambda phi, x: jax.jvp(phi.plain, (x,), (v,))[1])(phi, x)
    jax.tree.map(
        lambda *leaves: near(leaves[0], (np.float64(leaves[1]) - leaves[2]) / (2 * step)), tangent, after, before
    )


@pytest.mark.parametrize("case", ["hog", "dsift", "norm", "dense"])
def test_the_whole_jacobian(case):
    """Column by column, against the rows that the written-out gradients give."""
    phi, x, _, _ = made(case)
    rows = quickly(lambda phi, x: jax.jacrev(lambda x: phi(x).ravel()[:40])(x))(phi, x)
    columns = quickly(lambda phi, x: jax.jacfwd(lambda x: phi.plain(x).ravel()[:40])(x))(phi, x)
    close(columns, rows, 1e-4)


@every
def test_products_with_a_hessian_are_symmetric(case):
    """vᵀHw = wᵀHv of a squared distance between features, forward over reverse."""
    phi, x, v, _ = made(case)
    w = np.random.default_rng(2).normal(size=v.shape).astype(np.float32)
    target = jax.tree.map(np.asarray, quickly(lambda phi, x: phi(x))(phi, x[::-1]))

    @quickly
    def products(phi, x):
        gradient = jax.grad(lambda x: losses.euclidean(phi.plain(x), target))
        return [jax.jvp(gradient, (x,), (direction,))[1] for direction in (v, w)]

    hv, hw = (np.asarray(product, np.float64) for product in products(phi, x))
    assert np.isfinite(hv).all() and np.abs(hv).max() > 0
    scale = np.linalg.norm(hv) * np.linalg.norm(w) / np.sqrt(w.size)
    assert abs(np.sum(w * hv) - np.sum(v * hw)) < 1e-3 * scale


@pytest.mark.parametrize("case", ["hogb", "dsift", "norm"])
def test_products_with_a_hessian_are_differences_of_gradients(case):
    phi, x, v, weights = made(case)

    def slope(phi, x):
        return jax.grad(lambda x: functional(phi, weights)(x) ** 2)(x)

    product = quickly(lambda phi, x: jax.jvp(lambda x: slope(phi.plain, x), (x,), (v,))[1])(phi, x)
    step = 0.01
    before, after = (np.float64(quickly(slope)(phi, x + sign * step * v)) for sign in (-1, 1))
    near(product, (after - before) / (2 * step))


@every
@pytest.mark.parametrize("value", [0.0, 30.0])
def test_of_a_flat_picture_all_is_finite(case, value):
    phi, x, v, weights = made(case)
    flat = np.full_like(x, value)

    @quickly
    def derivatives(phi, x):
        gradient = jax.grad(lambda x: functional(phi.plain, weights)(x) ** 2)
        return gradient(x), *jax.jvp(gradient, (x,), (v,)), jax.jvp(phi.plain, (x,), (v,))

    for leaf in jax.tree.leaves(derivatives(phi, flat)):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("gradient", [(1, 1), (1, -1), (-2, 2), (3, 0), (0, 3), (-3, 0), (0, -3)])
def test_the_derivative_of_an_angle_where_its_parts_have_none(gradient):
    """On diagonals and axes: of a plane with such a gradient, HOGb's slope is that of the gradient written out."""
    phi = get("hogb", cell=4)
    y, x = np.indices((12, 12))
    plane = (gradient[0] * x + gradient[1] * y).astype(np.float32)[..., None]
    weights = np.random.default_rng(0).normal(size=jax.eval_shape(phi, plane).shape).astype(np.float32)
    slope = quickly(lambda phi, plane: jax.grad(functional(phi, weights))(plane))
    close(slope(phi.plain, plane), slope(phi, plane), 1e-5)


def test_a_network_in_bfloat16():
    phi, expected = (network("pool", precision=precision) for precision in ("bfloat16", "float32"))
    _, x, v, _ = made("pool")
    tangents = [quickly(lambda phi, x: jax.jvp(phi.plain, (x,), (v,))[1])(way, x) for way in (phi, expected)]
    assert tangents[0].dtype == jnp.float32
    assert np.linalg.norm(tangents[0] - tangents[1]) < 0.4 * np.linalg.norm(tangents[1])


# --- both in one process -----------------------------------------------------------------------------------------


def forward_forbidden(phi, x, v):
    """Whether forward mode fails, as it does for derivatives that are written out."""
    try:
        jax.jit(lambda x: jax.jvp(phi, (x,), (v,))).lower(x)
    except TypeError as error:
        assert "custom_vjp" in str(error)
        return True
    return False


@pytest.mark.parametrize("case", ["hogb", "strided"])
@pytest.mark.parametrize("around", [lambda f: f, jax.jit, lambda f: lambda x: jax.vmap(f)(x[None])[0]])
def test_neither_way_is_taken_for_the_other(case, around):
    phi, x, v, _ = made(case)
    ways = [around(phi.plain), around(phi), around(phi.plain), around(phi)]
    assert [forward_forbidden(way, x, v) for way in ways] == [False, True, False, True]


@pytest.mark.skipif(not hasattr(jax, "make_user_context"), reason="before JAX 0.7.2 such a jit keeps the first way")
@pytest.mark.parametrize("first", ["plain", "by hand"])
def test_a_jit_inside_of_it_keeps_them_apart(first):
    phi, x, v, _ = made("hogb")
    inner = jax.jit(lambda params, image: phi.apply(params, image))
    outer = from_function(inner, {}, phi.input)
    ways = [outer.plain, outer] if first == "plain" else [outer, outer.plain]
    for way in 2 * ways:
        assert forward_forbidden(way, x, v) == (way is outer)
        jax.eval_shape(jax.grad(lambda x, way=way: way(x).sum()), x)


def test_it_compares_by_value():
    one, other = get("hogb").plain, get("hogb").plain
    assert one.apply == other.apply and hash(one.apply) == hash(other.apply) and one.apply != get("hogb").apply
    assert one.plain is one and (one.name, one.input) == ("hogb", get("hogb").input)
    program = jax.jit(lambda phi, x: phi(x))
    for phi in (one, other):
        program(phi, made("hogb")[1])
    assert program._cache_size() == 1


def test_what_is_inside_is_softened_and_prepared():
    soft = get("hog").plain.softened(2.0)
    assert isinstance(soft.apply, Plain) and soft.apply.apply == get("hog").softened(2.0).apply
    assert get("hogb").plain.softened(2.0) is None
    phi = network("pool")
    assert phi.plain.apply.work() == phi.apply.work() > (0, 0) == get("hog").plain.apply.work()
    assert devices.nbytes(phi.plain.prepared()) == devices.nbytes(phi.prepared()) > devices.nbytes(phi)


def test_a_function_with_another_way_to_its_value():
    """What is written out is seen outside of `plain` only."""

    @written_out(lambda x: (x + 1, None), lambda _, g: (2 * g,), primal=lambda x: x + 1)
    def function(x):
        return x**2

    phi = from_function(lambda params, x: function(x), {}, InputSpec(1, (0.0,), size=2))
    x = jnp.full((2, 2, 1), 3.0)
    assert (phi(x) == 4).all() and (phi.plain(x) == 9).all()
    assert (jax.grad(lambda x: phi(x).sum())(x) == 2).all() and (jax.grad(lambda x: phi.plain(x).sum())(x) == 6).all()
