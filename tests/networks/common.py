"""What networks are made of, by definition in NumPy, on batches [N, H, W, C]."""

import math

import numpy as np

QUICKLY = {"xla_backend_optimization_level": 0}  # for what is compiled to be used once
CLOSE = 5e-6  # of the greatest value: what float32 leaves of sums of thousands of products


def seeded(*shape, seed=0, scale=1.0):
    """Noise, float32."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def relative(actual, expected):
    """The greatest difference over the greatest value."""
    assert np.shape(actual) == expected.shape
    return np.abs(np.asarray(actual, np.float64) - expected).max() / np.abs(expected).max()


def convolved(x, kernel, stride=1, pad=0, groups=1):
    """Cross-correlation with a kernel [h, w, I / groups, O]."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))[:, ::stride, ::stride]
    parts = zip(np.split(windows, groups, 3), np.split(kernel, groups, 3), strict=True)
    return np.concatenate([np.tensordot(seen, own, ((4, 5, 3), (0, 1, 2))) for seen, own in parts], -1)


def convolved_gradients(x, kernel, g, stride=1, pad=0, groups=1):
    """Derivatives of Σ g · convolved(x, kernel) by x and by the kernel."""
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    by_x, by_kernel = np.zeros_like(padded), np.zeros_like(kernel)
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    for a, b, group in np.ndindex(*kernel.shape[:2], groups):
        ends = a + (g.shape[1] - 1) * stride + 1, b + (g.shape[2] - 1) * stride + 1
        rows, columns = slice(a, ends[0], stride), slice(b, ends[1], stride)
        seen, own = slice(group * inputs, (group + 1) * inputs), slice(group * outputs, (group + 1) * outputs)
        by_x[:, rows, columns, seen] += g[..., own] @ kernel[a, b][:, own].T
        by_kernel[a, b][:, own] = np.tensordot(padded[:, rows, columns, seen], g[..., own], ((0, 1, 2), (0, 1, 2)))
    return by_x[:, pad : pad + x.shape[1], pad : pad + x.shape[2]], by_kernel


def max_pooled(x, window, stride):
    """Caffe's max pooling: the number of positions is rounded up, the last window may hang over the edge."""
    rows, columns = (math.ceil((side - window) / stride) + 1 for side in x.shape[1:3])
    pooled = np.empty((len(x), rows, columns, x.shape[3]), x.dtype)
    for i, j in np.ndindex(rows, columns):
        top, left = i * stride, j * stride
        pooled[:, i, j] = x[:, top : top + window, left : left + window].max((1, 2))
    return pooled


def max_pooled_gradient(x, g, window, stride):
    """The derivative of Σ g · max_pooled(x); of equal values the first in reading order is the maximum."""
    gradient = np.zeros_like(x)
    for n, i, j, c in np.ndindex(*g.shape):
        top, left = i * stride, j * stride
        seen = x[n, top : top + window, left : left + window, c]
        row, column = np.unravel_index(seen.argmax(), seen.shape)
        gradient[n, top + row, left + column, c] += g[n, i, j, c]
    return gradient


def normalised(x, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """Local response normalisation across channels, α divided by their number."""
    first = [max(0, channel - size // 2) for channel in range(x.shape[-1])]
    last = [channel + size // 2 + 1 for channel in range(x.shape[-1])]
    sums = np.stack([np.sum(x[..., a:b] ** 2, -1) for a, b in zip(first, last, strict=True)], -1)
    return x * (k + alpha / size * sums) ** -beta
