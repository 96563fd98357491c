"""How long a job will take, without running it."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from invjax import descent, devices, memory
from invjax.recipes import Method
from invjax.types import Representation

# Fitted to steps of 15 layers and representations with both recipes, batches of 4, on two cores (see `seconds`).
PRODUCTS = 0.6  # rate of a step's products, relative to a product of two large matrices
FUSION = 2.3  # bytes of a program before fusion that pass in the time of one that is copied
STEP_SECONDS = 0.8e-3  # of starting the kernels of a step
ALONE = 1.4  # cores that a program keeps busy where there are more
COMPILE_SECONDS, COMPILE_SECONDS_PER_LINE = 0.8, 1.9e-3  # of everything that a job compiles, by the length of a step

PROBE_SECONDS = 0.15


@dataclasses.dataclass(frozen=True)
class Rates:
    """What the device can do, all cores of it: operations per second in matrix products, bytes per second copied."""

    products: float
    copies: float


def seconds(
    method: Method,
    phi: Representation,
    problems: descent.Problem,
    steps: int,
    reconstructions: int,
    batch: int,
) -> float:
    """Roughly how long a job takes on this device: compilation and all steps.

    Operations and bytes of a step, as counted in the program before it is compiled, at the rates that the device shows
    in a third of a second, now, with whatever else is running. For the 15 layers and representations of 64 to 512
    pixels that its constants were fitted to, with both recipes and batches of 4 and 1 on two cores, the estimate of a
    step was 0.55 to 1.85 times what it took, of more than half of them within a fifth. Compilation was timed on a
    busy machine only, accelerators not at all. Left out: pictures and features read, results written, and what an
    optimiser does beyond one gradient a step (line searches).

    Args:
        method: how the reconstructions are found.
        phi: the representation.
        problems: a batch, of which only the shapes are looked at.
        steps: gradient steps of each.
        reconstructions: in all, ≥ 0.
        batch: reconstructions at once, ≥ 1.

    Returns:
        Seconds; NaN where the device does not tell what a step costs.
    """
    costs = memory.costs(method, phi, problems)
    if costs is None:
        return math.nan
    full, rest = divmod(reconstructions, batch)
    stepping = full * _step_seconds(costs, phi, batch)
    if rest:
        stepping += _step_seconds(costs, phi, rest)
    return COMPILE_SECONDS + COMPILE_SECONDS_PER_LINE * costs.lines + steps * stepping


def _step_seconds(costs: memory.Costs, phi: Representation, batch: int) -> float:
    """One step of a batch, as `inversion.advance` computes it."""
    sharing = devices.sharing(batch)
    part = math.ceil(batch / sharing)
    if not devices.sequential():
        return STEP_SECONDS + _work_seconds(costs, part)
    size = min(memory.together(phi), part)
    cores = 1.0 if sharing == devices.CORES else ALONE  # that each device keeps busy
    return math.ceil(part / size) * (STEP_SECONDS + devices.CORES / cores * _work_seconds(costs, size))


def _work_seconds(costs: memory.Costs, size: int) -> float:
    """A program of that many reconstructions, which reads the weights once, on all cores."""
    rates = measure()
    operations, data = size * costs.flops, size * (costs.bytes - costs.shared) + costs.shared
    return operations / (PRODUCTS * rates.products) + data / (FUSION * rates.copies)


@functools.cache
def measure() -> Rates:
    """The rates of this device, measured once in a third of a second."""
    matrix, vector = jnp.ones((1024, 1024)), jnp.ones(2**22)  # a longer one would measure the system's allocation
    return Rates(
        products=2 * 1024**3 / _fastest(jnp.matmul, matrix, matrix),
        copies=2 * vector.nbytes / _fastest(lambda x: 1.5 * x + 2, vector),
    )


def _fastest(function: Callable[..., jax.Array], *arguments: jax.Array) -> float:
    """Seconds of the fastest call: other processes only ever make one slower."""
    run = jax.jit(function)
    run(*arguments).block_until_ready()  # compiles
    times: list[float] = []
    end = time.perf_counter() + PROBE_SECONDS
    while not times or time.perf_counter() < end:
        before = time.perf_counter()
        run(*arguments).block_until_ready()
        times.append(time.perf_counter() - before)
    return min(times)
