"""Recipes: complete ways to minimise the objective, `paper` (theirs) and `fast` (ours, the default).

A recipe knows nothing of a picture's size; `prepare` makes a `Method` of it, static and ready to compile.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
import optax

from invjax import losses, optimizers, regularizers
from invjax.errors import UserError
from invjax.objective import Objective, default_lambda_alpha, sigma
from invjax.types import Array, InputSpec, Regularizer, Representation


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to minimise, for pictures of any size.

    Attributes:
        name: as it appears in results.
        steps: gradient steps.
        optimizer: a name of `optimizers.OPTIMIZERS`.
        rate: base learning rate, see `optimizers.get`.
        schedule: a name of `optimizers.SCHEDULES`.
        sharpness: (first, last, fraction): where Φ assigns pixels to bins by hard votes, descend on soft votes
            instead, whose sharpness κ grows geometrically from first to last over that fraction of the steps. None:
            descend on Φ itself.
    """

    name: str
    steps: int
    optimizer: str
    rate: float
    schedule: str
    sharpness: tuple[float, float, float] | None = None


PAPER = Recipe("paper", 800, "momentum", 0.004, "decades")
PAPER_CNN = Recipe("paper", 400, "momentum", 0.004, "paper_cnn")
FAST = Recipe("fast", 200, "sobolev_adam", 10.0, "budget", sharpness=(1.0, 8.0, 1.0))


def names() -> list[str]:
    """Names that `get` knows."""
    return ["fast", "paper"]


def get(name: str, phi: Representation) -> Recipe:
    """The recipe of that name for a representation; the paper's differs between CNNs and HOG or DSIFT.

    Raises:
        UserError: unknown name.
    """
    if name not in names():
        raise UserError(f"unknown recipe '{name}'. Valid: {', '.join(names())}")
    if name == "fast":
        return FAST
    return PAPER_CNN if phi.layer else PAPER


@dataclasses.dataclass(frozen=True)
class Method:
    """How to minimise what: static, hashable, one compilation each.

    Attributes:
        objective: E(u).
        optimizer: an optax gradient transformation on u.
        sharpness: None, or the surrogate's κ as a function of the step.
        settled: the step from which the surrogate no longer changes; 0 without a surrogate.
    """

    objective: Objective
    optimizer: optax.GradientTransformation
    sharpness: Callable[[Array], Array] | None = None
    settled: int = 0


def prepare(
    phi: Representation,
    image_shape: tuple[int, int, int],
    recipe: str | Recipe = "fast",
    *,
    steps: int | None = None,
    lambda_tv: float | None = None,
    lambda_alpha: float | None = None,
    lambda_range: float = 0.0,
    alpha: float = 6.0,
    beta: float = 2.0,
    loss: str = "euclidean",
) -> tuple[Method, dict[str, float], int]:
    """Turns a recipe into a method for one representation and picture size.

    Args:
        phi: the representation.
        image_shape: [H, W, C].
        recipe: a name or a Recipe.
        steps: gradient steps ≥ 1; default the recipe's.
        lambda_tv: weight of total variation ≥ 0, unit-norm form; default what suits phi.
        lambda_alpha: weight of the α-norm ≥ 0; default the paper's for α = 6.
        lambda_range: weight ≥ 0 of leaving the range of real pixels; 0 leaves the term out.
        alpha: exponent of the α-norm, ≥ 1.
        beta: exponent of total variation, > 0.
        loss: a name of `losses.names()`.

    Returns:
        (method, weights, steps): weights are the λ by name of regularizer.

    Raises:
        UserError: any value out of range.
    """
    recipe = get(recipe, phi) if isinstance(recipe, str) else recipe
    steps = recipe.steps if steps is None else steps
    weights = {
        "alpha": default_lambda_alpha(image_shape) if lambda_alpha is None else lambda_alpha,
        "tv": phi.lambda_tv if lambda_tv is None else lambda_tv,
    }
    terms = [("alpha", regularizers.alpha_norm(alpha)), ("tv", regularizers.total_variation(beta))]
    if lambda_alpha is None and alpha != 6:
        raise UserError(f"alpha = {alpha:g} needs a lambda_alpha: the paper's weight is one for alpha = 6")
    scale = sigma(image_shape)
    if lambda_range:
        weights["range"] = lambda_range
        terms.append(("range", _pixel_range(phi.input, scale)))
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise UserError(f"lambda_{name} must be at least 0 and finite, got {weight}")
    if steps < 1:
        raise UserError(f"steps must be at least 1, got {steps}")
    objective = Objective(scale, losses.of_parts(losses.get(loss), phi.parts), tuple(terms))
    optimizer = optimizers.get(recipe.optimizer, recipe.rate, recipe.schedule, steps, image_shape)
    if recipe.sharpness is None or phi.softened(1.0) is None:
        return Method(objective, optimizer), weights, steps
    first, last, fraction = recipe.sharpness
    settled = int(fraction * steps)
    return Method(objective, optimizer, sharpening(first, last, settled), settled), weights, steps


def _pixel_range(spec: InputSpec, scale: float) -> Regularizer:
    return regularizers.bounded_range(-max(spec.mean) / scale, (255 - min(spec.mean)) / scale)


@functools.cache
def sharpening(first: float, last: float, steps: int) -> Callable[[Array], Array]:
    """κ of `oriented.soft_votes`, growing geometrically from first to last over `steps` steps, then constant."""

    def schedule(step: Array) -> Array:
        return first * (last / first) ** jnp.clip(step / max(steps, 1), 0.0, 1.0)

    return schedule
