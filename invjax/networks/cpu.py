"""What only a CPU is better off with: kernels prepared for its products, other ways to multiply, what XLA is told.

All of it is here and nothing of it is used elsewhere; what other devices profit from as well, space to depth and the
gradients of pooling and normalisation, is in `ops`. How much each part brings is measured in docs/performance.md.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from invjax.derivatives import written_out
from invjax.types import Array

LAYOUT = ("NHWC", "HWIO", "NHWC")
NO_CONVOLUTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}
UNCUT = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}


def here() -> bool:
    """Whether it is a CPU that computes."""
    return jax.default_backend() == "cpu"


def compiler_options(side_by_side: bool = False) -> dict[str, Any] | None:
    """What XLA is told on a CPU, where its version knows such options.

    To leave products to YNNPACK, as it does, but not convolutions, which take up to three times as long there. And
    where other programs run beside this one, not to cut elementwise loops among threads, see `may_run_side_by_side`.
    """
    return ((_known(NO_CONVOLUTIONS) | (_known(UNCUT) if side_by_side else {})) if here() else {}) or None


def may_run_side_by_side() -> bool:
    """Whether several programs may run at once on a CPU.

    What is cut into parts leaves tasks in the queues of XLA's threads. Where every thread carries a program, queues
    overflow, and convolutions compute wrong numbers without a word (docs/performance.md, experiments/xla_cpu_race.py).
    Nothing is cut in programs that run side by side, which is faster there as well.
    """
    return bool(_known(UNCUT))


def _known(options: dict[str, str]) -> dict[str, str]:
    return options if _accepted(*options.items()) else {}


@functools.cache
def _accepted(*options: tuple[str, str]) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        logging.getLogger(__name__).info("this version of XLA takes no such option: %s", error)
        return False
    return True


# --- convolutions of stride 1: which way, forward and back ---------------------------------------------------------


class Kernel(NamedTuple):
    """A kernel [h, w, i, o], and where it may pay, the same for `_by_rows` or `_by_tiles`."""

    plain: Array
    stacked: Array | None = None
    transformed: Array | None = None


class Prepared(NamedTuple):
    """A kernel, and the one turned for the gradient, [h, w, o, i]: its correlation with the output's is the input's."""

    kernel: Kernel
    turned: Kernel


@jax.jit  # outside of any other, one program is compiled for all kernels of a shape
def prepare(kernel: Array) -> Prepared:
    """What `correlate` computes with, of a kernel [h, w, i, o]."""
    return Prepared(_kernel(kernel), _kernel(jnp.flip(kernel, (0, 1)), swapped=True))


def _kernel(kernel: Array, swapped: bool = False) -> Kernel:
    """The kernel, or that with its inputs and outputs swapped, in the shape that suits it."""

    def swap(array: Array) -> Array:
        return array.swapaxes(-2, -1) if swapped else array

    plain = swap(kernel)
    if plain.dtype != jnp.float32:  # bfloat16 would not survive the sums
        return Kernel(plain)
    if _rows_pay(plain.shape):
        return Kernel(plain, stacked=plain.transpose(1, 2, 0, 3))
    # swapped last, which reads along memory and takes a third of the time
    return Kernel(plain, transformed=swap(_transform(kernel)) if _tiles_pay(plain.shape) else None)


def _product(x: Array, kernel: Kernel, pad: int, precision: lax.Precision) -> Array:
    if kernel.stacked is not None:
        return _by_rows(x, kernel.stacked, pad, precision)
    if kernel.transformed is not None and pad >= 0 and math.prod(x.shape[1:3]) <= MOST_POSITIONS:
        return _by_tiles(x, kernel.transformed, pad, precision)
    pads = ((pad, pad), (pad, pad))
    return lax.conv_general_dilated(x, kernel.plain, (1, 1), pads, dimension_numbers=LAYOUT, precision=precision)


def _correlate_forward(x: Any, kernel: Any, turned: Any, pad: int, precision: lax.Precision) -> tuple[Array, Any]:
    return _product(x.value, _values(kernel), pad, precision), (_values(turned), _to_train(x, kernel))


def _correlate_backward(pad: int, precision: lax.Precision, saved: Any, g: Array) -> tuple[Array, Any, None]:
    turned, to_train = saved
    product = functools.partial(_product, pad=pad, precision=precision)
    turned_pad = len(turned.plain) - 1 - pad
    return _product(g, turned, turned_pad, precision), _kernel_gradient(product, to_train, g), None


@written_out(_correlate_forward, _correlate_backward, static=(3, 4), symbolic_zeros=True)
def correlate(x: Array, kernel: Kernel, turned: Kernel, pad: int, precision: lax.Precision) -> Array:
    """Cross-correlation of stride 1: [N, H, W, i] → [N, H + 2 pad − h + 1, W + 2 pad − w + 1, o]."""
    return _product(x, kernel, pad, precision)


def _values(argument: Any) -> Any:
    """The arrays of an argument of a forward pass, which comes with marks of what is differentiated."""
    return jax.tree.map(lambda leaf: leaf.value, argument, is_leaf=lambda leaf: hasattr(leaf, "perturbed"))


def _to_train(x: Any, kernel: Any) -> tuple[Any, ...]:
    """Input and kernel where somebody differentiates the kernel, which inversion does not."""
    marks = jax.tree.leaves(kernel, is_leaf=lambda leaf: hasattr(leaf, "perturbed"))
    return (x.value, _values(kernel)) if any(mark.perturbed for mark in marks) else ()


def _kernel_gradient(product: Callable[[Array, Any], Array], to_train: tuple[Any, ...], g: Array) -> Any:
    """The gradient of a kernel, None where nobody asks for it."""
    if not to_train:
        return None
    x, kernel = to_train
    return jax.vjp(functools.partial(product, x), kernel)[1](g)[0]


# --- convolutions from many channels to few, the rows of the window side by side -----------------------------------
# Eigen multiplies for 48 output channels at a time; with fewer the rest of the vectors is idle. So a kernel
# [h, w, I, O] becomes one of a single row, [1, w, I, h O], whose h results are shifted and added: as many
# multiplications, by full vectors. Input gradients of first layers are such.

MOST_OUTPUTS = 48  # measured: with 64, Winograd's way is as fast


def _rows_pay(shape: tuple[int, ...]) -> bool:
    """Whether a kernel [h, w, I, O] leads from many channels to few, and has rows."""
    height, _, inputs, outputs = shape
    return height > 1 and outputs <= MOST_OUTPUTS and 2 * outputs <= inputs


def _by_rows(x: Array, stacked: Array, pad: int, precision: lax.Precision) -> Array:
    """The correlation with a kernel [w, I, h, O]; the picture is cut where `pad` is negative."""
    width, inputs, height, outputs = stacked.shape
    kernel, pads = stacked.reshape(1, width, inputs, height * outputs), ((0, 0), (pad, pad))
    rows = lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=LAYOUT, precision=precision)
    rows = rows.reshape(*rows.shape[:3], height, outputs)
    zero = jnp.zeros((), rows.dtype)
    # row i of the window has seen what lies i − pad below
    shifted = [
        lax.pad(rows[..., i, :], zero, ((0, 0, 0), (pad - i, pad + i - height + 1, 0), (0, 0, 0), (0, 0, 0)))
        for i in range(height)
    ]
    return sum(shifted[1:], start=shifted[0])


# --- convolutions 3×3 by Winograd's minimal filtering --------------------------------------------------------------
# Tiles of 4×4 inputs, 2 apart, become 2×2 outputs with 16 multiplications instead of 36: y = Aᵀ[(G k Gᵀ) ⊙ (Bᵀ x B)]A,
# where ⊙ over all tiles and channels is 16 matrix products. Only additions are added, so float32 loses less than a
# digit. Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, F(2×2, 3×3).

# harmonic mean of the channels in and out, halved, from which on the products outweigh the additions (measured)
ENOUGH_CHANNELS = 32
MOST_POSITIONS = 64**2  # of the input, beyond which the tiles no longer fit into the cache


def _tiles_pay(shape: tuple[int, ...]) -> bool:
    """Whether a kernel [h, w, I, O] is 3×3 with channels enough."""
    *window, inputs, outputs = shape
    return window == [3, 3] and inputs * outputs >= ENOUGH_CHANNELS * (inputs + outputs)


def _transform(kernel: Array) -> Array:
    """G k Gᵀ: [3, 3, I, O] → [16, I, O]."""

    def along(axis: int, kernel: Array) -> Array:
        first, second, third = jnp.split(kernel, 3, axis)
        both = [(first + second + third) / 2, (first - second + third) / 2]
        return jnp.concatenate([first, *both, third], axis)

    return along(1, along(0, kernel)).reshape(16, *kernel.shape[2:])


def _by_tiles(x: Array, transformed: Array, pad: int, precision: lax.Precision) -> Array:
    """The correlation with a kernel of `_transform`."""
    n, height, width, channels = x.shape
    height, width = height + 2 * pad - 2, width + 2 * pad - 2
    down, across = -(-height // 2), -(-width // 2)  # tiles
    edges = [(pad, 2 * tiles + 2 - pad - side) for tiles, side in zip((down, across), x.shape[1:3], strict=True)]
    x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
    rows = _tile_inputs([x[:, i : i + 2 * down - 1 : 2] for i in range(4)])
    tiles = [tile for row in rows for tile in _tile_inputs([row[:, :, j : j + 2 * across - 1 : 2] for j in range(4)])]
    stacked = jnp.stack([tile.reshape(-1, channels) for tile in tiles])
    products = lax.dot_general(stacked, transformed, (((2,), (1,)), ((0,), (0,))), precision=precision)
    products = products.reshape(4, 4, n, down, across, -1)
    halves = zip(*(_tile_outputs(list(products[:, j])) for j in range(4)), strict=True)
    y = jnp.stack([jnp.stack(_tile_outputs(list(row)), 3) for row in halves], 2)
    return y.reshape(n, 2 * down, 2 * across, -1)[:, :height, :width]


def _tile_inputs(x: Sequence[Array]) -> list[Array]:
    """Bᵀ x."""
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]]


def _tile_outputs(x: Sequence[Array]) -> list[Array]:
    """Aᵀ x."""
    return [x[0] + x[1] + x[2], x[1] - x[2] - x[3]]


# --- fully connected layers ----------------------------------------------------------------------------------------
# For few rows XLA packs a plain matrix first, which takes several times as long as reading it. It does not where the
# product is a batch of several, of parts of the matrix as it lies in memory: nothing is prepared or kept twice.

FEW_ROWS = 4  # with more, a product of parts takes longer than packing
PART = 16  # inputs of a part; with 8 or 32, several rows take longer (measured)


def _by_parts(x: Array, kernel: Array, precision: lax.Precision) -> Array:
    """x · kernel: of few rows as a sum over parts of the inputs, of many as it is."""
    inputs, outputs = kernel.shape
    if len(x) > FEW_ROWS or inputs % PART:
        return jnp.matmul(x, kernel, precision=precision)
    parts, along = kernel.reshape(-1, PART, outputs), (((2,), (1,)), ((1,), (0,)))
    return lax.dot_general(x.reshape(len(x), -1, PART), parts, along, precision=precision).sum(0)


def _all_rows(x: Array, kernel: Array, precision: lax.Precision) -> Array:
    """The same, where what `vmap` adds counts as rows."""

    @jax.custom_batching.custom_vmap
    def product(x: Array, kernel: Array) -> Array:
        return _by_parts(x, kernel, precision)

    @product.def_vmap
    def _(size: int, batched: list[bool], x: Array, kernel: Array) -> tuple[Array, bool]:
        if batched[1]:
            several = jax.vmap(functools.partial(jnp.matmul, precision=precision), (0 if batched[0] else None, 0))
            return several(x, kernel), True
        return product(x.reshape(-1, len(kernel)), kernel).reshape(size, -1, kernel.shape[1]), True

    return product(x, kernel)


def _by_halves(g: Array, kernel: Array, precision: lax.Precision) -> Array:
    """g · kernelᵀ, for halves of the kernel's rows."""
    halves = kernel.reshape(2 - len(kernel) % 2, -1, kernel.shape[1])
    both = jnp.broadcast_to(g, (len(halves), *g.shape))
    product = lax.dot_general(halves, both, (((2,), (2,)), ((0,), (0,))), precision=precision)
    return product.reshape(len(kernel), -1).T


def _multiply_forward(x: Any, kernel: Any, precision: lax.Precision) -> tuple[Array, Any]:
    return multiply(x.value, kernel.value, precision), (kernel.value, _to_train(x, kernel))


def _multiply_backward(precision: lax.Precision, saved: Any, g: Array) -> tuple[Array, Any]:
    kernel, to_train = saved
    product = functools.partial(jnp.matmul, precision=precision)
    return _by_halves(g, kernel, precision), _kernel_gradient(product, to_train, g)


@written_out(_multiply_forward, _multiply_backward, static=(2,), symbolic_zeros=True, primal=_all_rows)
def multiply(x: Array, kernel: Array, precision: lax.Precision) -> Array:
    """x · kernel, float32 [N, in] · [in, out]."""
    return _by_parts(x, kernel, precision)
