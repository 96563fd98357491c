"""What networks are made of, as functions of a batch of features [N, H, W, C] with input gradients that are fast.

XLA's own gradients of strided and grouped convolutions, of max pooling and of local response normalisation are several
times slower on a CPU than the forward pass; inversion needs the gradient with respect to the input at every step, so
they are written out here (docs/performance.md). Gradients with respect to weights are XLA's.

Features may be float32 or bfloat16, as the kernels they meet; `precision` is that of products of float32. It is an
argument of every product, since gradients are traced later, outside any `jax.default_matmul_precision`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from invjax.networks import narrow, winograd
from invjax.types import Array

LAYOUT = ("NHWC", "HWIO", "NHWC")
EXACT = lax.Precision.HIGHEST


class Kernel(NamedTuple):
    """A kernel of stride 1, [h, w, i, o], and where it may pay, the same for `narrow` or `winograd.correlate`."""

    plain: Array
    stacked: Array | None
    transformed: Array | None


class Prepared(NamedTuple):
    """A kernel, and the one turned for the gradient."""

    kernel: Any
    turned: Any


def prepare(kernel: Array, stride: int = 1, groups: int = 1) -> tuple[Prepared, ...]:
    """What `conv` computes with: done once, it costs nothing in a step.

    Args:
        kernel: [h, w, I / groups, O].
        stride, groups: of the convolution.

    Returns:
        For each group the Kernel [h, w, i, o], and the turned one [h, w, o, i], whose correlation with the output's
        gradient is the input's. For stride s both are those of `block_kernel`.
    """
    parts = [block_kernel(part, stride) if stride > 1 else part for part in jnp.split(kernel, groups, -1)]
    return tuple(Prepared(_kernel(part), _kernel(jnp.flip(part, (0, 1)).swapaxes(2, 3))) for part in parts)


def _kernel(plain: Array) -> Kernel:
    if jax.default_backend() != "cpu" or plain.dtype != jnp.float32:  # bfloat16 would not survive the sums
        return Kernel(plain, None, None)
    if narrow.worthwhile(plain.shape):
        return Kernel(plain, narrow.stack(plain), None)
    return Kernel(plain, None, winograd.transform(plain) if winograd.worthwhile(plain.shape) else None)


def conv(
    x: Array,
    prepared: tuple[Prepared, ...],
    window: int,
    stride: int = 1,
    pad: int = 0,
    precision: lax.Precision = EXACT,
) -> Array:
    """Cross-correlation with zeros around the picture, as every deep-learning library calls a convolution.

    Args:
        x: [N, H, W, I].
        prepared: of `prepare(kernel, stride, groups)`; input and output channels are cut in as many parts, each sees
            only its own.
        window: side of the kernel.
        stride: between two positions, both ways.
        pad: zeros on each side.
        precision: of the products, also of the gradient's.

    Returns:
        [N, (H + 2 pad − window) // stride + 1, …, O].
    """
    inputs = jnp.split(x, len(prepared), -1)
    if stride > 1:
        inputs, pad = [blocks(part, window, stride, pad) for part in inputs], 0
    turned_pad = -(-window // stride) - 1 - pad
    outputs = [
        _correlate(part, *kernels, pad, turned_pad, precision) for part, kernels in zip(inputs, prepared, strict=True)
    ]
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, -1)


def blocks(x: Array, window: int, stride: int, pad: int) -> Array:
    """Space to depth: blocks of stride × stride pixels become one position of s² as many channels.

    A convolution of stride s is one of stride 1 over these blocks, whose gradient needs no dilation. What the windows
    do not reach at the right and bottom is cut off, what they lack (up to a multiple of the stride) is zero.
    """
    out = [(side + 2 * pad - window) // stride + 1 for side in x.shape[1:3]]
    reach = [(count - 1 + -(-window // stride)) * stride for count in out]
    x = x[:, : reach[0] - pad, : reach[1] - pad]
    after = [need - pad - side for need, side in zip(reach, x.shape[1:3], strict=True)]
    x = jnp.pad(x, ((0, 0), (pad, after[0]), (pad, after[1]), (0, 0)))
    n, h, w, c = x.shape
    x = x.reshape(n, h // stride, stride, w // stride, stride, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // stride, w // stride, stride * stride * c)


def block_kernel(kernel: Array, stride: int) -> Array:
    """The kernel of the same convolution over `blocks`: [⌈h/s⌉, ⌈w/s⌉, s² I, O]."""
    h, w, i, o = kernel.shape
    kernel = jnp.pad(kernel, ((0, -h % stride), (0, -w % stride), (0, 0), (0, 0)))
    h, w = kernel.shape[0] // stride, kernel.shape[1] // stride
    return kernel.reshape(h, stride, w, stride, i, o).transpose(0, 2, 1, 3, 4, 5).reshape(h, w, -1, o)


def _plain(x: Array, kernel: Kernel, pad: int, precision: lax.Precision) -> Array:
    if kernel.stacked is not None:
        return narrow.correlate(x, kernel.stacked, pad, precision)
    if kernel.transformed is not None and pad >= 0 and math.prod(x.shape[1:3]) <= winograd.MOST_POSITIONS:
        return winograd.correlate(x, kernel.transformed, pad, precision)
    pads = ((pad, pad), (pad, pad))
    return lax.conv_general_dilated(x, kernel.plain, (1, 1), pads, dimension_numbers=LAYOUT, precision=precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _correlate(x: Array, kernel: Kernel, turned: Kernel, pad: int, turned_pad: int, precision: lax.Precision) -> Array:
    return _plain(x, kernel, pad, precision)


def _correlate_forward(
    x: Any, kernel: Any, turned: Any, pad: int, turned_pad: int, precision: lax.Precision
) -> tuple[Array, Any]:
    return _plain(x.value, _values(kernel), pad, precision), _kept(x, kernel, turned)


def _correlate_backward(
    pad: int, turned_pad: int, precision: lax.Precision, saved: Any, g: Array
) -> tuple[Array, Any, None]:
    turned, for_kernel = saved
    product = functools.partial(_plain, pad=pad, precision=precision)
    return _plain(g, turned, turned_pad, precision), _to_kernel(product, for_kernel, g), None


_correlate.defvjp(_correlate_forward, _correlate_backward, symbolic_zeros=True)


def _values(argument: Any) -> Any:
    """The arrays of an argument of a forward pass, which comes with marks of what is differentiated."""
    return jax.tree.map(lambda leaf: leaf.value, argument, is_leaf=lambda leaf: hasattr(leaf, "perturbed"))


def _kept(x: Any, kernel: Any, turned: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a backward pass needs: the input only where somebody differentiates the kernel, which inversion does not."""
    marks = jax.tree.leaves(kernel, is_leaf=lambda leaf: hasattr(leaf, "perturbed"))
    return _values(turned), (x.value, _values(kernel)) if any(mark.perturbed for mark in marks) else ()


def _to_kernel(product: Callable[[Array, Any], Array], for_kernel: tuple[Any, ...], g: Array) -> Any:
    """The gradient of a kernel, None where nobody asks for it."""
    if not for_kernel:
        return None
    x, kernel = for_kernel
    return jax.vjp(functools.partial(product, x), kernel)[1](g)[0]


def prepare_dense(kernel: Array) -> Prepared:
    """What `dense` computes with: done once, it costs nothing in a step.

    On a CPU, rows are multiplied with halves of the kernel, each stored so that products run along memory: for few rows
    XLA packs a plain matrix first, which takes several times as long as reading it.

    Args:
        kernel: [in, out].

    Returns:
        The kernel as [parts, out, in / parts], and the turned one as [parts, in, out / parts].
    """
    parts = 2 if jax.default_backend() == "cpu" and not any(side % 2 for side in kernel.shape) else 1
    return Prepared(*(matrix.reshape(len(matrix), parts, -1).swapaxes(0, 1) for matrix in (kernel.T, kernel)))


def dense(x: Array, prepared: Prepared, precision: lax.Precision = EXACT) -> Array:
    """A fully connected layer without bias: [N, …] flattened, times the kernel of `prepare_dense`."""
    return _product(x.reshape(len(x), -1), *prepared, precision)


def _rows(x: Array, kernel: Array, precision: lax.Precision) -> Array:
    parts, _, size = kernel.shape
    along = (((2,), (2,)), ((0,), (1,)))
    return lax.dot_general(kernel, x.reshape(-1, parts, size), along, precision=precision).sum(0).T


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _product(x: Array, kernel: Array, turned: Array, precision: lax.Precision) -> Array:
    return _rows(x, kernel, precision)


def _product_forward(x: Any, kernel: Any, turned: Any, precision: lax.Precision) -> tuple[Array, Any]:
    return _rows(x.value, kernel.value, precision), _kept(x, kernel, turned)


def _product_backward(precision: lax.Precision, saved: Any, g: Array) -> tuple[Array, Any, None]:
    turned, for_kernel = saved
    product = functools.partial(_rows, precision=precision)
    return product(g, turned), _to_kernel(product, for_kernel, g), None


_product.defvjp(_product_forward, _product_backward, symbolic_zeros=True)


def pooled(side: int, window: int, stride: int, pad: int = 0) -> int:
    """Positions of Caffe's pooling, which rounds up: the last window may hang over the edge."""
    count = -(-(side + 2 * pad - window) // stride) + 1
    return count - (pad > 0 and (count - 1) * stride >= side + pad)


def max_pool(x: Array, window: int, stride: int) -> Array:
    """The greatest value of each window, Caffe's positions; the gradient goes to the first maximum, row by row.

    Args:
        x: [N, H, W, C].
        window, stride: in positions.

    Returns:
        [N, pooled(H), pooled(W), C].
    """
    # along rows first, so that of equal maxima the first in reading order is taken, as Caffe does
    return _max_along(_max_along(x, 2, window, stride), 1, window, stride)


def _windows(x: Array, axis: int, window: int, stride: int) -> list[Array]:
    """The first, second … element of each window along an axis."""
    count = pooled(x.shape[axis], window, stride)
    missing = (count - 1) * stride + window - x.shape[axis]
    if missing > 0:
        x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), [(0, missing * (a == axis), 0) for a in range(x.ndim)])
    return [lax.slice_in_dim(x, k, k + (count - 1) * stride + 1, stride, axis) for k in range(window)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_along(x: Array, axis: int, window: int, stride: int) -> Array:
    return functools.reduce(jnp.maximum, _windows(x, axis, window, stride))


def _max_forward(x: Array, axis: int, window: int, stride: int) -> tuple[Array, tuple[Array, Array]]:
    y = _max_along(x, axis, window, stride)
    return y, (x, y)


def _max_backward(axis: int, window: int, stride: int, saved: tuple[Array, Array], g: Array) -> tuple[Array]:
    x, y = saved
    shares, free = [], jnp.ones(y.shape, bool)
    for part in _windows(x, axis, window, stride):
        first = free & (part == y)
        shares.append(jnp.where(first, g, 0))
        free &= ~first
    return (_overlap_add(shares, axis, stride, x.shape[axis]),)


_max_along.defvjp(_max_forward, _max_backward)


def _overlap_add(parts: list[Array], axis: int, stride: int, length: int) -> Array:
    """Adds the k-th part to positions k, k + stride, …: by phases that interleave, which fuses into one pass."""
    count = parts[0].shape[axis]
    longest = count + (len(parts) - 1) // stride
    phases: list[Array] = []
    for phase in range(stride):
        shifted = []
        for shift, part in enumerate(parts[phase::stride]):
            config = [(shift, longest - count - shift, 0) if a == axis else (0, 0, 0) for a in range(part.ndim)]
            shifted.append(lax.pad(part, jnp.zeros((), part.dtype), config))
        phases.append(functools.reduce(jnp.add, shifted) if shifted else jnp.zeros_like(phases[0]))
    whole = jnp.stack(phases, axis + 1)
    shape = (*whole.shape[:axis], longest * stride, *whole.shape[axis + 2 :])
    whole = whole.reshape(shape)
    missing = max(0, length - shape[axis])
    if missing:  # a stride that leaves the last positions out of every window
        whole = lax.pad(whole, jnp.zeros((), whole.dtype), [(0, missing * (a == axis), 0) for a in range(whole.ndim)])
    return lax.slice_in_dim(whole, 0, length, axis=axis)


def average_pool(x: Array) -> Array:
    """The mean over all positions, [N, 1, 1, C]."""
    return jnp.mean(x, (1, 2), keepdims=True)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def local_response(x: Array, size: int, alpha: float, k: float) -> Array:
    """Local response normalisation across channels: x · (k + α/n Σ x²)^−¾ over the n channels around each.

    Args:
        x: [..., C]; what is bfloat16 is normalised in float32, and rounded.
        size: n, odd.
        alpha, k: Caffe's; α is divided by n. Its β is ¾, as in every network that has such layers.

    Returns:
        [..., C].

    Source: Krizhevsky et al. 2012, section 3.3; Caffe's LRNLayer.
    """
    return _local_response_forward(x, size, alpha, k)[0]


def _local_response_forward(x: Array, size: int, alpha: float, k: float) -> tuple[Array, tuple[Array, Array]]:
    wide = x.astype(jnp.float32)
    scale = k + alpha / size * _neighbours(wide * wide, size)
    return (wide * _power(scale)).astype(x.dtype), (x, scale)


def _local_response_backward(size: int, alpha: float, k: float, saved: tuple[Array, Array], g: Array) -> tuple[Array]:
    (x, scale), dtype = saved, g.dtype
    x, g, power = x.astype(jnp.float32), g.astype(jnp.float32), _power(scale)
    spread = _neighbours(g * x * power / scale, size)
    return ((g * power - 1.5 * alpha / size * x * spread).astype(dtype),)


local_response.defvjp(_local_response_forward, _local_response_backward)


def _power(scale: Array) -> Array:
    """scale^−0.75, by square roots: a general power is many times slower."""
    root = lax.rsqrt(scale)
    return root * jnp.sqrt(root)


def _neighbours(x: Array, size: int) -> Array:
    """Sums over the channels less than size/2 apart from each."""
    channels = x.shape[-1]
    padded = jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((size // 2, size // 2),))
    return functools.reduce(jnp.add, [padded[..., first : first + channels] for first in range(size)])
