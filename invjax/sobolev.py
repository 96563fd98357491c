"""Descent in the proportions of natural pictures: the preconditioner of the recipe `fast`."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax

from invjax.types import Image


def cosines(side: int) -> np.ndarray:
    """The orthonormal cosine transform (DCT-II) of `side` numbers, a matrix float64 [frequency, position]."""
    frequency, position = np.ogrid[:side, :side]
    # of whole numbers below a period, where a large angle would have lost its last digits
    basis = np.cos(np.pi / (2 * side) * (frequency * (2 * position + 1) % (4 * side)))
    return np.sqrt((2 - (frequency == 0)) / side) * basis


def sobolev(
    inner: optax.GradientTransformation, image_shape: tuple[int, int, int], floor: float = 0.01
) -> optax.GradientTransformation:
    """Runs an optimiser on v, where u = K v and K = s·(floor − Δ)^−½, with Δ the Laplacian of total variation.

    Pictures have spectra near 1/f, and so has K: steps of one size in v are steps of natural proportions in u, and
    total variation (β = 2) of u is close to a plain ‖v‖². K is diagonal in the cosine transform; s gives white v and
    u = K v the same root mean square, so that rates keep their unit. K is linear: v itself is not needed.

    Args:
        inner: an optimiser that does not look at the parameters.
        image_shape: [H, W, C].
        floor: squared frequency > 0, (radians per pixel)², below which K is flat; 0.01 is a wavelength of 60 pixels.

    Returns:
        The gradient transformation on u.

    Source: Neuberger, Sobolev Gradients and Differential Equations, 1997; for pictures, the scaled frequencies of
    Olah et al., Feature Visualization, Distill 2017.
    """
    rows, columns = (cosines(side).astype(np.float32) for side in image_shape[:2])
    down, across = (2 - 2 * np.cos(np.pi * np.arange(side) / side) for side in image_shape[:2])  # eigenvalues of −Δ
    gain = (floor + down[:, None, None] + across[None, :, None]) ** -0.5
    gain = (gain / np.sqrt(np.mean(gain**2))).astype(np.float32)

    def smooth(image: Image) -> Image:
        # at the device's own precision: rounding here bends the way, not the objective
        spectrum = jnp.einsum("ki,ijc,lj->klc", rows, image, columns)
        return jnp.einsum("ki,klc,lj->ijc", rows, gain * spectrum, columns)

    def update(gradient: Image, state: optax.OptState, params: Image | None = None) -> tuple[Image, optax.OptState]:
        step, state = inner.update(smooth(gradient), state)
        return smooth(step), state

    return optax.GradientTransformation(inner.init, update)
