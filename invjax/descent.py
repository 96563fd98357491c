"""One reconstruction: the problem, where it stands, its start and one step.

A batch has both with a leading axis, and nothing in a step looks at its neighbours, so adding restarts or pictures
never changes the others, and `jax.vmap` or a loop of the user's may do with `start` and `step` what they like.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from invjax import devices
from invjax.recipes import Method
from invjax.types import Array, Feature, Image, Params, Representation

EXPLOSION = 3.0  # a value this many times the first one is no longer a descent
MAX_FAILURES = 16  # halvings of the rate before a reconstruction is given up


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Problem:
    """What to reconstruct: the feature Φ₀, a key for all that is random, a weight for each regularizer, and perhaps the
    picture [H, W, C] in grey levels from which to start."""

    target: Feature
    key: Array
    weights: dict[str, Array]
    start: Image | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """One reconstruction on its way.

    Attributes:
        params: what is optimised; by default the picture in units of σ, float32 [H, W, C].
        optimizer: the optimiser's state.
        step: gradient evaluations so far.
        best: the best params since the objective last changed; where a failed step goes back to.
        best_value: their objective.
        first_value: the objective at the start.
        rate_scale: factor on every update, halved by each failure.
        failures: steps that were not finite or exploded, and were undone.
    """

    params: Params
    optimizer: optax.OptState
    step: Array
    best: Params
    best_value: Array
    first_value: Array
    rate_scale: Array
    failures: Array


def start(method: Method, problem: Problem) -> State:
    """The state at step 0: at the problem's picture, or at noise of norm one."""
    parameterization = method.parameterization
    if problem.start is None:
        params = parameterization.start(problem.key)
    else:
        assert parameterization.encode is not None
        params = parameterization.encode(problem.start / method.objective.scale)
    return State(
        params=params,
        optimizer=method.optimizer.init(params),
        step=jnp.zeros((), jnp.int32),
        best=params,
        best_value=jnp.asarray(jnp.inf, jnp.float32),
        first_value=jnp.asarray(jnp.inf, jnp.float32),
        rate_scale=jnp.ones((), jnp.float32),
        failures=jnp.zeros((), jnp.int32),
    )


def step(method: Method, phi: Representation, problem: Problem, state: State) -> State:
    """One gradient step, or its undoing: a step that left the finite or exploded goes back to the best params, forgets
    the optimiser's momentum and halves the rate."""
    phi = method.phi_at(phi, state.step)

    def value_fn(params: Params) -> Array:
        u = method.parameterization.decode(params)
        seen = method.augment(jax.random.fold_in(problem.key, state.step), u) if method.augment else u
        return method.objective(u, phi, problem.target, problem.weights, seen)[0]

    value, gradient = jax.value_and_grad(value_fn)(state.params)
    first_value = jnp.where(state.step == 0, value, state.first_value)
    finite = functools.reduce(jnp.logical_and, (jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)))
    sane = jnp.isfinite(value) & finite & (value <= EXPLOSION * jnp.maximum(first_value, 1.0))
    improved = sane & ((value < state.best_value) | (state.step < method.settled))
    best = choose(improved, state.params, state.best)

    updates, moved = optax.with_extra_args_support(method.optimizer).update(
        gradient, state.optimizer, state.params, value=value, grad=gradient, value_fn=value_fn
    )
    gone = state.failures > MAX_FAILURES
    forward = jax.tree.map(lambda now, update: now + state.rate_scale * update, state.params, updates)
    return State(
        params=choose(sane, choose(gone, state.params, forward), best),
        optimizer=jax.tree.map(functools.partial(_keep_or_clear, sane), moved, method.optimizer.init(best)),
        step=state.step + 1,
        best=best,
        best_value=jnp.where(improved, value, state.best_value),
        first_value=first_value,
        rate_scale=jnp.where(sane, state.rate_scale, state.rate_scale / 2),
        failures=state.failures + ~sane,
    )


def choose(condition: Array, first: Params, second: Params) -> Params:
    """Where a condition holds the first params, else the second."""
    return jax.tree.map(functools.partial(jnp.where, condition), first, second)


def _keep_or_clear(keep: Array, moved: Array, fresh: Array) -> Array:
    """Clears what an optimiser remembers of gradients; its counters (integers) go on, schedules depend on them."""
    return jnp.where(keep, moved, fresh) if jnp.issubdtype(moved.dtype, jnp.floating) else moved


def state_structure(method: Method) -> Any:
    """The pytree structure of a State, to rebuild one from its leaves."""
    # the structure depends on the optimiser only: any problem will do
    weights = {name: jnp.ones(()) for name, _ in method.objective.regularizers}
    problem = Problem(jnp.zeros(()), jax.random.key(0), weights)
    return jax.tree.structure(jax.eval_shape(lambda: start(method, problem)))


def ready(phi: Representation) -> Representation:
    """Φ as many stretches of steps take it: on a CPU prepared, once for all of them and all cores.

    Each stretch would ask the system for new memory, which takes as long as a step up to CaffeNet's relu5.
    """
    return phi.prepared() if devices.sequential() else phi


def stretch(method: Method, steps: int) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """What `steps_of` is told of a method and `steps` steps, for `devices.compute`: settings, and numbers.

    A CPU has one program for all numbers of steps, and thereby the same bits however a descent is cut; an accelerator
    has one for this number, and need not ask the host to go on.
    """
    return ((method,), (steps,)) if devices.sequential() else ((method, steps), ())


def steps_of(method: Method, steps: int | Array, phi: Representation, problem: Problem, state: State) -> State:
    """`steps` steps of one reconstruction."""
    phi = phi.prepared()  # once, not in every step; nothing to do where it is `ready`
    return jax.lax.fori_loop(0, steps, lambda _, state: step(method, phi, problem, state), state)
