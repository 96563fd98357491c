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

from invjax import devices, inversion, representations
from invjax.types import Array

ROUNDS, TAPS, CHANNELS, POSITIONS = 300, 16, 24, 4096  # enough of each for the fault that was found
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
        for _ in range(4):
            y = y - jnp.mean(y)
        return y

    return lax.fori_loop(0, rounds, once, picture)


def _reported() -> Answer:
    """DSIFT, which is the most sensitive, of a picture with flat parts: what a descent says of what it returns."""
    phi = representations.get("dsift")
    rows, columns = np.mgrid[:96, :96].astype(np.float32)
    shown = (100 * np.sin(rows / 9) * np.cos(columns / 7) * (rows < 60))[..., None]
    target = phi(jnp.asarray(shown))
    found = inversion.invert(phi, target, key=jax.random.key(0), image_shape=shown.shape, restarts=2, steps=60)
    off = 0.0
    for image, error in zip(found.images, found.relative_error, strict=True):
        feature, wanted = (np.asarray(value, np.float64) for value in (phi(jnp.asarray(image)), target))
        off = max(off, abs(float(error) / (np.sum((feature - wanted) ** 2) / np.sum(wanted**2)) - 1))
    question = "the error that a descent reports, against the picture's"
    return Answer(question, f"off by {off:.1g} relative", bool(off <= LIMIT))
