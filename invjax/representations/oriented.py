"""What HOG and DSIFT share: gradients, votes for orientations, pooling into cells.

Everything here is the convolutional formulation of Mahendran & Vedaldi (CVPR 2015, section 4), reorganised so that
nothing is convolved: gradients are differences of slices, votes come from one angle, pooling is two products with
banded matrices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from invjax.types import Array


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
    squared = gx**2 + gy**2
    flat = squared == 0
    return jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, squared)))


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
    return jnp.where(jnp.arange(bins)[:, None, None] == chosen, magnitude(gx, gy), 0.0)


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
    flat = (gx == 0) & (gy == 0)
    angle = jnp.arctan2(jnp.where(flat, 0.0, gy), jnp.where(flat, 1.0, gx))
    distance = angle * (bins / (2 * np.pi)) - jnp.arange(bins, dtype=gx.dtype)[:, None, None]
    distance -= bins * jnp.round(distance / bins)
    share = jnp.clip(0.5 + sharpness * (0.5 - jnp.abs(distance)), 0.0, 1.0)
    return magnitude(gx, gy) * share


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
