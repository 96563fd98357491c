"""What can be said of many reconstructions of one picture."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from invjax import metrics
from invjax.types import Feature


def pairwise_spread(features: Feature, unit: float = 1.0) -> float:
    """Mean Euclidean distance between different restarts.

    Args:
        features: of the restarts, leading axis k; pictures [k, H, W, C] are features, too.
        unit: what to measure it in. `metrics.distance_between_pictures`, as in `metrics.normalized_error`: 1 then says
            that restarts differ as much as pictures do; or, where there is one picture only, ‖Φ₀‖.

    Returns:
        The spread; NaN for fewer than two restarts, or a unit of zero.
    """
    return metrics.mean_pairwise_distance(features) / unit if unit > 0 else math.nan


def deviation_map(images: np.ndarray) -> np.ndarray:
    """Where restarts differ: their standard deviation at each pixel.

    Args:
        images: float [k, H, W, C], grey levels; values outside 0..255 are taken as they are.

    Returns:
        float32 [H, W], grey levels: the root of the mean over channels of the unbiased variance (k − 1 in the
        denominator, so that few restarts are not closer together than many); NaN for fewer than two restarts.
    """
    if len(images) < 2:
        return np.full(images.shape[1:3], np.nan, np.float32)
    variance = np.var(np.asarray(images, np.float64), axis=0, ddof=1)
    return np.sqrt(variance.mean(axis=-1)).astype(np.float32)


def best_of_k(values: Iterable[float], k: int | None = None, highest: bool = False) -> np.ndarray:
    """What the best of 1, 2, …, k restarts is to be expected to reach.

    Args:
        values: a measure of n restarts; those that are NaN are left out.
        k: how far to go; default and at most n.
        highest: whether high values are good, as those of PSNR and SSIM are.

    Returns:
        float64 [k]: entry j − 1 is the mean, over all choices of j of the n restarts without replacement, of the best
        value chosen. The first one is the mean of all values, entry n − 1 the best of them.

    The i-th best of n is the best of j in C(n − i, j − 1) of C(n, j) choices.
    """
    known = sorted((value for value in values if not math.isnan(value)), reverse=highest)
    count = len(known)
    expected = []
    for j in range(1, min(count, count if k is None else k) + 1):
        choices = [math.comb(count - i, j - 1) / math.comb(count, j) for i in range(1, count - j + 2)]
        expected.append(math.fsum(share * value for share, value in zip(choices, known, strict=False)))
    return np.array(expected, np.float64)


def agreement(logits: np.ndarray, original: np.ndarray) -> tuple[float, float]:
    """How many reconstructions a classifier takes for what it takes the picture for.

    Args:
        logits: of the reconstructions, [k, classes]; of equal values the first one counts as the greatest.
        original: of the picture, [classes].

    Returns:
        (top-1, top-5): shares of the reconstructions, 0..1, for which the picture's best class is the best one, or
        among the five best.
    """
    ranks = np.argsort(-np.asarray(logits), axis=-1, kind="stable")
    found = ranks == np.argmax(original)
    return float(found[:, :1].any(axis=1).mean()), float(found[:, :5].any(axis=1).mean())
