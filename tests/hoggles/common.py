"""Pictures to learn from."""

import jax
import numpy as np
from scipy.ndimage import gaussian_filter

from invjax import Representation


def scene(seed, height=88, width=96):
    """Bright and dark shapes, float32 [height, width, 1], minus the mean of real pictures."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 5)
    return (60 * np.sign(noise) + 20 * noise / noise.std()).astype(np.float32)[..., None]


def likeness(first, second):
    """Correlation of two pictures."""
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


def feature_of(phi, image):
    """Φ(image), compiled."""
    return np.asarray(_compiled(phi, image))


_compiled = jax.jit(Representation.__call__)
