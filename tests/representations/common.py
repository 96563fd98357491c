"""What the tests of every representation need."""

import jax
import numpy as np

QUICKLY = {"xla_backend_optimization_level": 0}  # every shape is compiled, to be used once


def picture(shape, seed=0):
    """Noise, float32 [H, W, 1]."""
    return np.random.default_rng(seed).normal(0, 40, (*shape, 1)).astype(np.float32)


@jax.jit
def compiled(phi, image):
    return phi(image)


def feature_of(phi, image):
    return np.asarray(compiled(phi, image))


def difficult(shape, bright):
    """Flat, a step, one bright pixel, clipped whole grey levels, noise."""
    y, x = np.indices(shape)
    noise = picture(shape)[..., 0]
    pictures = [0 * x + 30, np.where(x < shape[1] // 2, -128, 127), 255 * ((y == bright) & (x == bright)) - 128]
    pictures += [np.clip(np.round(2 * noise), -128, 127), noise]
    return np.stack(pictures)[..., None].astype(np.float32)


def difficult_features_and_gradients(phi, shape, bright):
    """Of each difficult picture the feature, and a gradient that all of the feature takes part in."""

    def both(image):
        feature, pull_back = jax.vjp(phi, image)
        return feature, pull_back(feature + 1)[0]

    return jax.device_get(jax.jit(jax.vmap(both), compiler_options=QUICKLY)(difficult(shape, bright)))
