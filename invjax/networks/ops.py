"""What networks are made of, as functions of a batch of features [N, H, W, C] with input gradients that are fast.

XLA's own gradients of strided convolutions, of max pooling and of local response normalisation are several times slower
than the forward pass, on any device; inversion needs the gradient with respect to the input at every step, so strided
convolutions are those of stride 1 over blocks, and the others are written out here (docs/performance.md). What only a
CPU is better off with is in `cpu`. Gradients with respect to weights are XLA's.

Features may be float32 or bfloat16, as the kernels they meet; `precision` is that of products of float32. It is an
argument of every product, since gradients are traced later, outside any `jax.default_matmul_precision`.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax

from invjax.derivatives import written_out
from invjax.networks import cpu
from invjax.networks.cpu import LAYOUT
from invjax.types import Array

EXACT = lax.Precision.HIGHEST


def prepare(kernel: Array, stride: int = 1, groups: int = 1) -> tuple[Any, ...]:
    """What `conv` computes with: done once for many steps, it costs next to nothing.

    Args:
        kernel: [h, w, I / groups, O].
        stride, groups: of the convolution.

    Returns:
        For each group the kernel of stride 1, for stride s that of `block_kernel`; on a CPU that of `cpu.prepare`.
    """
    parts = [block_kernel(part, stride) if stride > 1 else part for part in jnp.split(kernel, groups, -1)]
    return tuple(map(cpu.prepare, parts) if cpu.here() else parts)


def conv(
    x: Array,
    prepared: tuple[Any, ...],
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
    outputs = [_correlate(part, kernel, pad, precision) for part, kernel in zip(inputs, prepared, strict=True)]
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, -1)


def _correlate(x: Array, kernel: Any, pad: int, precision: lax.Precision) -> Array:
    if isinstance(kernel, cpu.Prepared):
        return cpu.correlate(x, *kernel, pad, precision)
    pads = ((pad, pad), (pad, pad))
    return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=LAYOUT, precision=precision)


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


def dense(x: Array, kernel: Array, precision: lax.Precision = EXACT) -> Array:
    """A fully connected layer without bias: [N, …] flattened, times a kernel [in, out]."""
    rows = x.reshape(len(x), -1)
    if cpu.here() and x.dtype == jnp.float32:
        return cpu.multiply(rows, kernel, precision)
    return jnp.matmul(rows, kernel, precision=precision)


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


@written_out(_max_forward, _max_backward, static=(1, 2, 3))
def _max_along(x: Array, axis: int, window: int, stride: int) -> Array:
    return functools.reduce(jnp.maximum, _windows(x, axis, window, stride))


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


def _local_response_forward(x: Array, size: int, alpha: float, k: float) -> tuple[Array, tuple[Array, Array]]:
    wide = x.astype(jnp.float32)
    scale = k + alpha / size * _neighbours(wide * wide, size)
    return (wide * _power(scale)).astype(x.dtype), (x, scale)


def _local_response_backward(size: int, alpha: float, k: float, saved: tuple[Array, Array], g: Array) -> tuple[Array]:
    (x, scale), dtype = saved, g.dtype
    x, g, power = x.astype(jnp.float32), g.astype(jnp.float32), _power(scale)
    spread = _neighbours(g * x * power / scale, size)
    return ((g * power - 1.5 * alpha / size * x * spread).astype(dtype),)


@written_out(_local_response_forward, _local_response_backward, static=(1, 2, 3))
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


def _power(scale: Array) -> Array:
    """scale^−0.75, by square roots: a general power is many times slower."""
    root = lax.rsqrt(scale)
    return root * jnp.sqrt(root)


def _neighbours(x: Array, size: int) -> Array:
    """Sums over the channels less than size/2 apart from each."""
    channels = x.shape[-1]
    padded = jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((size // 2, size // 2),))
    return functools.reduce(jnp.add, [padded[..., first : first + channels] for first in range(size)])
