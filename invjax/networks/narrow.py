"""Correlations from many channels to few, the rows of the window side by side.

On a CPU, Eigen multiplies for 48 output channels at a time; with fewer the rest of the vectors is idle. So a kernel
[h, w, I, O] becomes one of a single row, [1, w, I, h O], whose h results are shifted and added: as many
multiplications, by full vectors. Input gradients of first layers are such, [111, 111, 96] → [114, 114, 12] for
SqueezeNet, and take half the time so (docs/performance.md).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from invjax.types import Array

MOST_OUTPUTS = 48  # measured: with 64, Winograd's way is as fast


def worthwhile(shape: tuple[int, ...]) -> bool:
    """Whether a kernel [h, w, I, O] leads from many channels to few, and has rows."""
    height, _, inputs, outputs = shape
    return height > 1 and outputs <= MOST_OUTPUTS and 2 * outputs <= inputs


def stack(kernel: Array) -> Array:
    """The kernel with its rows among the outputs: [h, w, I, O] → [w, I, h, O]."""
    return kernel.transpose(1, 2, 0, 3)


def correlate(x: Array, stacked: Array, pad: int, precision: lax.Precision = lax.Precision.HIGHEST) -> Array:
    """The correlation with a kernel.

    Args:
        x: float32 [N, H, W, I].
        stacked: the kernel, of `stack`.
        pad: zeros on each side; negative where the picture is cut instead.
        precision: of the products.

    Returns:
        float32 [N, H + 2 pad − h + 1, W + 2 pad − w + 1, O].
    """
    width, inputs, height, outputs = stacked.shape
    layout = ("NHWC", "HWIO", "NHWC")
    kernel = stacked.reshape(1, width, inputs, height * outputs)
    padding = ((0, 0), (pad, pad))
    rows = lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout, precision=precision)
    rows = rows.reshape(*rows.shape[:3], height, outputs)
    zero = jnp.zeros((), rows.dtype)
    # row i of the window has seen what lies i − pad below
    shifted = [
        lax.pad(rows[..., i, :], zero, ((0, 0, 0), (pad - i, pad + i - height + 1, 0), (0, 0, 0), (0, 0, 0)))
        for i in range(height)
    ]
    return sum(shifted[1:], start=shifted[0])
