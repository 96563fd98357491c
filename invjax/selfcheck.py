"""Whether this machine computes right: `invjax check`, some seconds, most of which XLA compiles.

XLA has computed wrong numbers on CPUs without a word (docs/performance.md), so it is asked two questions: whether
descents that run at once are those that run alone, and whether a program reports the error of the picture it returns.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from invjax import devices, recipes, representations
from invjax.objective import Objective
from invjax.types import Array, Representation

ROUNDS, TAPS, CHANNELS, POSITIONS = 100, 16, 24, 2048  # enough of each for the fault that was found
PASSES = 12  # elementwise ones in a round
LIMIT = 1e-6  # relative, of a reported error
CLOSE = 1e-3  # relative, where a batch need not have the same bits


@dataclasses.dataclass(frozen=True)
class Answer:
    """One question, as it is told to the user.

    Attributes:
        question: what was asked.
        found: what came out.
        right: whether that is as it should be.
    """

    question: str
    found: str
    right: bool


def check() -> list[Answer]:
    """Asks this process's devices; call it where the computations that matter will run."""
    return [_at_once(), _reported()]


def _at_once() -> Answer:
    """Loops of convolutions, as many at once as devices share a batch, against one after the other."""
    count = max(2, devices.usable())
    rng = np.random.default_rng(0)
    pictures = jnp.asarray(rng.standard_normal((count, POSITIONS * count, CHANNELS), np.float32))
    kernel = jnp.asarray(rng.standard_normal((TAPS, CHANNELS, CHANNELS), np.float32) / np.sqrt(TAPS * CHANNELS))
    at_once = _rounds(kernel, pictures)
    alone = np.concatenate([_rounds(kernel, pictures[i : i + 1]) for i in range(count)])
    off = float(np.abs(at_once - alone).max())
    question = f"{count} loops of {ROUNDS} convolutions at once, on {devices.CORES} cores, against each alone"
    bound = 0.0 if devices.sequential() else CLOSE * float(np.abs(alone).max())
    return Answer(question, "the same bits" if off == 0 else f"off by up to {off:.2g}", off <= bound)


def _rounds(kernel: Array, pictures: Array) -> np.ndarray:
    kernel, batch = devices.place(kernel, pictures)
    return devices.trimmed(devices.compute(_loop, (), kernel, batch, numbers=(ROUNDS,)), len(pictures))


def _loop(rounds: Array, kernel: Array, picture: Array) -> Array:
    """Convolutions whose padding keeps them in Eigen, and elementwise passes that XLA cuts among threads."""
    pad = len(kernel) - 1

    def once(_: int, x: Array) -> Array:
        y = lax.conv_general_dilated(x[None], kernel, (1,), [(pad, pad)], dimension_numbers=("NWC", "WIO", "NWC"))[0]
        y = 2 * jnp.sin(y[: len(x)])
        for _ in range(PASSES):
            y = y - jnp.mean(y)
        return y

    return lax.fori_loop(0, rounds, once, picture)


def _reported() -> Answer:
    """DSIFT, which is the most sensitive, of a picture that is flat but for roundings: the error that a program reports
    when it makes the picture of u itself, and the error when it is given the picture."""
    phi, shape = representations.get("dsift"), (96, 96, 1)
    objective = recipes.prepare(phi, shape, "paper")[0].objective
    roundings = np.random.default_rng(0).integers(-4, 5, shape) * np.finfo(np.float32).eps
    u = jnp.asarray(np.float32(77.7 * (1 + roundings) / objective.scale))
    rows, columns = np.mgrid[:96, :96].astype(np.float32)
    waves = jnp.asarray(100 * np.sin(rows / 9) * np.cos(columns / 7))[..., None]
    feature, target = (np.asarray(jax.jit(phi)(x), np.float64) for x in (np.float32(objective.scale) * u, waves))
    expected = np.sum((feature - target) ** 2) / np.sum(target**2)
    placed, batch = devices.place(phi, (u[None], jnp.asarray(target, jnp.float32)[None]))
    [reported] = devices.trimmed(devices.compute(_error, (objective,), placed, batch), 1)
    off = abs(float(reported) / expected - 1)
    question = "the error that a program reports, against the picture's"
    return Answer(question, f"off by {off:.1g} relative", bool(off <= LIMIT))


def _error(objective: Objective, phi: Representation, given: tuple[Array, Array]) -> Array:
    u, target = given
    return objective(u, phi, target, {name: jnp.zeros(()) for name, _ in objective.regularizers})[1]["data"]
