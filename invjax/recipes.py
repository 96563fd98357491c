"""Recipes: complete ways to minimise the objective, `paper` (theirs) and `fast` (ours, the default).

A recipe knows nothing of a picture's size; `prepare` makes a `Method` of it, static and ready to compile.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import optax

from invjax import losses, optimizers, parameterizations
from invjax.augmentations import Augmentation
from invjax.errors import UserError
from invjax.objective import Objective, default_lambda_alpha, sigma
from invjax.optimizers import Optimizer
from invjax.parameterizations import Parameterization
from invjax.regularizers import alpha_norm, bounded_range, total_variation
from invjax.types import Array, InputSpec, Loss, Regularizer, Representation


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
    return PAPER_CNN if phi.family == "network" else PAPER


RESERVED = ("data", "total", "step")  # names in a history that are no regularizers


@dataclasses.dataclass(frozen=True)
class Method:
    """How to minimise what: static, hashable, one compilation each.

    Attributes:
        objective: E(u).
        parameterization: what is optimised, and the picture u that it stands for.
        optimizer: an optax gradient transformation on the params.
        augment: (key, u) → u, what Φ is shown of u in each step; None: u itself.
        sharpness: None, or the surrogate's κ as a function of the step.
        settled: the step from which the surrogate no longer changes; 0 without a surrogate.
    """

    objective: Objective
    parameterization: Parameterization
    optimizer: optax.GradientTransformation
    augment: Augmentation | None = None
    sharpness: Callable[[Array], Array] | None = None
    settled: int = 0

    def phi_at(self, phi: Representation, step: Array) -> Representation:
        """Φ, or the smooth stand-in for it that the descent is on in that step."""
        return phi if self.sharpness is None else phi.softened(self.sharpness(step)) or phi


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
    loss: str | Loss = "euclidean",
    regularizers: Mapping[str, tuple[float, Regularizer] | None] | None = None,
    optimizer: Optimizer | None = None,
    parameterization: str | Parameterization | None = None,
    augment: Augmentation | None = None,
) -> tuple[Method, dict[str, float], int]:
    """Turns a recipe into a method for one representation and picture size.

    Functions are told apart by identity: pass the same ones again, or what is built here compiles again.

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
        loss: a name of `losses.names()`, or a function (Φ(x), Φ₀) → scalar.
        regularizers: by name a weight ≥ 0 and a function u → scalar, u in units of σ, added to "alpha", "tv" and
            "range"; one of their names replaces it, and None takes it away.
        optimizer: any optax transformation, on the params; a name of `optimizers.OPTIMIZERS`, with the recipe's
            schedule and its own rate; or (name, options) of any optimiser of optax's. Default the recipe's.
        parameterization: a name of `parameterizations.PARAMETERIZATIONS`, or one made there; default pixels.
        augment: (key, u) → u, as of `augmentations`, before Φ in each step.

    Returns:
        (method, weights, steps): weights are the λ by name of regularizer.

    Raises:
        UserError: any value out of range, or an optimiser that wants pixels where there are none.
    """
    recipe = get(recipe, phi) if isinstance(recipe, str) else recipe
    steps = recipe.steps if steps is None else steps
    if steps < 1:
        raise UserError(f"steps must be at least 1, got {steps}")
    scale, smooth = sigma(image_shape), alpha_norm(alpha)
    if lambda_alpha is None and alpha != 6 and "alpha" not in (regularizers or {}):
        raise UserError(f"alpha = {alpha:g} needs a lambda_alpha: the paper's weight is one for alpha = 6")
    terms: dict[str, tuple[float, Regularizer] | None] = {
        "alpha": (default_lambda_alpha(image_shape) if lambda_alpha is None else lambda_alpha, smooth),
        "tv": (phi.lambda_tv if lambda_tv is None else lambda_tv, total_variation(beta)),
        "range": (lambda_range, _pixel_range(phi.input, scale)) if lambda_range else None,
    }
    weights, chosen = _weighed(terms, regularizers or {})
    kind = losses.get(loss) if isinstance(loss, str) else loss
    for name, function in (("loss", kind), ("augment", augment)):
        if function is not None and not callable(function):
            raise UserError(f"{name} must be a function, got {function!r}")
    params = _parameterization(parameterization, image_shape)
    return (
        Method(
            Objective(scale, losses.of_parts(kind, phi.parts), chosen),
            params,
            _optimizer(optimizer, recipe, steps, image_shape, params),
            augment,
            *_surrogate(recipe, phi, steps),
        ),
        weights,
        steps,
    )


def _weighed(
    terms: Mapping[str, tuple[float, Regularizer] | None], changes: Mapping[str, tuple[float, Regularizer] | None]
) -> tuple[dict[str, float], tuple[tuple[str, Regularizer], ...]]:
    """The weights and the functions of the terms that are there after the user's changes, by name."""
    for name, change in changes.items():
        if name in RESERVED:
            raise UserError(f"regularizers['{name}']: the history has that name already; choose another one")
        if change is None and name not in terms:
            raise UserError(f"regularizers['{name}']: there is none to take away. Valid: {', '.join(terms)}")
    there = {name: term for name, term in (dict(terms) | dict(changes)).items() if term is not None}
    for name, term in there.items():
        if not (isinstance(term, tuple) and len(term) == 2 and callable(term[1])):
            raise UserError(f"regularizers['{name}'] must be (weight, function of u) or None, got {term!r}")
        if not isinstance(term[0], int | float) or not 0 <= term[0] < math.inf:
            raise UserError(f"lambda_{name} must be at least 0 and finite, got {term[0]}")
    weights = {name: weight for name, (weight, _) in there.items()}
    return weights, tuple((name, function) for name, (_, function) in there.items())


def _parameterization(chosen: str | Parameterization | None, image_shape: tuple[int, int, int]) -> Parameterization:
    if isinstance(chosen, Parameterization):
        return chosen
    if not isinstance(chosen, str | None):
        raise UserError(f"parameterization must be a name, or of invjax.parameterizations, got {chosen!r}")
    return parameterizations.get(chosen or "pixels", image_shape)


def _optimizer(
    chosen: Optimizer | None,
    recipe: Recipe,
    steps: int,
    image_shape: tuple[int, int, int],
    parameterization: Parameterization,
) -> optax.GradientTransformation:
    if chosen in (None, *optimizers.OF_PIXELS) and parameterization != parameterizations.pixels(image_shape):
        name = chosen or f"the recipe {recipe.name}"
        raise UserError(f"{name} is for pixels: give an optimizer for other params, such as optax.adam(0.003)")
    if chosen is None:
        return optimizers.get(recipe.optimizer, recipe.rate, recipe.schedule, steps, image_shape)
    if isinstance(chosen, str) and chosen in optimizers.OPTIMIZERS:
        return optimizers.get(chosen, optimizers.DEFAULT_RATES[chosen], recipe.schedule, steps, image_shape)
    return optimizers.of_optax(chosen)


def _surrogate(recipe: Recipe, phi: Representation, steps: int) -> tuple[Callable[[Array], Array] | None, int]:
    """κ by step, and the step from which it stays; None where Φ needs none."""
    if recipe.sharpness is None or phi.softened(1.0) is None:
        return None, 0
    first, last, fraction = recipe.sharpness
    settled = int(fraction * steps)
    return sharpening(first, last, settled), settled


def _pixel_range(spec: InputSpec, scale: float) -> Regularizer:
    return bounded_range(-max(spec.mean) / scale, (255 - min(spec.mean)) / scale)


@functools.cache
def sharpening(first: float, last: float, steps: int) -> Callable[[Array], Array]:
    """κ of `oriented.soft_votes`, growing geometrically from first to last over `steps` steps, then constant."""

    def schedule(step: Array) -> Array:
        return first * (last / first) ** jnp.clip(step / max(steps, 1), 0.0, 1.0)

    return schedule
