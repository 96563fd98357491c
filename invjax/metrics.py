"""How good a reconstruction is, in feature space and in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np

from invjax.types import Feature, InputSpec

SSIM_WINDOW = 11  # pixels, the window of Wang et al. 2004
ROWS = 8  # to be compared at once


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

    In double precision, a few rows at a time: there may be gigabytes of them.
    """
    from scipy.spatial.distance import cdist  # ten times as fast as NumPy; its import takes a while

    distances = np.zeros((len(rows), len(rows)))
    parts = [slice(first, first + ROWS) for first in range(0, len(rows), ROWS)]
    for number, above in enumerate(parts):
        upper = np.asarray(rows[above], np.float64)
        for right in parts[number:]:
            distances[above, right] = cdist(upper, np.asarray(rows[right], np.float64))
    pairs = distances[np.triu_indices(len(rows), 1)]
    return float(pairs.mean()) if len(pairs) else math.nan


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
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(*_visible(reference, image, spec), data_range=255))


def ssim(image: np.ndarray, reference: np.ndarray, spec: InputSpec) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window of 1.5 pixels) of the clipped true pixel values.

    Args:
        image, reference: float32 [H, W, C], in the representation's units.
        spec: of the representation.

    Returns:
        −1..1, averaged over channels; NaN for pictures smaller than the window of 11 pixels.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape[:2]) < SSIM_WINDOW:
        return float("nan")
    return float(
        structural_similarity(
            *_visible(reference, image, spec),
            data_range=255,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


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
