"""What a step costs, and how many reconstructions fit into memory at once."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import jax

from invjax import descent, devices
from invjax.recipes import Method
from invjax.types import Representation, work

SHARE, CPU_SHARE = 0.8, 0.5  # of the memory that a batch may take
TOGETHER = 8
FEW_OPERATIONS = 200  # for each weight: convolutions have more than 240, networks that end fully connected up to 160
LARGEST, LARGEST_PER_CORE = 256, 16  # of a device or core: more are not faster, and are kept less often


@dataclasses.dataclass(frozen=True)
class BatchSize:
    """How many reconstructions are computed at once, and in a line why."""

    size: int
    reason: str


def batch_size(
    method: Method,
    phi: Representation,
    problems: descent.Problem,
    wanted: int,
    every: int,
) -> BatchSize:
    """Reconstructions that the memory of the devices holds at once, by what their compiled program needs.

    The program is the one that will run, so that compiling it here is no work lost.

    Args:
        method: how they are found.
        phi: the representation.
        problems: a batch, of which only the shapes of one problem are looked at.
        wanted: reconstructions there are, ≥ 1.
        every: steps of a chunk.

    Returns:
        A size from 1 to `wanted`, and the reason.
    """
    budget = (CPU_SHARE if devices.sequential() else SHARE) * device_memory()

    def alike(size: int) -> int:
        """Not more than `size`, so that the last batch is not much smaller than the others."""
        return math.ceil(wanted / math.ceil(wanted / size))

    size, small = alike(largest(wanted)), False
    while (need := _need(method, phi, problems, size, every)) > budget and size > 1:
        fitting = int(size * budget / need) if need < math.inf else size // 2
        size, small = alike(max(1, min(size - 1, fitting))), True
    where = "memory" if devices.sequential() else "memory of each device"
    why = "all there are" if size == wanted else "more do not fit" if small else "more are not faster"
    text = f"batches of {size}, {why}: they need {_readable(need)} of {_readable(budget)} {where} to spend"
    return BatchSize(size, text)


def largest(wanted: int) -> int:
    """Reconstructions of which a batch is as fast as any, whatever they need; at most `wanted`."""
    return min(wanted, (LARGEST_PER_CORE * devices.CORES) if devices.sequential() else LARGEST * devices.usable())


def _need(
    method: Method,
    phi: Representation,
    problems: descent.Problem,
    size: int,
    every: int,
) -> float:
    """Bytes that a chunk of steps of a batch needs on each device; infinite where it does not even compile for that."""
    problem = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), problems)
    state = jax.eval_shape(lambda problem: descent.start(method, problem), problem)
    try:
        settings, numbers = descent.stretch(method, every)
        program = devices.program(descent.steps_of, settings, size, together(phi))
        ready = jax.eval_shape(descent.ready, phi.bare)
        shapes = devices.shapes(len(numbers), ready, size, (problem,), (state,), together(phi))
        compiled = devices.executable(program, *shapes)
    except jax.errors.JaxRuntimeError as error:
        if exhausted(error):
            return math.inf
        raise
    memory: Any = compiled.memory_analysis()
    working = memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    if not devices.sequential():
        return working + memory.argument_size_in_bytes
    # the batch, the parts that it is cut into, and as many of them at work as cores share it
    return devices.nbytes(ready) + 2 * size * devices.nbytes((problem, state)) + devices.sharing(size) * working


def together(phi: Representation) -> int:
    """Reconstructions that share a program on a core: more than one where there is so little to compute with each
    weight, as in fully connected layers, that reading the weights is what takes long."""
    needed = work(phi.apply)
    return TOGETHER if 0 < needed.operations < FEW_OPERATIONS * needed.weights else 1


def exhausted(error: Exception) -> bool:
    """Whether an error of JAX says that a device has no memory left."""
    return "RESOURCE_EXHAUSTED" in str(error)


def _readable(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def device_memory() -> int:
    """Bytes of memory of a device of this process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return pages if devices.sequential() else pages // devices.usable()
