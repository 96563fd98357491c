"""What HOG and DSIFT share: gradients, votes for orientations, pooling into cells.

Everything here is the convolutional formulation of Mahendran & Vedaldi (CVPR 2015, section 4), reorganised so that
nothing is convolved: gradients are differences of slices, votes come from one angle, and pooling is separable. The
planes of votes, one per orientation, mostly zeros, are never in memory: a pixel's votes are a value and a number of a
plane, and `pool` adds up the pixels of a cell's rows for all planes in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from invjax.derivatives import written_out
from invjax.errors import UserError
from invjax.types import Array

# arctan(t) / t as a polynomial in t² on 0 ≤ t ≤ 1: least squares at Chebyshev's nodes, off by 1.2e-8 at most
ARCTANGENT = (
    0.9999999842,
    -0.3333306678,
    0.1999248358,
    -0.1420257051,
    0.1063675410,
    -0.0749544544,
    0.0425876075,
    -0.0160050305,
    0.0028340643,
)


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
    half = plane / 2  # first, so that the cotangents' division is what comes before their sums, see `_polar_backward`
    if border == "zero":
        half = jnp.pad(half, 1)
    gx, gy = half[1:-1, 2:] - half[1:-1, :-2], half[2:, 1:-1] - half[:-2, 1:-1]
    return (jnp.pad(gx, 1), jnp.pad(gy, 1)) if border == "none" else (gx, gy)


def _magnitude_forward(gx: Array, gy: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    length = _length(gx, gy)
    return length, (gx, gy, length)


def _magnitude_backward(saved: tuple[Array, Array, Array], cotangent: Array) -> tuple[Array, Array]:
    # as in `_polar_backward`
    gx, gy, length = saved
    flat = length == 0
    divisor, pull = jnp.where(flat, 1.0, length), jnp.where(flat, 0.0, cotangent)
    return pull * gx / divisor, pull * gy / divisor


@written_out(_magnitude_forward, _magnitude_backward)
def magnitude(gx: Array, gy: Array) -> Array:
    """Gradient length √(gx² + gy²), with derivative 0 (and not NaN) where it vanishes."""
    return _length(gx, gy)


def _length(gx: Array, gy: Array) -> Array:
    flat = _flat(gx, gy)
    return jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, gx**2 + gy**2)))


@jax.custom_jvp
def arctan2(y: Array, x: Array) -> Array:
    """The angle of (x, y), float32, to 3e-7; not both may be zero.

    XLA's own takes 1.5 ms of 51,529 pixels on a CPU, longer than all the rest of HOGb. Source: that of `ARCTANGENT`;
    the rest is symmetry.
    """
    ax, ay = jnp.abs(x), jnp.abs(y)
    ratio = jnp.minimum(ax, ay) / jnp.maximum(ax, ay)
    square = ratio * ratio
    series = jnp.full_like(ratio, ARCTANGENT[-1])
    for coefficient in ARCTANGENT[-2::-1]:
        series = series * square + coefficient
    angle = ratio * series
    angle = jnp.where(ay > ax, np.float32(np.pi / 2) - angle, angle)
    angle = jnp.where(x < 0, np.float32(np.pi) - angle, angle)
    return jnp.where(y < 0, -angle, angle)


@arctan2.defjvp
def _arctan2_jvp(point: tuple[Array, Array], direction: tuple[Array, Array]) -> tuple[Array, Array]:
    """The angle's own derivative: that of its parts is wrong on the axes and the diagonals."""
    (y, x), (dy, dx) = point, direction
    return arctan2(y, x), (x * dy - y * dx) / (x**2 + y**2)


def _polar_forward(gx: Array, gy: Array) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
    length, angle = polar(gx, gy)
    return (length, angle), (gx, gy, length)


def _polar_backward(saved: tuple[Array, Array, Array], cotangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # The division comes last, since XLA computes what ends in one once, and all else again for each use, of which the
    # differences of neighbours make four: that took three times as long as the rest of a step of HOG.
    gx, gy, length = saved
    flat = length == 0
    divisor = jnp.where(flat, 1.0, gx**2 + gy**2)
    outwards, around = (jnp.where(flat, 0.0, cotangent) for cotangent in cotangents)
    outwards = outwards * length
    return (outwards * gx - around * gy) / divisor, (outwards * gy + around * gx) / divisor


@written_out(_polar_forward, _polar_backward)
def polar(gx: Array, gy: Array) -> tuple[Array, Array]:
    """Length and angle of the gradient, 0 where it vanishes, and so are their derivatives there."""
    flat = _flat(gx, gy)
    return _length(gx, gy), arctan2(jnp.where(flat, 0.0, gy), jnp.where(flat, 1.0, gx))


def _flat(gx: Array, gy: Array) -> Array:
    """Where there is no gradient, or one so small (1e-15 grey levels) that float32 cannot square it."""
    return gx**2 + gy**2 <= 1e-30


class Votes(NamedTuple):
    """What pixels vote for: each gives values[i] to the orientation chosen[i].

    Attributes:
        values: float32 [H, W] each.
        chosen: int32 [H, W] each, 0..bins-1.
    """

    values: tuple[Array, ...]
    chosen: tuple[Array, ...]

    def planes(self, bins: int) -> Array:
        """The votes for each orientation, float32 [bins, H, W]; no step needs them."""
        return _of_planes(jnp.arange(bins)[:, None, None], self.values, self.chosen)


def hard_votes(gx: Array, gy: Array, bins: int) -> Votes:
    """Each pixel votes with its magnitude for the direction closest to its gradient.

    The assignment is the argmax over float32 tables of projections, the first maximum wins, and has no gradient of
    its own, like vl_hog and the authors' `hog_net`.

    Args:
        gx, gy: float32 [H, W].
        bins: number of directions over the full circle; bin k is the angle 2πk/bins from +x towards +y (down).
    """
    angles = 2 * np.pi * np.arange(bins) / bins
    fixed_x, fixed_y = lax.stop_gradient((gx, gy))
    best = jnp.full_like(gx, -jnp.inf)
    chosen = jnp.zeros(gx.shape, jnp.int32)
    for k, (cos, sin) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        projection = np.float32(cos) * fixed_x + np.float32(sin) * fixed_y
        better = projection > best
        best, chosen = jnp.where(better, projection, best), jnp.where(better, k, chosen)
    return Votes((magnitude(gx, gy),), (chosen,))


def soft_votes(gx: Array, gy: Array, bins: int, sharpness: Array | float = 1.0) -> Votes:
    """Each pixel shares its magnitude between the two directions next to its gradient.

    With d the distance between gradient and direction in bins, the share is clip(½ + κ(½ − |d|), 0, 1): κ = 1 is
    bilinear interpolation (the paper's HOGb), κ → ∞ are hard votes; shares add up to one for every κ ≥ 1.

    Args:
        gx, gy: float32 [H, W].
        bins: number of directions over the full circle.
        sharpness: κ ≥ 1.
    """
    # Without the barrier XLA may compute the angle once for the choice and again, rounded differently, for the share:
    # on the boundary of two directions the whole vote would go to the wrong one.
    length, angle = lax.optimization_barrier(polar(gx, gy))
    position = angle * (bins / (2 * np.pi))
    below = jnp.floor(position)
    share = jnp.clip(0.5 + sharpness * (0.5 - (position - below)), 0.0, 1.0)
    lower = below.astype(jnp.int32)
    lower = jnp.where(lower < 0, lower + bins, lower)
    upper = jnp.where(lower == bins - 1, 0, lower + 1)
    return Votes((length * share, length * (1 - share)), (lower, upper))


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


def pool(votes: Votes, bins: int, cells: tuple[int, int], cell: int, first_centre: float) -> Array:
    """Sums votes into cells, weighted by triangles of half-width `cell` around each cell's centre, both ways.

    Args:
        votes: of [H, W] pixels.
        bins: orientations.
        cells: rows and columns of cells.
        cell: distance between cell centres, pixels.
        first_centre: row, and column, of the first cell's centre; pixel i is at i.

    Returns:
        float32 [bins, cell rows, cell columns].
    """
    columns = pooling_matrix(votes.values[0].shape[1], cells[1], cell, first_centre)
    down = _pool_rows(votes.values, votes.chosen, bins, Bands(cells[0], cell, first_centre))
    return jnp.einsum("kiw,wj->kij", down, columns, precision=lax.Precision.HIGHEST)


class Bands(NamedTuple):
    """Rows cut into bands between the centres of cells: band b votes for the cells b − 1 and b.

    Attributes:
        cells: rows of cells; there is one band more.
        cell: rows of a band.
        first_centre: row of the first cell's centre.
    """

    cells: int
    cell: int
    first_centre: float

    @property
    def before(self) -> int:
        """Rows of the first band that lie above the picture."""
        return -math.ceil(self.first_centre - self.cell)

    def weights(self) -> list[tuple[float, float]]:
        """Of each row of a band, for the cell above and the one below."""
        below = [(row - self.before - self.first_centre) / self.cell + 1 for row in range(self.cell)]
        return [(1 - weight, weight) for weight in below]

    def cut(self, plane: Array) -> Array:
        """[H, W] → [cells + 1, cell, W]: with zeros above and below, or cut off below."""
        missing = (self.cells + 1) * self.cell - self.before - len(plane)
        plane = jnp.pad(plane[: len(plane) + min(missing, 0)], ((self.before, max(missing, 0)), (0, 0)))
        return plane.reshape(self.cells + 1, self.cell, -1)

    def join(self, bands: Array, height: int) -> Array:
        """[cells + 1, cell, W] → [H, W], the inverse of `cut`; zeros where it was cut off."""
        plane = bands.reshape(-1, bands.shape[-1])[self.before :][:height]
        return jnp.pad(plane, ((0, height - len(plane)), (0, 0)))


def _pool_rows_forward(
    values: tuple[Array, ...], chosen: tuple[Array, ...], bins: int, bands: Bands
) -> tuple[Array, tuple[Array, ...]]:
    return _pool_rows(values, chosen, bins, bands), chosen


def _pool_rows_backward(
    bins: int, bands: Bands, chosen: tuple[Array, ...], cotangent: Array
) -> tuple[tuple[Array, ...], None]:
    padded = jnp.pad(cotangent, ((0, 0), (1, 1), (0, 0)))[:, :, None]
    above, below = (np.asarray(weights, np.float32)[:, None] for weights in zip(*bands.weights(), strict=True))
    derivatives = []
    for choice in chosen:
        cut, taken = bands.cut(choice), jnp.zeros((), jnp.float32)
        for k, plane in enumerate(padded):  # `take_along_axis` is slower
            taken = jnp.where(cut == k, above * plane[:-1] + below * plane[1:], taken)
        derivatives.append(bands.join(taken, len(choice)))
    return tuple(derivatives), None


@written_out(_pool_rows_forward, _pool_rows_backward, static=(2, 3))
def _pool_rows(values: tuple[Array, ...], chosen: tuple[Array, ...], bins: int, bands: Bands) -> Array:
    """[H, W] → [bins, cells, W]. Its derivative is written out: a pixel's is gathered from what it voted for."""
    planes = jnp.arange(bins)[:, None, None]
    values, chosen = (tuple(bands.cut(part) for part in parts) for parts in (values, chosen))
    above, below = [], []
    for row, weights in enumerate(bands.weights()):
        votes = _of_planes(planes, *([part[:, row] for part in parts] for parts in (values, chosen)))
        above.append(weights[0] * votes)
        below.append(weights[1] * votes)
    return sum(above[1:], above[0])[:, 1:] + sum(below[1:], below[0])[:, :-1]


def _of_planes(planes: Array, values: Sequence[Array], chosen: Sequence[Array]) -> Array:
    """For each plane the values that chose it, zero elsewhere; a pixel's choices differ."""
    result = jnp.zeros((), jnp.float32)
    for value, choice in zip(values, chosen, strict=True):
        result = jnp.where(choice == planes, value, result)
    return result
