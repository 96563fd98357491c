"""From one reconstruction to a batch: the one place that knows which devices there are and what they are good at.

A CPU computes one reconstruction per core at a time: that is faster there than `vmap` (docs/performance.md), needs
working memory for as many as there are cores, and gives each the very same bits in whatever batch it is (matrix
products round differently in other batch sizes). An accelerator computes the batch at once, by `vmap`. Several devices
cut the batch among them; nothing passes between them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import operator
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # of this process
AXIS = "batch"
NO_CONVOLUTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of one reconstruction and what it is told before: `function(*settings, phi, *one)`.

    Equal programs compile once, which a lambda or a `functools.partial` would not.
    """

    function: Callable[..., Any]
    settings: tuple[Any, ...] = ()

    def __call__(self, phi: Any, *one: Any) -> Any:
        """Of one reconstruction."""
        return self.function(*self.settings, phi, *one)

    @property
    def __name__(self) -> str:
        """As JAX shall call it in its log."""
        return self.function.__name__

    def repeated(self, steps: int) -> Program:
        """The program that takes a state through this one again and again, without leaving the device.

        It is told how often beside phi, so that a CPU has one program for all numbers of steps, and thereby the same
        bits however a descent is cut; an accelerator has one for this number, and need not ask the host to go on.
        """
        return Program(repeat, (self, None if one_at_a_time() else steps))


def repeat(program: Program, fixed: int | None, shared: tuple[Any, Any], problem: Any, state: Any) -> Any:
    """A program (phi, problem, state) → state, as often as `shared` = (phi, steps) says, or fixed."""
    phi, steps = shared
    return jax.lax.fori_loop(0, fixed or steps, lambda _, state: program(phi, problem, state), state)


def one_at_a_time() -> bool:
    """Whether a device is better off without `vmap`: a CPU is."""
    return jax.default_backend() == "cpu"


_used: int | None = None


@contextlib.contextmanager
def using(count: int) -> Iterator[None]:
    """Uses the first `count` devices only, for the benchmark: batches are placed and computed by as many."""
    global _used
    before, _used = _used, count
    try:
        yield
    finally:
        _used = before


def devices() -> int:
    """How many devices share a batch: all of this process, but for `using`."""
    return _used or jax.local_device_count()


def rounded(size: int) -> int:
    """Reconstructions that a batch is filled up to: a multiple of the devices, and where each has more than eight, of
    eight times as many, so that batches of nearly the same size share a program."""
    unit = devices() * (8 if not one_at_a_time() and size > 8 * devices() else 1)
    return -(-size // unit) * unit


def place(batch: Any) -> Any:
    """A batch where it will be computed.

    Args:
        batch: a pytree whose leaves have a leading axis [batch].

    Returns:
        The same, on several devices cut among them; the last reconstruction is repeated until there are `rounded` ones.
    """
    missing = rounded(count(batch)) - count(batch)
    if missing:
        batch = jax.tree.map(lambda leaf: jnp.concatenate([leaf, *[leaf[-1:]] * missing]), batch)
    return batch if devices() == 1 else jax.device_put(batch, NamedSharding(_mesh(), PartitionSpec(AXIS)))


def everywhere(phi: Any) -> Any:
    """What all reconstructions share, on all devices."""
    return phi if devices() == 1 else jax.device_put(phi, NamedSharding(_mesh(), PartitionSpec()))


def trimmed(batch: Any, size: int) -> Any:
    """The first `size` of a batch that `place` has filled up, as NumPy arrays."""
    return jax.tree.map(lambda leaf: leaf[:size], jax.device_get(batch))


def count(batch: Any) -> int:
    """Reconstructions in a batch."""
    return len(jax.tree.leaves(batch)[0])


def _mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()[: devices()]), (AXIS,))


def for_each(program: Program, phi: Any, *batches: Any) -> Any:
    """Applies a program of one reconstruction to a batch of them.

    Args:
        program: of one reconstruction.
        phi: what all share, of `everywhere`.
        *batches: pytrees whose leaves have a leading axis [batch], of `place`.

    Returns:
        Its results, leaves with the same leading axis.
    """
    if in_turns():
        return _on_cores(jitted(program, None), None, phi, *batches)
    return jitted(program, 1)(phi, *batches)


def iterate(program: Program, steps: int, phi: Any, problems: Any, states: Any, together: int = 1) -> Any:
    """Takes the states of a batch through a program of one reconstruction, again and again.

    Args:
        program: (phi, problem, state) → state.
        steps: how often, ≥ 1.
        phi: what all share, of `everywhere`.
        problems: what stays, of `place`.
        states: where they start, of `place`; their memory is used again.
        together: reconstructions that share a program on a CPU, at most; fewer where cores would be idle otherwise.

    Returns:
        The states.
    """
    shared = phi, _number(steps, devices())
    function = chunk(program, steps, count(problems), together)
    if in_turns():
        return _on_cores(function, group_size(count(problems), together), shared, problems, states)
    return function(shared, problems, states)


@functools.cache
def _number(value: int, devices: int) -> jax.Array:
    """A number on so many devices, brought there once."""
    return everywhere(jax.device_put(np.int32(value)))


def chunk(program: Program, steps: int, total: int, together: int = 1) -> Any:
    """The jitted function ((phi, steps), problems, states) that `iterate` calls for a batch of `total`."""
    return jitted(program.repeated(steps), group_size(total, together) if in_turns() else together, donate=True)


def shapes(phi: Any, total: int, one: tuple[Any, ...], together: int = 1) -> tuple[Any, ...]:
    """Shapes of the arguments of `chunk`, for a batch of `total` times `one`, arrays or shapes without a batch axis."""
    size = group_size(total, together) if in_turns() else rounded(total)
    lead = () if size is None else (size,)

    def shape(leaf: Any, lead: tuple[int, ...], *axes: str) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(_mesh(), PartitionSpec(*axes)) if devices() > 1 else None
        return jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype, sharding=sharding)

    shared = jax.tree.map(lambda leaf: shape(leaf, ()), (phi, np.int32(0)))
    return shared, *jax.tree.map(lambda leaf: shape(leaf, lead, AXIS), one)


def group_size(total: int, together: int) -> int | None:
    """Reconstructions of a batch that a core computes in one program; None: one, without a leading axis."""
    return min(together, -(-total // CORES)) if together > 1 and total > 1 else None


def in_turns() -> bool:
    """Whether a batch is computed one after the other by the cores of a CPU; else it is one program."""
    return devices() == 1 and one_at_a_time()


def jitted(program: Program, size: int | None, donate: bool = False) -> Any:
    """The jitted function (phi, *batches) that computes a program on the devices there are.

    Args:
        program: of one reconstruction.
        size: reconstructions that share a program on a CPU; None: the function is of one, without a leading axis.
        donate: whether the second batch's memory may be used again.
    """
    return _jitted(program, size, devices(), one_at_a_time(), donate)


@functools.cache
def _jitted(program: Program, size: int | None, devices: int, by_turns: bool, donate: bool) -> Any:
    function: Callable[..., Any] = program
    if size is not None:
        function = _batched(program, size if by_turns and devices > 1 else None)
        function = _shared(function) if devices > 1 else function
        function.__name__ = program.__name__
    return jax.jit(function, donate_argnums=(2,) if donate else (), compiler_options=compiler_options())


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """What XLA is told: on a CPU to leave products to YNNPACK, as it does, but not convolutions, which take up to three
    times as long there (docs/performance.md). A version of XLA without such an option has no such choice."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=NO_CONVOLUTIONS).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        logging.getLogger(__name__).info("XLA chooses by itself how to compute convolutions: %s", error)
        return None
    return NO_CONVOLUTIONS


def _batched(program: Program, size: int | None) -> Callable[..., Any]:
    """A batch at once; or on a device that others sit beside, `size` of it after the other."""

    def batched(phi: Any, *batches: Any) -> Any:
        if size is None:
            return jax.vmap(functools.partial(program, phi))(*batches)
        group = min(size, count(batches)) if size > 1 else None
        return jax.lax.map(lambda one: program(phi, *one), batches, batch_size=group)

    return batched


def _shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Each device computes its part of the batches; nothing passes between them, so there is nothing to check."""

    def shared(phi: Any, *batches: Any) -> Any:
        parts = (PartitionSpec(), *[PartitionSpec(AXIS)] * len(batches))
        cut = jax.shard_map(function, mesh=_mesh(), in_specs=parts, out_specs=PartitionSpec(AXIS), check_vma=False)
        return cut(phi, *batches)

    return shared


def executable(function: Any, *arguments: Any) -> jax.stages.Compiled:
    """Compiles a jitted function for arguments, or their shapes, unless that was done before; it shall not be run."""
    leaves, structure = jax.tree.flatten(arguments)
    return _executable(function, structure, tuple(map(_shape, leaves)))


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    return jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=sharding if isinstance(sharding, NamedSharding) else None
    )


@functools.cache
def _executable(function: Any, structure: Any, shapes: tuple[Any, ...]) -> jax.stages.Compiled:
    return function.lower(*jax.tree.unflatten(structure, shapes)).compile()


def _on_cores(function: Any, size: int | None, phi: Any, *batches: Any) -> Any:
    """Groups of that size, or without a leading axis at all, computed by as many threads as there are cores.

    All groups have the same size (some are computed twice for that), so that there is one compilation.
    """
    groups = _cut(batches, size)
    executable(function, phi, *groups[0])  # threads would compile it side by side
    with ThreadPoolExecutor(min(len(groups), CORES)) as pool:
        results = list(pool.map(lambda group: jax.block_until_ready(function(phi, *group)), groups))
    return _join(results, count(batches), size)


# one program each: array by array, cutting and joining a batch of 16 took longer than two steps up to norm1


@functools.partial(jax.jit, static_argnums=1)
def _cut(batches: Any, size: int | None) -> list[Any]:
    if size is None:
        return [jax.tree.map(operator.itemgetter(i), batches) for i in range(count(batches))]
    # the last group begins early enough to be full
    starts = [min(first, count(batches) - size) for first in range(0, count(batches), size)]
    return [jax.tree.map(operator.itemgetter(slice(start, start + size)), batches) for start in starts]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _join(results: list[Any], total: int, size: int | None) -> Any:
    if size is None:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
    fresh = total - size * (len(results) - 1)  # of the last group
    return jax.tree.map(lambda *leaves: jnp.concatenate([*leaves[:-1], leaves[-1][size - fresh :]]), *results)
