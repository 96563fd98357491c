"""Regularizers R(u): how unlike a natural image a picture is.

A regularizer takes one image float32 [H, W, C] in units of σ (see `objective`) and returns a scalar. A factory such
as `alpha_norm(6)` returns it; factories are cached, so that the same arguments give the same function and jit does
not compile it twice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax.numpy as jnp

from invjax import named
from invjax.errors import UserError
from invjax.losses import magnitude
from invjax.types import Array, Image, Regularizer


@functools.cache
def alpha_norm(alpha: float = 6.0) -> Regularizer:
    """Σ|u|^α: keeps values in a sensible range (CVPR 2015, section 2, with the mean subtracted).

    Args:
        alpha: exponent ≥ 1. With 1 there is a kink at zero, where the derivative is taken as zero.

    Raises:
        UserError: alpha < 1.
    """
    if not alpha >= 1:
        raise UserError(f"the α-norm needs alpha ≥ 1, got {alpha}")
    exponent = int(alpha) if alpha == int(alpha) else alpha

    def regularizer(image: Image) -> Array:
        # an even power needs no absolute value
        base = image if exponent in (2, 4, 6, 8) else magnitude(image)
        return jnp.sum(base**exponent)

    return regularizer


@functools.cache
def total_variation(beta: float = 2.0) -> Regularizer:
    """Σ_ij ((u_{i,j+1} − u_ij)² + (u_{i+1,j} − u_ij)²)^{β/2} per channel (CVPR 2015, section 2).

    The difference at the last row and column is zero. For β < 2 the power has no derivative where the picture is
    flat; there it is taken as zero, which is right in the middle of the kink. For β < 1 the slope next to it is
    infinite: there (s + ε)^{β/2} − ε^{β/2} with ε = 1e-12 stands for s^{β/2}.

    Args:
        beta: exponent > 0; 2 is smooth, 1 is the usual total variation, below 1 favours fewer, sharper edges.

    Raises:
        UserError: beta ≤ 0.
    """
    if not beta > 0:
        raise UserError(f"total variation needs beta > 0, got {beta}")

    def squares(image: Image) -> Array:
        rows = image.reshape(len(image), -1)  # loops over a last axis of three channels are slow
        channels = image.shape[-1]
        right, down = rows[:, channels:] - rows[:, :-channels], rows[1:] - rows[:-1]
        return jnp.sum(right**2) + jnp.sum(down**2)

    def powers(image: Image) -> Array:
        right = jnp.pad(image[:, 1:] - image[:, :-1], ((0, 0), (0, 1), (0, 0)))
        down = jnp.pad(image[1:] - image[:-1], ((0, 1), (0, 0), (0, 0)))
        squared = right**2 + down**2
        if beta < 1:
            return jnp.sum((squared + 1e-12) ** (beta / 2) - 1e-12 ** (beta / 2))
        flat = squared == 0
        return jnp.sum(jnp.where(flat, 0.0, jnp.where(flat, 1.0, squared) ** (beta / 2)))

    return squares if beta == 2 else powers


@functools.cache
def bounded_range(low: float, high: float) -> Regularizer:
    """Σ max(0, low − u)² + max(0, u − high)²: nothing inside the range of real pixels, a square outside.

    The soft form of the range constraint of the follow-up paper (IJCV 2016, section 3.2).

    Args:
        low: least value allowed, in units of σ.
        high: greatest value allowed, in units of σ.

    Raises:
        UserError: low ≥ high.
    """
    if not low < high:
        raise UserError(f"the range needs low < high, got {low} and {high}")

    def regularizer(image: Image) -> Array:
        outside = jnp.maximum(low - image, 0.0) + jnp.maximum(image - high, 0.0)
        return jnp.sum(outside**2)

    return regularizer


REGULARIZERS: dict[str, Callable[..., Regularizer]] = {
    "alpha_norm": alpha_norm,
    "total_variation": total_variation,
    "bounded_range": bounded_range,
}


def get(chosen: str | Regularizer, kind: str = "regularizer") -> Regularizer:
    """A regularizer by name, or the user's own.

    Args:
        chosen: one of `REGULARIZERS`, as in "total_variation(beta=1)"; "my_file.py:name", with brackets a factory of a
            regularizer; or a function u → scalar.
        kind: what to call it in messages.

    Raises:
        UserError: unknown name or option, a value out of range, or no function.
    """
    return named.function(kind, chosen, REGULARIZERS)
