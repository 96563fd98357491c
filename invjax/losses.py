"""Losses ℓ(Φ(x), Φ₀): how far a feature is from the one to be inverted.

A loss takes two features of the same structure (one array or a dict of them) and returns a scalar. All are
normalised by the target, so that a weight of the regularizers means the same for every representation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from invjax import named
from invjax.types import Array, Feature, Loss


def _sum(function: Callable[..., Array], *features: Feature) -> Array:
    """Sums `function` over the leaves of features."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda *leaves: _total(function(*leaves)), *features))


def _total(values: Array) -> Array:
    """The sum of all values, axis by axis.

    XLA adds in one go what it may, and on a CPU, by some of its options, one value after the other: of the 20,000 of
    HOG the sum was off by 1e-5. The barriers keep the axes apart, and the sum good to some 1e-7 however it is added.
    """
    while values.ndim:
        values = jax.lax.optimization_barrier(jnp.sum(values, -1))
    return values


def magnitude(values: Array) -> Array:
    """|v| of each value, with the derivative zero at v = 0: the subgradient of least norm.

    `jnp.abs` has the derivative 1 there, which would push every zero of a feature or a flat picture to one side.
    """
    return values * jax.lax.stop_gradient(jnp.sign(values))


def euclidean(feature: Feature, target: Feature) -> Array:
    """‖Φ − Φ₀‖² / ‖Φ₀‖², the paper's loss (CVPR 2015, equations 2 and 5).

    Args:
        feature: Φ(x).
        target: Φ₀, not all zero.

    Returns:
        Scalar ≥ 0; 0 when equal, 1 when Φ(x) is zero.
    """
    return _sum(lambda f, t: (f - t) ** 2, feature, target) / _sum(jnp.square, target)


def l1(feature: Feature, target: Feature) -> Array:
    """Σ|Φ − Φ₀| / Σ|Φ₀|, less impressed by a few large errors; arguments as in `euclidean`.

    Where a value is equal to its target, the derivative is zero.
    """
    return _sum(lambda f, t: magnitude(f - t), feature, target) / _sum(jnp.abs, target)


def inner_product(feature: Feature, target: Feature) -> Array:
    """−⟨Φ, Φ₀⟩ / ‖Φ₀‖², unbounded below: activation maximisation (IJCV 2016, section 3).

    Arguments as in `euclidean`.
    """
    return -_sum(lambda f, t: f * t, feature, target) / _sum(jnp.square, target)


@functools.lru_cache(maxsize=256)  # the loss may be the user's
def of_parts(loss: Loss, parts: tuple[tuple[str, float], ...]) -> Loss:
    """The weighted mean of a loss over the parts of features that are dicts: Σ w ℓ(Φ[p], Φ₀[p]) / Σ w.

    Each part is normalised by its own target, so that a layer with large numbers does not drown another.

    Args:
        loss: of one part.
        parts: names and weights > 0; none: the loss itself, over everything.
    """
    if not parts:
        return loss
    total = sum(weight for _, weight in parts)

    def mean(feature: Feature, target: Feature) -> Array:
        terms = (weight / total * loss(feature[name], target[name]) for name, weight in parts)
        return sum(terms, start=jnp.zeros(()))

    return mean


_LOSSES: dict[str, Callable[[], Loss]] = {
    "euclidean": lambda: euclidean,
    "l1": lambda: l1,
    "inner_product": lambda: inner_product,
}


def names() -> list[str]:
    """Names that `get` knows."""
    return list(_LOSSES)


def get(chosen: str | Loss) -> Loss:
    """A loss by name, or the user's own.

    Args:
        chosen: one of `names()`, "my_file.py:loss", "my_file.py:make_loss(power=3)" with a factory of a loss, or a
            function (Φ(x), Φ₀) → scalar.

    Raises:
        UserError: unknown name or option, or no function.
    """
    return named.function("loss", chosen, _LOSSES)
