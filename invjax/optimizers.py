"""Optimisers: optax gradient transformations on u, and the learning-rate schedules they follow.

Anything of optax's can be used instead; those here are the ones a config can name. Rates are in units of u, that is
grey levels / σ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from invjax import named
from invjax.errors import UserError, one_line, suggestion
from invjax.objective import sigma
from invjax.sobolev import sobolev

Rate: TypeAlias = float | optax.Schedule
Optimizer: TypeAlias = str | tuple[str, Mapping[str, Any]] | optax.GradientTransformation  # what `get` takes
Shape: TypeAlias = tuple[int, int, int]


class MomentumState(NamedTuple):
    """Steps taken and the velocity v."""

    step: jax.Array
    velocity: optax.Updates


def momentum(rate: Rate, decay: float = 0.9) -> optax.GradientTransformation:
    """Gradient descent with momentum, set to zero whenever the rate drops.

    v ← μv − ηg, u ← u + v, and v ← 0 first in a step whose η is at most half of the one before: as in the authors'
    code, whose rates drop to a tenth at once, while a rate that falls smoothly keeps its momentum.

    Args:
        rate: η, a number or a schedule step → η.
        decay: μ, 0 ≤ μ < 1.

    Returns:
        The gradient transformation.
    """
    schedule = rate if callable(rate) else optax.constant_schedule(rate)

    def init(params: optax.Params) -> MomentumState:
        return MomentumState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(
        gradient: optax.Updates, state: MomentumState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, MomentumState]:
        eta = schedule(state.step)
        keep = jnp.where(eta > schedule(jnp.maximum(state.step - 1, 0)) / 2, decay, 0.0)
        velocity = jax.tree.map(lambda v, g: (keep * v - eta * g).astype(v.dtype), state.velocity, gradient)
        return velocity, MomentumState(state.step + 1, velocity)

    return optax.GradientTransformation(init, update)


def piecewise(rate: float, factors: tuple[float, ...], lengths: tuple[int, ...]) -> optax.Schedule:
    """rate × factors[i] during the i-th of consecutive stretches of lengths[i] steps; the last one goes on for ever.

    Args:
        rate: base rate.
        factors: one per stretch.
        lengths: steps, one per stretch.
    """
    boundaries = jnp.cumsum(jnp.asarray(lengths))[:-1]
    rates = rate * jnp.asarray(factors, jnp.float32)
    return lambda step: rates[jnp.sum(step >= boundaries)]


SCHEDULES: dict[str, Callable[[float, int], Rate]] = {
    "constant": lambda rate, steps: rate,
    "cosine": lambda rate, steps: optax.cosine_decay_schedule(rate, steps),
    "linear": lambda rate, steps: optax.linear_schedule(rate, 0.0, steps),
    # the recipe `fast`'s: the rate is that of 200 steps; fewer steps, down to 50, are longer ones
    "budget": lambda rate, steps: optax.polynomial_schedule(rate * math.sqrt(200 / max(steps, 50)), 0.0, 2, steps),
    # the paper's for HOG and DSIFT: four equal stretches, each ten times slower
    "decades": lambda rate, steps: piecewise(rate, (1.0, 0.1, 0.01, 0.001), _stretches(steps, 1, 1, 1, 1)),
    # the paper's for CNNs: 100, 200 and 100 steps of 400
    "paper_cnn": lambda rate, steps: piecewise(rate, (1.0, 0.1, 0.01), _stretches(steps, 1, 2, 1)),
}

# Steps of the adaptive ones do not depend on the size of the gradient: their rate is in grey levels.
OPTIMIZERS: dict[str, Callable[[Rate, Shape], optax.GradientTransformation]] = {
    "momentum": lambda rate, shape: momentum(rate),
    "sgd": lambda rate, shape: optax.sgd(rate),
    "adam": lambda rate, shape: optax.adam(rate, b1=0.9, b2=0.99),
    "sobolev_adam": lambda rate, shape: sobolev(optax.adam(rate, b1=0.9, b2=0.95), shape),
    "lbfgs": lambda rate, shape: optax.lbfgs(rate, memory_size=10, linesearch=None),
    "lbfgs_linesearch": lambda rate, shape: optax.lbfgs(None, memory_size=10),
}
IN_GREY_LEVELS = ("adam", "sobolev_adam")
OF_PIXELS = ("sobolev_adam",)  # which look at a gradient as at a picture
# The paper's where it says one; else rates that did well on HOG.
DEFAULT_RATES = {
    "momentum": 0.004,
    "sgd": 0.004,
    "adam": 8.0,
    "sobolev_adam": 10.0,
    "lbfgs": 0.5,
    "lbfgs_linesearch": 1.0,  # not used
}


def _stretches(steps: int, *shares: int) -> tuple[int, ...]:
    return tuple(max(1, steps * share // sum(shares)) for share in shares)


@functools.cache
def scheduled(name: str, rate: float, schedule: str, steps: int, image_shape: Shape) -> optax.GradientTransformation:
    """An optimiser of the recipes; cached, so that the same arguments do not compile twice.

    Args:
        name: "momentum" (the paper's), "sgd", "adam", "sobolev_adam" (adam in the proportions of natural pictures),
            "lbfgs" (fixed step sizes) or "lbfgs_linesearch" (finds them itself, several gradients a step, ignores
            rate and schedule).
        rate: base learning rate > 0; for adam in grey levels, else in units of u.
        schedule: one of SCHEDULES.
        steps: length of the run, for the schedule.
        image_shape: [H, W, C] of the pictures to be found.

    Raises:
        UserError: unknown name or a rate that is not positive.
    """
    for kind, given, valid in (("optimizer", name, OPTIMIZERS), ("schedule", schedule, SCHEDULES)):
        if given not in valid:
            raise UserError(f"unknown {kind} '{given}'. Valid: {', '.join(valid)}")
    if not 0 < rate < math.inf:
        raise UserError(f"the learning rate must be positive and finite, got {rate}")
    unit = sigma(image_shape) if name in IN_GREY_LEVELS else 1.0
    return OPTIMIZERS[name](SCHEDULES[schedule](rate / unit, steps), image_shape)


def get(chosen: Optimizer, schedule: str, steps: int, image_shape: Shape) -> optax.GradientTransformation:
    """An optimiser by name, or the user's own.

    A name of OPTIMIZERS alone is the recipes' optimiser, with its rate in DEFAULT_RATES and the schedule. Whatever has
    options, and any other name, is optax's: "adam" has a rate in grey levels that follows the schedule, while
    "adam(learning_rate=0.01)" has this rate throughout, in units of the params, and optax's other defaults.

    Args:
        chosen: a name of OPTIMIZERS; one of optax's with its options, "adamw(learning_rate=0.01)" or ("adamw",
            {"learning_rate": 0.01}); "my_file.py:name", a transformation or a factory of one, with brackets a factory;
            or a transformation.
        schedule, steps, image_shape: of the recipes' optimisers, see `scheduled`.

    Raises:
        UserError: unknown name, options that it does not take or needs, or no transformation.
    """
    if _is_transformation(chosen):
        return _checked("optimizer", chosen)
    if isinstance(chosen, str):
        asked = named.parse(chosen)
        if named.is_path(asked.name):
            return _checked(asked.name, named.make("optimizer", chosen, {}, itself=_is_transformation))
        if asked.name in OPTIMIZERS and not asked.called:
            return scheduled(asked.name, DEFAULT_RATES[asked.name], schedule, steps, image_shape)
        return _optax(asked.name, asked.args, asked.kwargs)
    match chosen:
        case (str(name), Mapping() as options):
            return _optax(name, (), options)
    raise UserError(f"optimizer must be a name, (name, options) or optax's, got {one_line(repr(chosen))}")


def _optax(name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> optax.GradientTransformation:
    if not callable(getattr(optax, name, None)):
        if name in OPTIMIZERS:
            raise UserError(f"{name} is the recipes' own, and takes no options: leave them out")
        hint = suggestion(name, list(OPTIMIZERS))
        raise UserError(f"unknown optimizer '{name}'. {hint}, one of optax's with its options, or my_file.py:name")
    key = name, args, tuple(options.items())
    try:
        return _made_by_optax(*key)
    except TypeError:  # an option without a hash, such as a list; it is made, and compiled, anew
        return _made_by_optax.__wrapped__(*key)


@functools.lru_cache(maxsize=256)  # options may be functions of the user's
def _made_by_optax(
    name: str, args: tuple[Any, ...], options: tuple[tuple[str, Any], ...]
) -> optax.GradientTransformation:
    what = f"optax.{name}"
    return _checked(what, named.call(what, getattr(optax, name), args, dict(options)))


def _is_transformation(thing: Any) -> bool:
    return hasattr(thing, "init") and hasattr(thing, "update") and not isinstance(thing, type)


def _checked(what: str, made: Any) -> optax.GradientTransformation:
    if not _is_transformation(made):
        raise UserError(f"{what} must be an optax transformation, got {one_line(repr(made))}")
    return named.check_hashable(what, made)
