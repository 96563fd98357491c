"""Windows of cells and the patches of the picture below them."""

from __future__ import annotations

import dataclasses

import numpy as np

from invjax.errors import UserError
from invjax.representations.dsift import STRIDE, Dsift
from invjax.representations.hog import Hog
from invjax.types import Representation

MARGIN = 1  # cells of the picture around a window that its HOG depends on, as in ihog
FLAT = 1e-6  # norm of a window that shows nothing


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the positions of a feature lie in the picture.

    Attributes:
        cell: pixels from one position to the next.
        origin: pixel where the cell of the first position begins, in rows and columns.
    """

    cell: int
    origin: int = 0

    def side(self, window: int) -> int:
        """Pixels of the side of the patch below a window of so many cells, margin included."""
        return (window + 2 * MARGIN) * self.cell


def grid(phi: Representation) -> Grid:
    """Where the cells of a representation are.

    Raises:
        UserError: it is neither a HOG nor dense SIFT.
    """
    apply = phi.apply
    if isinstance(apply, Hog):
        return Grid(apply.cell)
    if isinstance(apply, Dsift):  # the middle STRIDE of a descriptor's four cells, the first pixel having no gradient
        return Grid(STRIDE * apply.cell, apply.cell + 1)
    raise UserError(f"HOGgles inverts hog, hogb, hog_uoctti and dsift, whole and without a mask, not this {phi.name}")


def feature_windows(feature: np.ndarray, window: int) -> np.ndarray:
    """All windows of a feature, as a view.

    Args:
        feature: float32 [h, w, channels], h and w at least `window`.
        window: cells of a side.

    Returns:
        float32 [h − window + 1, w − window + 1, channels, window, window].
    """
    return np.lib.stride_tricks.sliding_window_view(feature, (window, window), axis=(0, 1))


def patches(plane: np.ndarray, shape: tuple[int, int], where: Grid, window: int) -> np.ndarray:
    """The patches below all windows, as a view of the picture continued by grey.

    Args:
        plane: float32 [H, W], minus the mean: what HOG takes for 0 outside is 0 here, too.
        shape: [rows, columns] of windows.
        where: the feature's positions.
        window: cells of a side.

    Returns:
        float32 [rows, columns, side, side].
    """
    side, before = where.side(window), MARGIN * where.cell
    ends = [where.origin - before + (count - 1) * where.cell + side for count in shape]
    after = [max(0, end - length) for end, length in zip(ends, plane.shape, strict=True)]
    padded = np.pad(plane, [(before, beyond) for beyond in after])
    every = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return every[where.origin :: where.cell, where.origin :: where.cell][: shape[0], : shape[1]]


def normalised(rows: np.ndarray) -> np.ndarray:
    """Each row minus its mean, over its norm; rows that are flat are zero.

    Args:
        rows: float32 [N, values].
    """
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(norm > FLAT, centred / np.maximum(norm, FLAT), 0)


def averaged(drawn: np.ndarray, cell: int, begin: int, image_shape: tuple[int, int]) -> np.ndarray:
    """The mean of overlapping patches, weighted by a Gaussian around each one's middle.

    Weights are those of ihog, σ = 9 pixels for cells of 8. It divides by the number of patches, and so darkens what
    few of them see; here it is the sum of the weights.

    Args:
        drawn: float [rows, columns, side, side].
        cell: pixels from one patch to the next.
        begin: pixel of the first patch where the picture begins, in rows and columns.
        image_shape: [H, W] of the picture, which the patches cover.

    Returns:
        float64 [H, W].
    """
    rows, columns, side, _ = drawn.shape
    bell = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (9 / 8 * cell)) ** 2)
    weight = np.outer(bell, bell)
    total = np.zeros(((rows - 1) * cell + side, (columns - 1) * cell + side))
    weights = np.zeros_like(total)
    for row in range(rows):
        for column in range(columns):
            place = np.s_[row * cell : row * cell + side, column * cell : column * cell + side]
            total[place] += weight * drawn[row, column]
            weights[place] += weight
    inside = np.s_[begin : begin + image_shape[0], begin : begin + image_shape[1]]
    return total[inside] / weights[inside]
