"""Inversion: many reconstructions of many features at once, from noise.

One reconstruction is a `Problem` and a `State`; a batch has both with a leading axis, and nothing in a step looks at
its neighbours, so adding restarts or pictures never changes the others. `solve` drives a batch and hands back control
every few steps; `invert` is the whole thing for one feature.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from invjax import devices, losses, memory
from invjax.errors import UserError
from invjax.objective import Objective
from invjax.recipes import Method, Recipe, prepare
from invjax.types import Array, Feature, Image, Representation

EXPLOSION = 3.0  # a value this many times the first one is no longer a descent
MAX_FAILURES = 16  # halvings of the rate before a reconstruction is given up


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Problem:
    """What to reconstruct: the feature Φ₀, the key of the start, and a weight for each regularizer."""

    target: Feature
    key: Array
    weights: dict[str, Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """One reconstruction on its way.

    Attributes:
        u: the picture in units of σ, float32 [H, W, C].
        optimizer: the optimiser's state.
        step: gradient evaluations so far.
        best: the best u since the objective last changed; where a failed step goes back to.
        best_value: its objective.
        first_value: the objective at the start.
        rate_scale: factor on every update, halved by each failure.
        failures: steps that were not finite or exploded, and were undone.
    """

    u: Image
    optimizer: optax.OptState
    step: Array
    best: Image
    best_value: Array
    first_value: Array
    rate_scale: Array
    failures: Array


def noise(key: Array, image_shape: tuple[int, int, int]) -> Image:
    """Where a reconstruction starts: Gaussian noise of norm one, in units of σ."""
    values = jax.random.normal(key, image_shape, jnp.float32)
    return values / jnp.linalg.norm(values)


def start(method: Method, problem: Problem, image_shape: tuple[int, int, int]) -> State:
    """The state at step 0."""
    u = noise(problem.key, image_shape)
    return State(
        u=u,
        optimizer=method.optimizer.init(u),
        step=jnp.zeros((), jnp.int32),
        best=u,
        best_value=jnp.asarray(jnp.inf, jnp.float32),
        first_value=jnp.asarray(jnp.inf, jnp.float32),
        rate_scale=jnp.ones((), jnp.float32),
        failures=jnp.zeros((), jnp.int32),
    )


def step(method: Method, phi: Representation, problem: Problem, state: State) -> State:
    """One gradient step, or its undoing: a step that left the finite or exploded goes back to the best picture,
    forgets the optimiser's momentum and halves the rate."""
    if method.sharpness is not None:
        phi = phi.softened(method.sharpness(state.step)) or phi

    def value_fn(u: Image) -> tuple[Array, dict[str, Array]]:
        return method.objective(u, phi, problem.target, problem.weights)

    (value, _), gradient = jax.value_and_grad(value_fn, has_aux=True)(state.u)
    first_value = jnp.where(state.step == 0, value, state.first_value)
    sane = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)) & (value <= EXPLOSION * jnp.maximum(first_value, 1.0))
    improved = sane & ((value < state.best_value) | (state.step < method.settled))
    best = jnp.where(improved, state.u, state.best)

    updates, moved = optax.with_extra_args_support(method.optimizer).update(
        gradient, state.optimizer, state.u, value=value, grad=gradient, value_fn=lambda u: value_fn(u)[0]
    )
    gone = state.failures > MAX_FAILURES
    forward = jnp.where(gone, state.u, state.u + state.rate_scale * updates)
    return State(
        u=jnp.where(sane, forward, best),
        optimizer=jax.tree.map(functools.partial(_keep_or_clear, sane), moved, method.optimizer.init(best)),
        step=state.step + 1,
        best=best,
        best_value=jnp.where(improved, value, state.best_value),
        first_value=first_value,
        rate_scale=jnp.where(sane, state.rate_scale, state.rate_scale / 2),
        failures=state.failures + ~sane,
    )


def _keep_or_clear(keep: Array, moved: Array, fresh: Array) -> Array:
    """Clears what an optimiser remembers of gradients; its counters (integers) go on, schedules depend on them."""
    return jnp.where(keep, moved, fresh) if jnp.issubdtype(moved.dtype, jnp.floating) else moved


def batched_start(method: Method, phi: Representation, problems: Problem, image_shape: tuple[int, int, int]) -> State:
    """States of a batch of problems at step 0; phi and problems of `devices.place`."""
    return devices.compute(_start, (method, image_shape), phi, problems)


def _start(method: Method, image_shape: tuple[int, int, int], _: Representation, problem: Problem) -> State:
    return start(method, problem, image_shape)


def advance(method: Method, phi: Representation, problems: Problem, states: State, steps: int) -> State:
    """`steps` steps of a batch, without leaving the device; the old states' memory is used again."""
    function, settings, numbers = stretch(method, steps)
    return devices.compute(function, settings, phi, problems, numbers=numbers, spent=(states,), together=phi.together)


def stretch(method: Method, steps: int) -> tuple[Callable[..., State], tuple[Any, ...], tuple[int, ...]]:
    """The function that takes `steps` steps, its settings, and its numbers, for `devices.compute`.

    A CPU has one program for all numbers of steps, and thereby the same bits however a descent is cut; an accelerator
    has one for this number, and need not ask the host to go on.
    """
    return (steps_of, (method,), (steps,)) if devices.sequential() else (steps_of, (method, steps), ())


def steps_of(method: Method, steps: int | Array, phi: Representation, problem: Problem, state: State) -> State:
    """`steps` steps of one reconstruction."""
    return jax.lax.fori_loop(0, steps, lambda _, state: step(method, phi, problem, state), state)


@dataclasses.dataclass(frozen=True)
class Progress:
    """A batch between two stretches of steps.

    Attributes:
        states: where it stands, perhaps filled up by `devices.place`; its memory is used again when the next stretch
            begins.
        step: steps done.
        history: terms of the true objective, float32 [batch, points]; "step" is int [points].
    """

    states: State
    step: int
    history: dict[str, np.ndarray]


def detached(progress: Progress) -> Progress:
    """A copy that no device holds and nothing fills up: to be kept, and to go on from on any number of devices."""
    return dataclasses.replace(progress, states=devices.trimmed(progress.states, len(progress.history["total"])))


def state_structure(method: Method, image_shape: tuple[int, int, int]) -> Any:
    """The pytree structure of a State, to rebuild one from its leaves."""
    # the structure depends on the optimiser only: any problem will do
    weights = {name: jnp.ones(()) for name, _ in method.objective.regularizers}
    problem = Problem(jnp.zeros(()), jax.random.key(0), weights)
    return jax.tree.structure(jax.eval_shape(lambda: start(method, problem, image_shape)))


def solve(
    method: Method,
    phi: Representation,
    problems: Problem,
    image_shape: tuple[int, int, int],
    steps: int,
    every: int = 10,
    resume: Progress | None = None,
) -> Iterator[Progress]:
    """Runs a batch, and yields at the start and after every `every` steps.

    Args:
        method: how.
        phi: the representation.
        problems: a batch of problems, leading axis N.
        image_shape: [H, W, C] of the pictures to be found.
        steps: gradient steps in all.
        every: steps between two points of the history.
        resume: an earlier Progress of the same run to go on from.

    Yields:
        Progress where it starts and after each stretch; the last one has step == steps.
    """
    size = devices.count(problems)
    phi, problems = devices.place(phi, problems)

    def recorded(states: State, at: int, history: dict[str, np.ndarray]) -> Progress:
        terms = devices.trimmed(devices.compute(_terms, (method.objective,), phi, problems, states.u), size)
        points = {name: value[:, None] for name, value in terms.items()} | {"step": np.array([at])}
        if history:
            points = {name: np.concatenate([history[name], value], axis=-1) for name, value in points.items()}
        return Progress(states, at, points)

    if resume is None:
        progress = recorded(batched_start(method, phi, problems, image_shape), 0, {})
    else:
        progress = dataclasses.replace(resume, states=devices.place(phi, resume.states)[1])
    yield progress
    while progress.step < steps:
        taken = min(every, steps - progress.step)
        states = advance(method, phi, problems, progress.states, taken)
        progress = recorded(states, progress.step + taken, progress.history)
        yield progress


@dataclasses.dataclass(frozen=True)
class Inversion:
    """Reconstructions of one or more features, NumPy arrays with a leading axis of reconstructions.

    Attributes:
        images: float32 [N, H, W, C], true pixel values minus the representation's mean; always finite.
        relative_error: float32 [N], ‖Φ − Φ₀‖² / ‖Φ₀‖² of the true representation.
        status: str [N]: "ok", "recovered" (steps were undone and the rate halved) or "diverged" (given up; the
            picture is the best there was, or the last sound one where the recipe's surrogate still changed).
        history: terms of the objective, float32 [N, points], and "step", int [points].
    """

    images: np.ndarray
    relative_error: np.ndarray
    status: np.ndarray
    history: dict[str, np.ndarray]


def finish(method: Method, phi: Representation, problems: Problem, progress: Progress) -> Inversion:
    """Picks the better of the last and the best picture by the true objective, and measures it."""
    size = devices.count(problems)
    phi, problems = devices.place(phi, problems)
    found = devices.compute(_better, (method.objective,), phi, problems, progress.states)
    images, errors, undone, failures = devices.trimmed((*found, progress.states.failures), size)
    failures = failures + undone
    hopeless = (failures > MAX_FAILURES) | ~np.isfinite(errors)
    status = np.where(hopeless, "diverged", np.where(failures > 0, "recovered", "ok"))
    return Inversion(images, errors, status, progress.history)


def _terms(objective: Objective, phi: Representation, problem: Problem, u: Image) -> dict[str, Array]:
    return objective(u, phi, problem.target, problem.weights)[1]


def _better(objective: Objective, phi: Representation, problem: Problem, state: State) -> tuple[Array, Array, Array]:
    best, last = _terms(objective, phi, problem, state.best), _terms(objective, phi, problem, state.u)
    take_last = jnp.isfinite(last["total"]) & ~(last["total"] >= best["total"])
    image = objective.picture(jnp.where(take_last, state.u, state.best))
    error = losses.euclidean(phi.apply(phi.params, image), problem.target)
    return image, error, ~jnp.isfinite(last["total"])


def split(problems: Problem, batch_size: int) -> Iterator[Problem]:
    """Cuts a batch into batches of at most `batch_size` problems, in order."""
    for first in range(0, problems.key.shape[0], batch_size):
        yield jax.tree.map(operator.itemgetter(slice(first, first + batch_size)), problems)


def check_target(phi: Representation, target: Feature, image_shape: tuple[int, int, int]) -> None:
    """Raises UserError unless `target` is a feature of phi that can be inverted."""
    phi.input.check(image_shape, phi.name)
    expected, got = phi.feature_shape(image_shape), jax.tree.map(jnp.shape, target)
    if expected != got:
        raise UserError(f"{phi.name} of a picture {list(image_shape)} has features {expected}, the target has {got}")
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(target)]
    if not all(np.isfinite(leaf).all() for leaf in leaves):
        raise UserError(f"the target feature of {phi.name} has values that are not finite")
    if not any(leaf.any() for leaf in leaves):
        raise UserError(f"the target feature of {phi.name} is all zero (a flat picture?): there is nothing to invert")
    for part, _ in phi.parts:
        if not any(np.any(leaf) for leaf in jax.tree.leaves(target[part])):
            raise UserError(f"the target feature of {phi.name} is all zero in {part}: leave this part out")


def invert(
    phi: Representation,
    target: Feature,
    *,
    key: Array,
    image_shape: tuple[int, int, int],
    restarts: int = 1,
    recipe: str | Recipe = "fast",
    lambda_tv: float | None = None,
    lambda_alpha: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    every: int = 10,
    **overrides: Any,
) -> Inversion:
    """Finds pictures whose feature is `target`.

    Args:
        phi: the representation.
        target: Φ₀ = phi(x₀), or any feature of the same shapes.
        key: a JAX random key; restart r starts from noise of fold_in(key, r), however many restarts there are.
        image_shape: [H, W, C] of the pictures to be found.
        restarts: reconstructions, ≥ 1.
        recipe: "fast", "paper", or a Recipe.
        lambda_tv: weight of total variation in the unit-norm form; default 0.5.
        lambda_alpha: weight of the α-norm; default the paper's, 4e-10·σ⁴.
        steps: gradient steps; default the recipe's.
        batch_size: reconstructions computed at once; default: as many as fit into memory. On a CPU the results do
            not depend on it, but for fully connected layers; these, and accelerators, round differently in another.
        every: steps between two points of the history.
        **overrides: further arguments of `recipes.prepare`: loss, alpha, beta, lambda_range.

    Returns:
        The reconstructions, leading axis `restarts`.

    Raises:
        UserError: impossible value, or a target that does not fit phi or is all zero.

    Source: Mahendran & Vedaldi, CVPR 2015, sections 2 and 3.
    """
    if restarts < 1:
        raise UserError(f"restarts must be at least 1, got {restarts}")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size must be at least 1, got {batch_size}")
    if every < 1:
        raise UserError(f"every must be at least 1, got {every}")
    check_target(phi, target, image_shape)
    method, weights, steps = prepare(
        phi, image_shape, recipe, steps=steps, lambda_tv=lambda_tv, lambda_alpha=lambda_alpha, **overrides
    )
    problems = batch_of(target, [restart_key(key, restart) for restart in range(restarts)], weights)
    size = batch_size or memory.batch_size(method, phi, problems, image_shape, restarts, min(every, steps)).size
    batches = split(problems, size)
    return concatenate([part for batch in batches for part in _solved(method, phi, batch, image_shape, steps, every)])


def _solved(
    method: Method, phi: Representation, problems: Problem, image_shape: tuple[int, int, int], steps: int, every: int
) -> list[Inversion]:
    """A batch; in halves, where the device's memory turns out not to hold it."""
    try:
        [last] = collections.deque(solve(method, phi, problems, image_shape, steps, every), maxlen=1)
        return [finish(method, phi, problems, last)]
    except jax.errors.JaxRuntimeError as error:
        if devices.count(problems) == 1 or not memory.exhausted(error):
            raise
    halves = split(problems, -(-devices.count(problems) // 2))
    return [part for half in halves for part in _solved(method, phi, half, image_shape, steps, every)]


def restart_key(key: Array, restart: int) -> Array:
    """The key of one restart, independent of how many there are."""
    return jax.random.fold_in(key, restart)


def batch_of(target: Feature, keys: Sequence[Array], weights: dict[str, float]) -> Problem:
    """A batch of problems with the same target and weights, one for each key."""
    count = len(keys)
    return Problem(
        jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), target),
        jnp.stack(keys),
        {name: jnp.full(count, weight, jnp.float32) for name, weight in weights.items()},
    )


def concatenate(parts: Sequence[Inversion]) -> Inversion:
    """Joins the results of batches."""

    def join(arrays: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(arrays))

    history = {"step": parts[0].history["step"]}
    for term in parts[0].history.keys() - {"step"}:
        history[term] = join(part.history[term] for part in parts)
    return Inversion(
        images=join(part.images for part in parts),
        relative_error=join(part.relative_error for part in parts),
        status=join(part.status for part in parts),
        history=history,
    )
