"""Histograms of oriented gradients: the paper's HOG and HOGb, and VLFeat's vl_hog (UoCTTI)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from invjax.representations import oriented
from invjax.types import Array, Feature, Image, InputSpec, Params, Representation

CLAMP = 0.2


@dataclasses.dataclass(frozen=True)
class Hog:
    """HOG as a pure function of one grey picture.

    Attributes:
        cell: side of a cell, pixels.
        orientations: undirected orientations K; there are 2K directed ones.
        votes: "hard", "bilinear", or "soft" (`params["sharpness"]` says how sharp, see `oriented.soft_votes`).
        uoctti: vl_hog's borders and texture channels, not the paper's.
    """

    cell: int = 8
    orientations: int = 9
    votes: str = "hard"
    uoctti: bool = False

    def __call__(self, params: Params, image: Image) -> Feature:
        """Returns float32 [cell rows, cell columns, 3K or 3K+4]: 2K directed, K undirected, 4 texture channels."""
        return self.blocks(self.cells(params, image))

    def softened(self, params: Params, sharpness: Array | float) -> tuple[Hog, Params] | None:
        """The same HOG with soft votes; None where the votes are not hard."""
        return (dataclasses.replace(self, votes="soft"), {"sharpness": sharpness}) if self.votes == "hard" else None

    def cells(self, params: Params, image: Image) -> Array:
        """Directed histograms before normalisation, float32 [2K, cell rows, cell columns]."""
        plane, bins = image[..., 0], 2 * self.orientations
        gx, gy = oriented.gradients(plane, "none" if self.uoctti else "zero")
        if self.votes == "hard":
            votes = oriented.hard_votes(gx, gy, bins)
        else:
            votes = oriented.soft_votes(gx, gy, bins, params["sharpness"] if self.votes == "soft" else 1.0)
        # vl_hog also makes a cell of a remainder of at least half a cell, and does not halve its gradients
        extra, scale = (self.cell // 2, 2.0) if self.uoctti else (0, 1.0)
        rows, columns = ((side + extra) // self.cell for side in plane.shape)
        return scale * oriented.pool(votes, bins, (rows, columns), self.cell, (self.cell - 1) / 2)

    def blocks(self, cells: Array) -> Array:
        """Normalises each cell by the 2×2 blocks of cells it belongs to, and clamps."""
        directed, undirected = cells, cells[: self.orientations] + cells[self.orientations :]
        energy = jnp.sum(undirected**2, axis=0)
        if self.uoctti:  # the cells at the edge are repeated outside
            inverse_norm = 1 / jnp.sqrt(_sum_2x2(jnp.pad(energy, 1, mode="edge")) + 1e-4)
        else:  # a block that would reach outside does not count
            inverse_norm = jnp.pad(1 / jnp.sqrt(jnp.maximum(_sum_2x2(energy), 1e-12)), 1)
        height, width = energy.shape
        both = jnp.concatenate([directed, undirected])
        clamped = [
            jnp.minimum(both * inverse_norm[i : i + height, j : j + width], CLAMP) for i in (0, 1) for j in (0, 1)
        ]
        channels = [0.5 * sum(clamped)]
        if self.uoctti:
            texture = [jnp.sum(block[2 * self.orientations :], axis=0) for block in clamped]
            channels.append(jnp.stack(texture) / np.sqrt(2 * self.orientations).astype(np.float32))
        return jnp.moveaxis(jnp.concatenate(channels), 0, -1)


def _sum_2x2(plane: Array) -> Array:
    return plane[:-1, :-1] + plane[:-1, 1:] + plane[1:, :-1] + plane[1:, 1:]


def hog(cell: int = 8, orientations: int = 9, bilinear: bool = False) -> Representation:
    """The paper's HOG: 27 channels, hard votes, no border cells beyond the picture.

    Args:
        cell: side of a cell, pixels, ≥ 2.
        orientations: undirected orientations, ≥ 2.
        bilinear: share each vote between two orientations, the paper's HOGb.

    Returns:
        A representation with features float32 [H // cell, W // cell, 3·orientations], values 0..0.4.

    Raises:
        UserError: cell or orientations too small.

    Reference: `hog_net` of the authors' deep-goggle (CVPR 2015, section 4).
    """
    oriented.check_options(cell, orientations)
    apply = Hog(cell, orientations, "bilinear" if bilinear else "hard")
    return Representation({}, apply, "hogb" if bilinear else "hog", InputSpec(minimum=2 * cell))


def hogb(cell: int = 8, orientations: int = 9) -> Representation:
    """The paper's HOGb: HOG with votes shared between two orientations; arguments as in `hog`."""
    return hog(cell, orientations, bilinear=True)


def hog_uoctti(cell: int = 8, orientations: int = 9, bilinear: bool = False) -> Representation:
    """VLFeat's vl_hog, UoCTTI variant, all 31 channels (27 like `hog`, 4 of texture) and its border rules.

    Args:
        cell: side of a cell, pixels, ≥ 2.
        orientations: undirected orientations, ≥ 2.
        bilinear: share each vote between two orientations (`bilinearOrientations`).

    Returns:
        A representation with features float32 [(H + cell/2) // cell, (W + cell/2) // cell, 3·orientations + 4].

    Raises:
        UserError: cell or orientations too small.

    Reference: VLFeat 0.9.21, vl/hog.c; Felzenszwalb et al., PAMI 2010.
    """
    oriented.check_options(cell, orientations)
    apply = Hog(cell, orientations, "bilinear" if bilinear else "hard", uoctti=True)
    return Representation({}, apply, "hog_uoctti", InputSpec(minimum=max(3, cell - cell // 2)))
