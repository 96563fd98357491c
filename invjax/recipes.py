"""Recipes: complete ways to minimise the objective, `paper` (theirs) and `fast` (ours, the default).

A recipe knows nothing of a picture's size; `prepare` makes a `Method` of it, static and ready to compile.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from invjax import augmentations, losses, named, optimizers, parameterizations, regularizers
from invjax.augmentations import Augment, Augmentation
from invjax.errors import UserError, first_line, one_line
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
        rate: base learning rate, see `optimizers.scheduled`.
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
CUSTOM = Recipe("custom", 200, "adam", 8.0, "cosine")
FAST = Recipe("fast", 200, "sobolev_adam", 10.0, "budget", sharpness=(1.0, 8.0, 1.0))


# A new recipe is a constant, or a function of Φ, and its name here.
RECIPES: dict[str, Recipe | Callable[[Representation], Recipe]] = {
    "fast": FAST,
    "paper": lambda phi: PAPER_CNN if phi.family == "network" else PAPER,
    "custom": CUSTOM,
}


def names() -> list[str]:
    """Names that `get` knows."""
    return list(RECIPES)


def get(name: str, phi: Representation) -> Recipe:
    """The recipe of that name for a representation; the paper's differs between CNNs and HOG or DSIFT.

    Args:
        name: one of RECIPES; or "my_file.py:name", a Recipe or a function of Φ that returns one.
        phi: the representation.

    Raises:
        UserError: unknown name, or no recipe.
    """
    if named.is_path(name):
        found = named.load(name)
    elif name in RECIPES:
        found = RECIPES[name]
    else:
        raise UserError(f"unknown recipe '{name}'. Valid: {', '.join(names())}, or my_file.py:name")
    recipe = found if isinstance(found, Recipe) else named.call(name, found, (phi,), {})
    if not isinstance(recipe, Recipe):
        raise UserError(f"{name} must be a Recipe, or return one, got {type(recipe).__name__}")
    return recipe


# λ and R(u) by name, a text of `regularizers.get` or a function; None for a term that is taken away
Changes: TypeAlias = Mapping[str, tuple[float, str | Regularizer] | None]
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
    regularizers: Changes | None = None,
    optimizer: Optimizer | None = None,
    parameterization: str | Parameterization | None = None,
    augment: Augment | None = None,
) -> tuple[Method, dict[str, float], int]:
    """Turns a recipe into a method for one representation and picture size.

    Functions are told apart by identity: pass the same ones again, or what is built here compiles again. Those of the
    user's are tried on shapes, without computing.

    Args:
        phi: the representation.
        image_shape: [H, W, C].
        recipe: a name or a Recipe.
        steps: gradient steps ≥ 1; default the recipe's.
        lambda_tv: weight of total variation ≥ 0, unit-norm form; default what suits phi.
        lambda_alpha: weight of the α-norm ≥ 0; default the paper's for α = 6.
        lambda_range: weight ≥ 0 of leaving the range of real pixels; 0 leaves the term out.
        alpha: exponent of the α-norm, ≥ 1; other than 6 it needs a lambda_alpha.
        beta: exponent of total variation, > 0.
        loss: see `losses.get`.
        regularizers: by name a weight ≥ 0 and a function u → scalar, u in units of σ, or a text of `regularizers.get`;
            added to "alpha", "tv" and "range". One of their names replaces it, and None takes it away.
        optimizer: on the params, see `optimizers.get`; default the recipe's.
        parameterization: see `parameterizations.get`; default pixels.
        augment: (key, u) → u before Φ in each step, see `augmentations.get`; default none.

    Returns:
        (method, weights, steps): weights are the λ by name of regularizer.

    Raises:
        UserError: any value out of range or without effect, an optimiser that wants pixels where there are none, or a
            function that fails or does not return what it should.
    """
    recipe = get(recipe, phi) if isinstance(recipe, str) else recipe
    steps = recipe.steps if steps is None else steps
    if steps < 1:
        raise UserError(f"steps must be at least 1, got {steps}")
    changes = regularizers or {}
    given = {"lambda_alpha": lambda_alpha is not None, "alpha": alpha != 6, "lambda_tv": lambda_tv is not None}
    _refuse_unused(changes, given | {"beta": beta != 2, "lambda_range": lambda_range != 0})
    smooth = alpha_norm(alpha)
    if lambda_alpha is None and alpha != 6:
        raise UserError(f"alpha = {alpha:g} needs a lambda_alpha: the paper's weight is one for alpha = 6")
    scale = sigma(image_shape)
    terms: dict[str, tuple[float, Regularizer] | None] = {
        "alpha": (default_lambda_alpha(image_shape) if lambda_alpha is None else lambda_alpha, smooth),
        "tv": (phi.lambda_tv if lambda_tv is None else lambda_tv, total_variation(beta)),
        "range": (lambda_range, _pixel_range(phi.input, scale)) if lambda_range else None,
    }
    image = jax.ShapeDtypeStruct(tuple(image_shape), jnp.float32)
    there = _changed(terms, changes, image)
    params = parameterizations.get("pixels" if parameterization is None else parameterization, image_shape)
    _returns("the parameterization", image.shape, lambda key: params.decode(params.start(key)), _key())
    method = Method(
        Objective(scale, _loss(loss, phi, image), tuple((name, function) for name, (_, function) in there.items())),
        params,
        _optimizer(optimizer, recipe, steps, image_shape, params),
        None if augment is None else _augmentation(augment, image),
        *_surrogate(recipe, phi, steps),
    )
    return method, {name: weight for name, (weight, _) in there.items()}, steps


# which term each of the arguments of `prepare` is about
ABOUT = {"lambda_alpha": "alpha", "alpha": "alpha", "lambda_tv": "tv", "beta": "tv", "lambda_range": "range"}


def _refuse_unused(changes: Changes, given: Mapping[str, bool]) -> None:
    for argument, is_given in given.items():
        if is_given and ABOUT[argument] in changes:
            raise UserError(
                f"{argument} has no effect: regularizers['{ABOUT[argument]}'] replaces that term: leave one of them out"
            )


def _changed(
    terms: Mapping[str, tuple[float, Regularizer] | None], changes: Changes, image: jax.ShapeDtypeStruct
) -> dict[str, tuple[float, Regularizer]]:
    """The weights and functions that are there after the user's changes, by name."""
    there = dict(terms)
    for name, change in changes.items():
        what = f"regularizers['{name}']"
        if name in RESERVED:
            raise UserError(f"{what}: the history has that name already; choose another one")
        if change is None and name not in terms:
            raise UserError(f"{what}: there is none to take away. Valid: {', '.join(terms)}")
        there[name] = None if change is None else _term(what, change, image)
    found = {name: term for name, term in there.items() if term is not None}
    for name, (weight, _) in found.items():
        if not isinstance(weight, numbers.Real) or not 0 <= weight < math.inf:
            raise UserError(f"lambda_{name} must be at least 0 and finite, got {weight}")
    return found


def _term(what: str, change: Any, image: jax.ShapeDtypeStruct) -> tuple[float, Regularizer]:
    """A weight and a function of the user's."""
    if not (isinstance(change, tuple | list) and len(change) == 2):
        raise UserError(f"{what} must be (weight, function of u) or None, got {one_line(repr(change))}")
    regularizer = regularizers.get(change[1], what)
    _returns(what, (), regularizer, image)
    return change[0], regularizer


def _loss(chosen: str | Loss, phi: Representation, image: jax.ShapeDtypeStruct) -> Loss:
    loss = losses.get(chosen)
    whole = losses.of_parts(loss, phi.parts)
    if loss not in map(losses.get, losses.names()):  # a network takes its time
        feature = jax.eval_shape(phi, image)
        _returns("loss", (), whole, feature, feature)
    return whole


def _augmentation(chosen: Augment, image: jax.ShapeDtypeStruct) -> Augmentation:
    augmentation = augmentations.get(chosen)
    _returns("augment", image.shape, augmentation, _key(), image)
    return augmentation


def _key() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(jax.random.key, 0)


def _returns(what: str, shape: tuple[int, ...], function: Callable[..., Any], *arguments: Any) -> None:
    """Raises UserError unless a function returns floats of that shape; nothing is computed."""
    try:
        got = jax.eval_shape(function, *arguments)
    except UserError:
        raise
    except Exception as error:  # whatever the user's function raises
        raise UserError(f"{what} fails: {type(error).__name__}: {first_line(error)}") from error
    if getattr(got, "shape", None) != shape or not jnp.issubdtype(got.dtype, jnp.floating):
        expected = f"floats of shape {list(shape)}" if shape else "a float scalar"
        leaves = jax.tree.map(lambda leaf: f"{leaf.dtype.name} {list(leaf.shape)}", got)
        raise UserError(f"{what} must return {expected}, got {leaves}")


def _optimizer(
    chosen: Optimizer | None,
    recipe: Recipe,
    steps: int,
    image_shape: tuple[int, int, int],
    parameterization: Parameterization,
) -> optax.GradientTransformation:
    name = named.parse(chosen).name if isinstance(chosen, str) else ""
    if (chosen is None or name in optimizers.OF_PIXELS) and parameterization != parameterizations.pixels(image_shape):
        raise UserError(
            f"{name or f'the recipe {recipe.name}'} is for pixels: give an optimizer for other params, such as "
            "adam(learning_rate=0.0005)"
        )
    if chosen is None:
        return optimizers.scheduled(recipe.optimizer, recipe.rate, recipe.schedule, steps, image_shape)
    return optimizers.get(chosen, recipe.schedule, steps, image_shape)


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
