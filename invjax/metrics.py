"""How good a reconstruction is, in feature space and in pixels."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence

import jax
import numpy as np

from invjax.types import Feature, InputSpec

SSIM_WINDOW = 11  # pixels, the window of Wang et al. 2004
VALUES = 1 << 14  # of each row, to be compared at once


def flat(feature: Feature) -> np.ndarray:
    """All values of a batch of features in one row each, float32 [N, values]."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(feature)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def row(feature: Feature) -> np.ndarray:
    """All values of one feature in a row, float32 [values]."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(feature)])


def distance(first: np.ndarray, second: np.ndarray | float = 0.0) -> float:
    """Euclidean distance between two rows in double precision; the norm of one where there is no second."""
    with np.errstate(invalid="ignore"):  # what has diverged may be infinite
        return float(np.linalg.norm(np.asarray(first, np.float64) - np.asarray(second, np.float64)))


def mean_pairwise_distance(features: Feature) -> float:
    """Mean Euclidean distance between different features of a batch; NaN for fewer than two.

    Args:
        features: a batch, leading axis N.
    """
    return mean_distance(list(flat(features)))


def mean_distance(rows: Sequence[np.ndarray]) -> float:
    """Mean Euclidean distance between different rows, float32 [values] each; NaN for fewer than two.

    In double precision, and some values of all rows at a time: there may be gigabytes of them.
    """
    count = len(rows)
    if count < 2:
        return math.nan
    products = np.zeros((count, count))
    with np.errstate(invalid="ignore"):  # what has diverged may be infinite
        for first in range(0, len(rows[0]), VALUES):
            values = np.stack([row[first : first + VALUES] for row in rows]).astype(np.float64)
            values -= values[0]  # distances stay, and what all rows have in common takes no digits
            products += values @ values.T
        squares = np.diag(products)
        distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * products, 0))
    return float(distances[np.triu_indices(count, 1)].mean())


def counts(feature: np.ndarray) -> bool:
    """Whether a row counts in `distance_between_pictures`: it is finite, and not all zero as that of a flat picture."""
    return bool(np.isfinite(feature).all() and feature.any())


def distance_between_pictures(rows: Sequence[np.ndarray]) -> float:
    """Mean distance between the features of different pictures, the unit of `normalized_error`.

    Features that are all zero, as those of flat pictures, and those that are not finite are left out: neither can be
    inverted, and a zero would only add its distance, the norm of each other feature, to the mean.

    Args:
        rows: of the pictures, float32 [values] each.

    Returns:
        The mean over all pairs; NaN for fewer than two features that count.

    Source: the normaliser of the paper's tables, CVPR 2015, section 5.
    """
    return mean_distance([feature for feature in rows if counts(feature)])


def normalized_error(relative_error: float, target_norm: float, pairwise_distance: float) -> float:
    """‖Φ − Φ₀‖ / mean pairwise distance between the Φ₀ of a set of pictures: the paper's measure, not squared.

    In a run, the mean goes over the pictures that are shown to the same representation, mask and layer in the same
    size, in one variant of a sweep: all of them up to 200, and of more of them 200 that are evenly spaced. Pictures
    whose feature is all zero or not finite are left out.

    Args:
        relative_error: ‖Φ − Φ₀‖² / ‖Φ₀‖².
        target_norm: ‖Φ₀‖.
        pairwise_distance: of `distance_between_pictures`.

    Returns:
        The error; NaN where the pictures have no distance, being one or all the same.

    Source: CVPR 2015, section 5.
    """
    if not pairwise_distance > 0:
        return math.nan
    return math.sqrt(relative_error) * target_norm / pairwise_distance


def psnr(image: np.ndarray, reference: np.ndarray, spec: InputSpec) -> float:
    """Peak signal-to-noise ratio in dB of the clipped true pixel values; infinite for equal pictures.

    Args:
        image, reference: float32 [H, W, C], in the representation's units.
        spec: of the representation.
    """
    first, second = _visible(image, reference, spec)
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(255**2 / np.mean((first - second) ** 2, dtype=np.float64)))


def ssim(image: np.ndarray, reference: np.ndarray, spec: InputSpec) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window of 1.5 pixels) of the clipped true pixel values.

    Args:
        image, reference: float32 [H, W, C], in the representation's units.
        spec: of the representation.

    Returns:
        −1..1, averaged over channels; NaN for pictures smaller than the window of 11 pixels.
    """
    if min(image.shape[:2]) < SSIM_WINDOW:
        return math.nan
    return float(_ssim()(*_visible(reference, image, spec), max_val=255.0))


@functools.cache
def _ssim() -> Callable[..., jax.Array]:
    import dm_pix  # whose import takes a while

    return jax.jit(functools.partial(dm_pix.ssim, filter_fn=_blurred), static_argnames="max_val")


def _blurred(pictures: jax.Array) -> jax.Array:
    """Weighted means over the window of SSIM where it lies inside, [H − 10, W − 10, C].

    The same as dm-pix's own, which convolves each row by itself, in a quarter of its time and less memory.
    """
    window = np.exp(-0.5 * ((np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2) / 1.5) ** 2)
    for axis in (0, 1):
        places = pictures.shape[axis] - SSIM_WINDOW + 1
        shifted = (jax.lax.slice_in_dim(pictures, i, i + places, axis=axis) for i in range(SSIM_WINDOW))
        weighted = (np.float32(weight) * part for weight, part in zip(window / window.sum(), shifted, strict=True))
        pictures = functools.reduce(operator.add, weighted)
    return pictures


def _visible(first: np.ndarray, second: np.ndarray, spec: InputSpec) -> tuple[np.ndarray, np.ndarray]:
    mean = np.asarray(spec.mean, np.float32)
    return np.clip(first + mean, 0, 255), np.clip(second + mean, 0, 255)


def error_map(feature: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Where a feature differs: ‖Φ − Φ₀‖ at each position over the root mean square of ‖Φ₀‖.

    Args:
        feature, target: float32 [h, w, channels].

    Returns:
        float32 [h, w], or None for features without positions.
    """
    if getattr(feature, "ndim", 0) != 3:
        return None
    scale = np.sqrt(np.mean(np.sum(np.square(target), axis=-1)))
    return (np.linalg.norm(feature - target, axis=-1) / scale).astype(np.float32)
