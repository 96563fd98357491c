"""Inversion: many reconstructions of many features at once, from noise.

One reconstruction is a `Problem` and a `State` (descent.py), a batch has both with a leading axis. `solve` drives a
batch and hands back control every few steps; `invert` is the whole thing for one feature.
"""

from __future__ import annotations

import collections
import dataclasses
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invjax import devices, losses, memory
from invjax.augmentations import Augment
from invjax.descent import MAX_FAILURES, Problem, State, choose, ready, start, steps_of, stretch
from invjax.errors import UserError
from invjax.objective import Objective
from invjax.optimizers import Optimizer
from invjax.parameterizations import Parameterization
from invjax.recipes import Changes, Method, Recipe, prepare
from invjax.types import Array, Feature, Image, Loss, Params, Representation


def batched_start(method: Method, phi: Representation, problems: Problem) -> State:
    """States of a batch of problems at step 0; phi and problems of `devices.place`."""
    return devices.compute(_start, (method,), phi, problems)


def _start(method: Method, _: Representation, problem: Problem) -> State:
    return start(method, problem)


def advance(method: Method, phi: Representation, problems: Problem, states: State, steps: int) -> State:
    """`steps` steps of a batch, without leaving the device; the old states' memory is used again."""
    settings, numbers = stretch(method, steps)
    return devices.compute(
        steps_of, settings, phi, problems, numbers=numbers, spent=(states,), together=memory.together(phi)
    )


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


def solve(
    method: Method,
    phi: Representation,
    problems: Problem,
    steps: int,
    every: int = 10,
    resume: Progress | None = None,
) -> Iterator[Progress]:
    """Runs a batch, and yields at the start and after every `every` steps.

    Args:
        method: how.
        phi: the representation.
        problems: a batch of problems, leading axis N.
        steps: gradient steps in all.
        every: steps between two points of the history.
        resume: an earlier Progress of the same run to go on from.

    Yields:
        Progress where it starts and after each stretch; the last one has step == steps.
    """
    size = devices.count(problems)
    phi, problems = devices.place(phi.bare, problems)
    phi, evaluated = ready(phi), (method.objective, method.parameterization)

    def recorded(states: State, at: int, history: dict[str, np.ndarray]) -> Progress:
        terms = devices.trimmed(devices.compute(_terms, evaluated, phi, problems, states.params), size)
        points = {name: value[:, None] for name, value in terms.items()} | {"step": np.array([at])}
        if history:
            points = {name: np.concatenate([history[name], value], axis=-1) for name, value in points.items()}
        return Progress(states, at, points)

    if resume is None:
        progress = recorded(batched_start(method, phi, problems), 0, {})
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
        status: str [N]: "ok", "recovered" (steps were undone and the rate halved), "stuck" (the feature never changed,
            as of a rectified unit that is off at the start: take another key, a start that is a picture, the layer
            before the rectification, or more units) or "diverged" (given up; the
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
    phi, problems = devices.place(phi.bare, problems)
    evaluated = method.objective, method.parameterization  # not how the pictures were found: a program serves many
    found = devices.compute(_better, evaluated, phi, problems, progress.states.best, progress.states.params)
    images, errors, undone, failures = devices.trimmed((*found, progress.states.failures), size)
    failures = failures + undone
    hopeless = (failures > MAX_FAILURES) | ~np.isfinite(errors)
    status = np.where(failures > 0, "recovered", "ok")
    status = np.where(_unmoved(progress.history, size) & (errors > 0), "stuck", status)
    return Inversion(images, errors, np.where(hopeless, "diverged", status), progress.history)


def _unmoved(history: dict[str, np.ndarray], size: int) -> np.ndarray:
    """Whose loss has not changed in the last bit since the start, bool [size]."""
    data = history.get("data", np.zeros((size, 1)))
    return (data.shape[1] > 1) & (data == data[:, :1]).all(axis=1)


def pictures(method: Method, phi: Representation, progress: Progress) -> np.ndarray:
    """Where a batch stands, u of each reconstruction, float32 [batch, H, W, C] in units of σ."""
    found = devices.compute(_picture, (method,), phi.bare, progress.states)
    return devices.trimmed(found, len(progress.history["total"]))


def _picture(method: Method, _: Representation, state: State) -> Image:
    return method.parameterization.decode(state.params)


def _terms(
    objective: Objective, parameterization: Parameterization, phi: Representation, problem: Problem, params: Params
) -> dict[str, Array]:
    return objective(parameterization.decode(params), phi, problem.target, problem.weights)[1]


def _better(
    objective: Objective,
    parameterization: Parameterization,
    phi: Representation,
    problem: Problem,
    best: Params,
    last: Params,
) -> tuple[Array, Array, Array]:
    values = [_terms(objective, parameterization, phi, problem, params)["total"] for params in (best, last)]
    take_last = jnp.isfinite(values[1]) & ~(values[1] >= values[0])
    image = objective.picture(parameterization.decode(choose(take_last, last, best)))
    error = losses.euclidean(phi.apply(phi.params, image), problem.target)
    return image, error, ~jnp.isfinite(values[1])


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
    key: Array | int,
    image_shape: tuple[int, int, int],
    restarts: int = 1,
    recipe: str | Recipe = "fast",
    steps: int | None = None,
    lambda_tv: float | None = None,
    lambda_alpha: float | None = None,
    loss: str | Loss = "euclidean",
    regularizers: Changes | None = None,
    optimizer: Optimizer | None = None,
    start: np.ndarray | Callable[[Array, tuple[int, int, int]], Image] | None = None,
    parameterization: str | Parameterization | None = None,
    augment: Augment | None = None,
    batch_size: int | None = None,
    every: int = 10,
    **overrides: Any,
) -> Inversion:
    """Finds pictures whose feature is `target`.

    Args:
        phi: the representation.
        target: Φ₀ = phi(x₀), or any feature of the same shapes.
        key: a JAX random key, or a seed for one; restart r has fold_in(key, r), however many restarts there are.
        image_shape: [H, W, C] of the pictures to be found.
        restarts: reconstructions, ≥ 1.
        recipe: "fast", "paper", or a Recipe.
        steps: gradient steps; default the recipe's.
        lambda_tv: weight of total variation in the unit-norm form; default what suits phi.
        lambda_alpha: weight of the α-norm; default the paper's, 4e-10·σ⁴.
        loss, regularizers, optimizer, parameterization, augment: by name or the user's own, see `recipes.prepare`.
        start: a picture [H, W, C], or one for each restart, [restarts, H, W, C], in grey levels minus the mean, as
            `load_image` gives them and `images` holds them; or a function (key, image_shape) → such a picture. Default
            noise. Several restarts from one picture need an augment, or they would all be the same.
        batch_size: reconstructions computed at once; default: as many as fit into memory. On a CPU the results do
            not depend on it, but for fully connected layers; these, and accelerators, round differently in another.
        every: steps between two points of the history.
        **overrides: further arguments of `recipes.prepare`: alpha, beta, lambda_range.

    Returns:
        The reconstructions, leading axis `restarts`.

    Raises:
        UserError: impossible value, or a target that does not fit phi or is all zero.

    Source: Mahendran & Vedaldi, CVPR 2015, sections 2 and 3.
    """
    for name, number in (("restarts", restarts), ("batch_size", batch_size), ("every", every)):
        if number is not None and number < 1:
            raise UserError(f"{name} must be at least 1, got {number}")
    check_target(phi, target, image_shape)
    method, weights, steps = prepare(
        phi,
        image_shape,
        recipe,
        steps=steps,
        lambda_tv=lambda_tv,
        lambda_alpha=lambda_alpha,
        loss=loss,
        regularizers=regularizers,
        optimizer=optimizer,
        parameterization=parameterization,
        augment=augment,
        **overrides,
    )
    keys = [restart_key(random_key(key), restart) for restart in range(restarts)]
    problems = batch_of(target, keys, weights)
    if start is not None:
        problems = dataclasses.replace(problems, start=_starts(start, phi, method, keys, image_shape))
    size = batch_size or memory.batch_size(method, phi, problems, restarts, min(every, steps)).size
    batches = split(problems, size)
    return concatenate([part for batch in batches for part in _solved(method, phi, batch, steps, every)])


def _solved(method: Method, phi: Representation, problems: Problem, steps: int, every: int) -> list[Inversion]:
    """A batch; in halves, where the device's memory turns out not to hold it."""
    try:
        [last] = collections.deque(solve(method, phi, problems, steps, every), maxlen=1)
        return [finish(method, phi, problems, last)]
    except jax.errors.JaxRuntimeError as error:
        if devices.count(problems) == 1 or not memory.exhausted(error):
            raise
    halves = split(problems, -(-devices.count(problems) // 2))
    return [part for half in halves for part in _solved(method, phi, half, steps, every)]


def check_encodes(method: Method) -> None:
    """Raises UserError where a descent cannot start from a picture."""
    if method.parameterization.encode is None:
        raise UserError("this parameterization cannot start from a picture: leave out start, or take pixels or fourier")


def _starts(
    start: Any, phi: Representation, method: Method, keys: Sequence[Array], image_shape: tuple[int, int, int]
) -> Array:
    """The pictures to start from, one for each key, float32 [restarts, H, W, C]."""
    check_encodes(method)
    if callable(start):
        start = np.stack([np.asarray(start(key, image_shape)) for key in keys])
    pictures, shape = np.asarray(start), (len(keys), *image_shape)
    if pictures.shape not in (shape, shape[1:]):
        raise UserError(f"start must be a picture {list(image_shape)} or {list(shape)}, got {list(pictures.shape)}")
    if len(keys) > 1 and pictures.shape == shape[1:] and method.augment is None:
        raise UserError(
            f"{len(keys)} restarts from one picture would all be the same: give a picture for each, an augment, or "
            "restarts=1"
        )
    phi.input.check_values(pictures, "start")
    if not np.isfinite(pictures).all():
        raise UserError("start has values that are not finite")
    return jnp.broadcast_to(jnp.asarray(pictures, jnp.float32), shape)


def random_key(key: Array | int) -> Array:
    """A JAX random key, made of a seed where it is a whole number.

    Raises:
        UserError: it is neither.
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and 0 <= key < 2**32:
        return jax.random.key(int(key))
    if isinstance(key, jax.Array):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
        if typed or (key.dtype == jnp.uint32 and key.shape == (2,)):  # of jax.random.PRNGKey
            return key
    raise UserError(f"key must be a whole number from 0 to 2³²−1, or one key of jax.random.key, got {key!r}")


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
