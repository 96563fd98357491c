"""What HOG and DSIFT share: gradients, votes for orientations, pooling into cells.

Everything here is the convolutional formulation of Mahendran & Vedaldi (CVPR 2015, section 4), reorganised so that
nothing is convolved: gradients are differences of slices, votes come from one angle, pooling is two products with
banded matrices.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from invjax.errors import UserError
from invjax.types import Array


def check_options(cell: int, orientations: int) -> None:
    """Raises UserError unless both are whole numbers of at least 2."""
    for name, value in (("cell", cell), ("orientations", orientations)):
        if not isinstance(value, int) or value < 2:
            raise UserError(f"{name} must be a whole number of at least 2, got {value!r}")


def gradients(plane: Array, border: str) -> tuple[Array, Array]:
    """Central differences of a grey plane, half the difference of the two neighbours.

    Args:
        plane: float32 [H, W], grey levels.
        border: what happens at the picture's edge. "zero": pixels outside are 0, result [H, W] (the paper's HOG).
            "none": edge pixels have no gradient, result [H, W] (vl_hog). "crop": edge pixels are left out, result
            [H-2, W-2] (the paper's DSIFT).

    Returns:
        (horizontal, vertical) derivative, x to the right and y down.
    """
    if border == "zero":
        padded = jnp.pad(plane, 1)
        return (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    gx = (plane[1:-1, 2:] - plane[1:-1, :-2]) / 2
    gy = (plane[2:, 1:-1] - plane[:-2, 1:-1]) / 2
    return (gx, gy) if border == "crop" else (jnp.pad(gx, 1), jnp.pad(gy, 1))


def magnitude(gx: Array, gy: Array) -> Array:
    """Gradient length √(gx² + gy²), with derivative 0 (and not NaN) where it vanishes."""
    flat = _flat(gx, gy)
    return jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, gx**2 + gy**2)))


def _flat(gx: Array, gy: Array) -> Array:
    """Where there is no gradient, or one so small (1e-15 grey levels) that float32 cannot square it."""
    return gx**2 + gy**2 <= 1e-30


def hard_votes(gx: Array, gy: Array, bins: int) -> Array:
    """Each pixel votes with its magnitude for the direction closest to its gradient.

    The assignment is the argmax over float32 tables of projections, the first maximum wins, and has no gradient of
    its own, like vl_hog and the authors' `hog_net`.

    Args:
        gx, gy: float32 [H, W].
        bins: number of directions over the full circle; bin k is the angle 2πk/bins from +x towards +y (down).

    Returns:
        float32 [bins, H, W].
    """
    angles = 2 * np.pi * np.arange(bins) / bins
    fixed_x, fixed_y = lax.stop_gradient((gx, gy))
    best = jnp.full_like(gx, -jnp.inf)
    chosen = jnp.zeros(gx.shape, jnp.int32)
    for k, (cos, sin) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        projection = np.float32(cos) * fixed_x + np.float32(sin) * fixed_y
        better = projection > best
        best, chosen = jnp.where(better, projection, best), jnp.where(better, k, chosen)
    return spread(magnitude(gx, gy), chosen, bins)


def soft_votes(gx: Array, gy: Array, bins: int, sharpness: Array | float = 1.0) -> Array:
    """Each pixel shares its magnitude between the two directions next to its gradient.

    With d the distance between gradient and direction in bins, the share is clip(½ + κ(½ − |d|), 0, 1): κ = 1 is
    bilinear interpolation (the paper's HOGb), κ → ∞ are hard votes; shares add up to one for every κ ≥ 1.

    Args:
        gx, gy: float32 [H, W].
        bins: number of directions over the full circle.
        sharpness: κ ≥ 1.

    Returns:
        float32 [bins, H, W].
    """
    flat = _flat(gx, gy)
    angle = jnp.arctan2(jnp.where(flat, 0.0, gy), jnp.where(flat, 1.0, gx)) * (bins / (2 * np.pi))
    below = jnp.floor(angle)
    share = jnp.clip(0.5 + sharpness * (0.5 - (angle - below)), 0.0, 1.0)
    chosen, length = below.astype(jnp.int32) % bins, magnitude(gx, gy)
    return spread(length * share, chosen, bins) + spread(length * (1 - share), (chosen + 1) % bins, bins)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def spread(values: Array, chosen: Array, bins: int) -> Array:
    """Puts each pixel's value into the plane it chose; the other planes are zero there.

    The derivative is written out because XLA's own, a sum over all planes, is several times slower on a CPU.

    Args:
        values: float32 [H, W].
        chosen: int32 [H, W], 0..bins-1.
        bins: number of planes.

    Returns:
        float32 [bins, H, W].
    """
    return jnp.where(jnp.arange(bins)[:, None, None] == chosen, values, 0.0)


def _spread_forward(values: Array, chosen: Array, bins: int) -> tuple[Array, Array]:
    return spread(values, chosen, bins), chosen


def _spread_backward(bins: int, chosen: Array, cotangent: Array) -> tuple[Array, None]:
    gathered = jnp.zeros_like(cotangent[0])
    for k in range(bins):
        gathered = jnp.where(chosen == k, cotangent[k], gathered)
    return gathered, None


spread.defvjp(_spread_forward, _spread_backward)


def pooling_matrix(pixels: int, cells: int, cell: int, first_centre: float) -> np.ndarray:
    """Weights of bilinear pooling along one axis: triangles of half-width `cell` around each cell's centre.

    Args:
        pixels: samples along the axis.
        cells: cells along the axis.
        cell: distance between cell centres, pixels.
        first_centre: position of the first cell's centre; pixel i is at i.

    Returns:
        float32 [pixels, cells].
    """
    centres = first_centre + cell * np.arange(cells)
    distance = np.abs(np.arange(pixels)[:, None] - centres) / cell
    return np.maximum(0, 1 - distance).astype(np.float32)


def pool(votes: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """Sums votes into cells.

    Args:
        votes: float32 [bins, H, W].
        rows: float32 [H, cell rows] pooling matrix.
        columns: float32 [W, cell columns] pooling matrix.

    Returns:
        float32 [bins, cell rows, cell columns].
    """
    across = jnp.einsum("khw,wj->khj", votes, columns, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("khj,hi->kij", across, rows, precision=jax.lax.Precision.HIGHEST)
