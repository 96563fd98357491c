"""Dense SIFT, as the CNN of the paper."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from invjax.representations import oriented
from invjax.types import Feature, Image, InputSpec, Params, Representation

CLAMP = 0.2
SPAN = 4  # a descriptor is SPAN × SPAN cells
STRIDE = 3  # cells between descriptors: neighbours share one row or column of cells


@dataclasses.dataclass(frozen=True)
class Dsift:
    """Dense SIFT as a pure function of one grey picture.

    Attributes:
        cell: side of a spatial bin, pixels.
        orientations: directions over the full circle.
    """

    cell: int = 5
    orientations: int = 8

    def __call__(self, params: Params, image: Image) -> Feature:
        """Returns float32 [rows, columns, 16·orientations], channel = orientation + K·(bin column + 4·bin row)."""
        gx, gy = oriented.gradients(image[..., 0], "crop")
        votes = oriented.soft_votes(gx, gy, self.orientations)
        rows, columns = ((side - self.cell) // self.cell for side in gx.shape)
        cells = oriented.pool(votes, self.orientations, (rows, columns), self.cell, self.cell - 0.5)
        return _normalise(_descriptors(cells))


def _descriptors(cells: jax.Array) -> jax.Array:
    """Gathers each descriptor's 4×4 cells, weighted by a Gaussian of 1.5 cells: [K, h, w] → [rows, columns, 16K]."""
    rows, columns = ((side - SPAN) // STRIDE + 1 for side in cells.shape[1:])
    window = np.exp(-0.5 * ((np.arange(SPAN) - (SPAN - 1) / 2) / 1.5) ** 2).astype(np.float32)
    parts = [
        cells[:, i : i + STRIDE * (rows - 1) + 1 : STRIDE, j : j + STRIDE * (columns - 1) + 1 : STRIDE]
        * (window[i] * window[j])
        for i in range(SPAN)
        for j in range(SPAN)
    ]
    return jnp.moveaxis(jnp.concatenate(parts), 0, -1)


def _normalise(descriptors: jax.Array) -> jax.Array:
    squared = jnp.sum(descriptors**2, axis=-1, keepdims=True)
    return jnp.minimum(descriptors / jnp.sqrt(jnp.maximum(squared, 1e-12)), CLAMP)


def dsift(cell: int = 5, orientations: int = 8) -> Representation:
    """Dense SIFT in the paper's CNN formulation: descriptors of 4×4 bins every 3 bins.

    Args:
        cell: side of a spatial bin, pixels, ≥ 2.
        orientations: directions over the full circle, ≥ 2.

    Returns:
        A representation with features float32 [rows, columns, 16·orientations], values 0..0.2: descriptors are
        L2-normalised, clamped at 0.2 and not normalised again. With n = (side - 2) // cell - 1 bins along an axis
        there are (n - 4) // 3 + 1 descriptors.

    Raises:
        UserError: cell or orientations too small.

    Reference: `dsift_net` of the authors' deep-goggle (CVPR 2015, section 4).
    """
    oriented.check_options(cell, orientations)
    return Representation({}, Dsift(cell, orientations), "dsift", InputSpec(minimum=(SPAN + 1) * cell + 2))
