"""Operations and their written-out gradients against definitions in NumPy, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax.networks import cpu, ops

from .common import (
    CLOSE,
    QUICKLY,
    convolved,
    convolved_gradients,
    max_pooled,
    max_pooled_gradient,
    normalised,
    relative,
    seeded,
)

prepare = jax.jit(ops.prepare, static_argnums=(1, 2), compiler_options=QUICKLY)
ON_A_CPU = pytest.mark.skipif(not cpu.here(), reason="how kernels are prepared on a CPU")
# (height, width), channels in and out, window, stride, pad, groups
CONVOLUTIONS = [
    ((27, 30), (3, 5), 11, 4, 0, 1),  # conv1 of CaffeNet
    ((28, 25), (3, 4), 11, 4, 2, 1),  # of torchvision's AlexNet
    ((16, 13), (3, 4), 7, 2, 0, 1),  # of SqueezeNet
    ((12, 13), (4, 6), 3, 2, 1, 2),
    ((9, 10), (4, 6), 5, 2, 1, 1),  # conv2 of VGG-M
    ((8, 7), (4, 6), 5, 1, 2, 2),  # of CaffeNet
    ((6, 7), (6, 9), 3, 1, 1, 3),
    ((5, 3), (2, 3), 3, 1, 0, 1),
    ((6, 5), (4, 3), 1, 1, 0, 1),
    ((6, 5), (4, 3), 1, 1, 1, 1),  # conv_final of SqueezeNet: positions that see nothing
    ((11, 12), (2, 3), 2, 3, 0, 1),  # windows with gaps between them
    ((11, 9), (2, 3), 4, 3, 3, 1),
    ((11, 11), (1, 1), 11, 4, 0, 1),
]
NARROW = [  # to few channels, there or back
    ((7, 8), (9, 4), 3, 1, 1, 1),
    ((6, 9), (24, 2), 4, 1, 3, 1),
    ((9, 6), (5, 40), 4, 1, 0, 1),
    ((16, 13), (3, 30), 7, 2, 0, 1),  # conv1 of SqueezeNet
    ((8, 7), (8, 16), 3, 1, 1, 2),
]
WINOGRAD = [  # channels enough for other ways to multiply on a CPU
    ((8, 8), (64, 64), 3, 1, 1, 1),
    ((5, 9), (48, 96), 3, 1, 1, 1),
    ((3, 4), (64, 64), 3, 1, 0, 1),
    ((6, 5), (128, 128), 3, 1, 1, 2),
    ((7, 8), (64, 72), 5, 1, 2, 1),
]


def numbers(case, count):
    """Pictures, kernel and the output's gradient."""
    (height, width), (inputs, outputs), window, stride, pad, groups = case
    x, kernel = seeded(count, height, width, inputs), seeded(window, window, inputs // groups, outputs, seed=1)
    rows, columns = ((side + 2 * pad - window) // stride + 1 for side in (height, width))
    return x, kernel, seeded(count, rows, columns, outputs, seed=2)


def double(*arrays):
    return [array.astype(np.float64) for array in arrays]


def value_and_pulled_back(function, x, g):
    value, pull_back = jax.vjp(function, x)
    return value, pull_back(g)[0]


def one_by_one(function, x, g):
    """Value and input gradient of each picture alone, by vmap, as inversion needs them."""
    both = jax.vmap(lambda x, g: value_and_pulled_back(function, x[None], g[None]))
    value, gradient = jax.jit(both, compiler_options=QUICKLY)(x, g)
    return value[:, 0], gradient[:, 0]


# --- convolutions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CONVOLUTIONS + NARROW + WINOGRAD, ids=str)
def test_convolution_and_input_gradient(case):
    *_, window, stride, pad, groups = case
    x, kernel, g = numbers(case, 3)
    prepared = prepare(kernel, stride, groups)
    value, gradient = one_by_one(lambda x: ops.conv(x, prepared, window, stride, pad), x, g)
    assert relative(value, convolved(*double(x, kernel), stride, pad, groups)) < CLOSE
    assert relative(gradient, convolved_gradients(*double(x, kernel, g), stride, pad, groups)[0]) < CLOSE


@pytest.mark.parametrize("case", CONVOLUTIONS[::4] + NARROW[::2] + WINOGRAD[1::3], ids=str)
def test_kernel_gradient(case):
    *_, window, stride, pad, groups = case
    x, kernel, g = numbers(case, 2)

    def total(x, kernel):
        return (g * ops.conv(x, ops.prepare(kernel, stride, groups), window, stride, pad)).sum()

    gradients = jax.jit(jax.grad(total, (0, 1)), compiler_options=QUICKLY)(x, kernel)
    for actual, expected in zip(
        gradients, convolved_gradients(*double(x, kernel, g), stride, pad, groups), strict=True
    ):
        assert relative(actual, expected) < CLOSE


def test_kernel_gradient_of_each_picture():
    x, kernel, g = numbers(((8, 7), (4, 6), 5, 1, 2, 2), 3)

    def total(kernel, x, g):
        return (g * ops.conv(x[None], ops.prepare(kernel, 1, 2), 5, 1, 2)[0]).sum()

    gradients = jax.jit(jax.vmap(jax.grad(total), (None, 0, 0)))(kernel, x, g)
    for actual, own, weights in zip(gradients, x, g, strict=True):
        expected = convolved_gradients(*double(own[None], kernel, weights[None]), 1, 2, 2)[1]
        assert relative(actual, expected) < CLOSE


def test_a_convolution_that_nobody_trains_keeps_nothing_of_its_input():
    x, kernel, _ = numbers(((6, 7), (6, 9), 3, 1, 1, 3), 2)
    prepared = ops.prepare(kernel, 1, 3)
    _, pull_back = jax.vjp(lambda x: ops.conv(x, prepared, 3, 1, 1), x)
    assert not any(leaf.shape[:3] == x.shape[:3] for leaf in jax.tree.leaves(pull_back))


@ON_A_CPU
@pytest.mark.parametrize(
    ("channels", "window", "side", "forward", "backward"),
    [
        ((64, 64), 3, 64, True, True),
        ((64, 64), 3, 66, False, True),
        ((64, 64), 3, 67, False, False),
        ((63, 64), 3, 20, False, False),
        ((64, 64), 7, 20, False, False),
    ],
)
def test_winograd_where_it_pays(channels, window, side, forward, backward):
    x, kernel, g = numbers(((side, side), channels, window, 1, 0, 1), 1)
    prepared = prepare(kernel)

    def library_calls(function, *arguments):
        return str(jax.make_jaxpr(function)(*arguments)).count("conv_general_dilated[")

    def convolution(x):
        return ops.conv(x, prepared, window)

    assert library_calls(convolution, x) == (not forward)
    both = library_calls(lambda x, g: value_and_pulled_back(convolution, x, g), x, g)
    assert both == (not forward) + (not backward)


@ON_A_CPU
@pytest.mark.parametrize(
    ("channels", "window", "narrow"),
    [((96, 48), 3, True), ((96, 49), 3, False), ((95, 48), 3, False), ((96, 48), 1, False)],
)
def test_rows_side_by_side_where_channels_are_few(channels, window, narrow):
    x, kernel, _ = numbers(((9, 8), channels, window, 1, 0, 1), 1)
    [prepared] = prepare(kernel)
    assert isinstance(prepared, cpu.Prepared)
    assert (prepared.kernel.stacked is not None) == narrow and prepared.turned.stacked is None
    assert prepared.kernel.stacked is None or prepared.kernel.transformed is None
    program = str(jax.make_jaxpr(lambda x: ops.conv(x, (prepared,), window))(x))
    assert (f"[1,{window},{channels[0]},{window * channels[1]}]" in program) == (narrow or window == 1)


# --- pooling -----------------------------------------------------------------------------------------------------

POOLS = [  # (height, width), window, stride
    ((7, 9), 3, 2),
    ((6, 8), 3, 2),  # the last windows hang over the edge
    ((2, 5), 3, 2),  # all windows in a column do
    ((8, 7), 2, 2),
    ((9, 8), 3, 3),
    ((5, 6), 2, 1),
    ((10, 7), 4, 3),
    ((8, 5), 2, 3),  # windows with gaps between them
    ((4, 4), 4, 1),
]


@pytest.mark.parametrize("case", POOLS, ids=str)
def test_max_pooling(case):
    shape, window, stride = case
    x = seeded(3, *shape, 4)
    x = np.concatenate([x, np.round(x)])  # with many equal values
    expected = max_pooled(x, window, stride)
    g = seeded(*expected.shape, seed=1)
    value, gradient = one_by_one(lambda x: ops.max_pool(x, window, stride), x, g)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_allclose(gradient, max_pooled_gradient(x, g, window, stride), rtol=0, atol=1e-5)


def test_of_equal_maxima_the_first_in_reading_order_has_the_gradient():
    x = np.float32([[1, 2, 3], [3, 0, 3], [3, 3, 3]])[None, :, :, None]
    gradient = jax.jit(jax.grad(lambda x: ops.max_pool(x, 3, 2).sum()))(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_average():
    x = seeded(2, 3, 5, 4)
    np.testing.assert_allclose(ops.average_pool(x), x.astype(np.float64).mean((1, 2), keepdims=True), atol=1e-6)


# --- local response normalisation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "scale", "size", "alpha", "k"),
    [(20, 60, 5, 1e-4, 1.0), (7, 60, 5, 5e-4, 2.0), (7, 1, 3, 0.5, 2.0), (3, 60, 5, 1e-4, 1.0)],
)
def test_local_response(channels, scale, size, alpha, k):
    x, g = seeded(2, 2, 3, channels, scale=scale), seeded(2, 2, 3, channels, seed=1)
    value, gradient = one_by_one(lambda x: ops.local_response(x, size, alpha, k), x, g)

    def by_definition(x):
        return normalised(x, size, alpha, k=k)

    x, g = double(x, g)
    assert relative(value, by_definition(x)) < CLOSE
    slopes, step = np.empty_like(x), 1e-4 * scale
    for index in np.ndindex(*x.shape):
        there = np.zeros_like(x)
        there[index] = step
        slopes[index] = np.sum(g * (by_definition(x + there) - by_definition(x - there))) / (2 * step)
    assert relative(gradient, slopes) < CLOSE


# --- fully connected ---------------------------------------------------------------------------------------------


DENSE = [  # shape of a row's feature, and outputs
    ((2, 3, 4), 6),
    ((24,), 7),
    ((3, 1, 5), 6),  # an odd number of inputs
    ((4, 4, 8), 6),  # enough for parts of 16
    ((3, 3, 17), 5),
]


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9])
@pytest.mark.parametrize(("shape", "outputs"), DENSE)
def test_fully_connected(shape, outputs, rows):
    """Rows are flattened as [H, W, C]; few and many, sides that are even and odd, are multiplied in different ways."""
    x, kernel = seeded(rows, *shape), seeded(int(np.prod(shape)), outputs, seed=1)
    g = seeded(rows, outputs, seed=2)
    vectors, matrix, weights = double(x.reshape(rows, -1), kernel, g)
    together = jax.jit(lambda x, g: value_and_pulled_back(lambda x: ops.dense(x, kernel), x, g))(x, g)
    for value, gradient in (one_by_one(lambda x: ops.dense(x, kernel), x, g), together):
        assert relative(value, vectors @ matrix) < CLOSE
        assert relative(gradient, (weights @ matrix.T).reshape(x.shape)) < CLOSE


@pytest.mark.parametrize("rows", [4, 5])
@pytest.mark.parametrize("inputs, outputs", [(10, 6), (10, 7), (32, 6)])
def test_kernel_gradient_of_fully_connected(inputs, outputs, rows):
    x, kernel, g = seeded(rows, inputs), seeded(inputs, outputs, seed=1), seeded(rows, outputs, seed=2)
    by_x, by_kernel = jax.jit(jax.grad(lambda x, kernel: (g * ops.dense(x, kernel)).sum(), (0, 1)))(x, kernel)
    vectors, matrix, weights = double(x, kernel, g)
    assert relative(by_x, weights @ matrix.T) < CLOSE
    assert relative(by_kernel, vectors.T @ weights) < CLOSE


def test_several_kernels_of_fully_connected():
    """Each with rows of its own, and all with the same."""
    x, kernels = seeded(3, 2, 32), seeded(3, 32, 6, seed=1)
    own, same = jax.vmap(ops.dense)(x, kernels), jax.vmap(ops.dense, (None, 0))(x[0], kernels)
    assert relative(own, np.einsum("kni,kio->kno", *double(x, kernels))) < CLOSE
    assert relative(same, np.einsum("ni,kio->kno", *double(x[0], kernels))) < CLOSE


@pytest.mark.parametrize("inputs", [10, 32])
def test_second_derivatives_of_fully_connected(inputs):
    """Reverse over reverse, of Σ (x · kernel)³."""
    x, kernel, v = seeded(2, inputs), seeded(inputs, 6, seed=1), seeded(2, inputs, seed=2)
    slope = jax.grad(lambda x: (ops.dense(x, kernel) ** 3).sum())
    product = jax.jit(jax.grad(lambda x: (v * slope(x)).sum()))(x)
    x, kernel, v = double(x, kernel, v)
    assert relative(product, (6 * (x @ kernel) * (v @ kernel)) @ kernel.T) < CLOSE


@ON_A_CPU
def test_a_fully_connected_layer_has_its_weights_once():
    """What is computed with is the kernel as it lies in memory: nothing of its size is made of it."""
    kernel = jax.ShapeDtypeStruct((512, 256), jnp.float32)
    row = jax.ShapeDtypeStruct((2, 512), jnp.float32)
    both = jax.jit(lambda x, kernel: jax.value_and_grad(lambda x: (ops.dense(x, kernel) ** 2).sum())(x))
    assert both.lower(row, kernel).compile().memory_analysis().temp_size_in_bytes < 512 * 256 * 4


# --- elsewhere than on a CPU -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CONVOLUTIONS[::3] + NARROW[::2] + WINOGRAD[1::3], ids=str)
def test_convolution_and_input_gradient_of_other_devices(monkeypatch, case):
    monkeypatch.setattr(cpu, "here", lambda: False)
    *_, window, stride, pad, groups = case
    x, kernel, g = numbers(case, 3)
    prepared = ops.prepare(kernel, stride, groups)
    assert all(isinstance(part, jax.Array) for part in prepared)
    value, gradient = one_by_one(lambda x: ops.conv(x, prepared, window, stride, pad), x, g)
    assert relative(value, convolved(*double(x, kernel), stride, pad, groups)) < CLOSE
    assert relative(gradient, convolved_gradients(*double(x, kernel, g), stride, pad, groups)[0]) < CLOSE


def test_fully_connected_of_other_devices(monkeypatch):
    monkeypatch.setattr(cpu, "here", lambda: False)
    x, kernel, g = seeded(3, 32), seeded(32, 6, seed=1), seeded(3, 6, seed=2)
    value, gradient = one_by_one(lambda x: ops.dense(x, kernel), x, g)
    rows, matrix, weights = double(x, kernel, g)
    assert relative(value, rows @ matrix) < CLOSE and relative(gradient, weights @ matrix.T) < CLOSE
