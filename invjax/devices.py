"""The one place that knows which devices there are: a function of one reconstruction over a batch, on all of them.

Accelerators cut a batch among them, nothing passes between them, and each computes its part at once, by `vmap`. A CPU
computes one reconstruction per core at a time: that is faster there (docs/performance.md), needs working memory for as
many as there are cores, has the weights once, and gives each reconstruction the very same bits in whatever batch it is.
Programs that run side by side are compiled so that they may (`networks.cpu.may_run_side_by_side`).
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from invjax.networks.cpu import compiler_options, here, may_run_side_by_side

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # of this process
AXIS = "batch"


def backend() -> str:
    """What computes, in JAX's word for it: "cpu", "gpu", "tpu"."""
    return jax.default_backend()


def sequential() -> bool:
    """Whether a device computes its part of a batch one after the other: a CPU does."""
    return here()


_used: int | None = None


@contextlib.contextmanager
def using(count: int) -> Iterator[None]:
    """Uses the first `count` devices, or cores, only: for the benchmark."""
    global _used
    before, _used = _used, count
    try:
        yield
    finally:
        _used = before


def usable() -> int:
    """How many reconstructions may be computed side by side: by all devices of this process, or the cores of a CPU."""
    if not sequential():
        return _used or jax.local_device_count()
    return min(_used or CORES, CORES) if may_run_side_by_side() else 1


def sharing(size: int) -> int:
    """How many devices, or cores, share a batch of `size`."""
    return max(1, min(usable(), size))


def nbytes(arrays: Any) -> int:
    """Bytes of a pytree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays))


def count(batch: Any) -> int:
    """Reconstructions in a batch."""
    return len(jax.tree.leaves(batch)[0])


def rounded(size: int) -> int:
    """Reconstructions that a batch is filled up to: on accelerators a multiple of those that share it, and where they
    have more than eight each, of eight times as many, so that batches of nearly the same size share a program."""
    if sequential():
        return size
    devices = sharing(size)
    unit = devices * (8 if size > 8 * devices else 1)
    return -(-size // unit) * unit


def place(phi: Any, *batches: Any) -> tuple[Any, ...]:
    """Brings what is computed with to the devices that will share it.

    Args:
        phi: what all reconstructions share.
        *batches: pytrees whose leaves have a leading axis [batch].

    Returns:
        The same; the last reconstruction is repeated until there are `rounded` ones.
    """
    devices = sharing(count(batches))
    missing = rounded(count(batches)) - count(batches)
    if missing:
        batches = jax.tree.map(lambda leaf: jnp.concatenate([leaf, *[leaf[-1:]] * missing]), batches)
    # arrays of NumPy's would be brought to the device in each call of each thread
    phi = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, phi)
    if sequential() or devices == 1:
        return phi, *batches
    whole, cut = (NamedSharding(_mesh(devices), spec) for spec in (PartitionSpec(), PartitionSpec(AXIS)))
    return jax.device_put(phi, whole), *jax.device_put(batches, cut)


def trimmed(batch: Any, size: int) -> Any:
    """The first `size` of a batch that `place` has filled up, as NumPy arrays."""
    return jax.tree.map(lambda leaf: leaf[:size], jax.device_get(batch))


def _mesh(devices: int) -> Mesh:
    return Mesh(np.array(jax.local_devices()[:devices]), (AXIS,))


# reentrant: what Φ or a loss of the user's calls back may invert something itself
_turn = threading.RLock()


def compute(
    function: Callable[..., Any],
    settings: tuple[Any, ...],
    phi: Any,
    *batches: Any,
    numbers: tuple[int, ...] = (),
    spent: tuple[Any, ...] = (),
    together: int = 1,
) -> Any:
    """Applies a function of one reconstruction to a batch of them.

    Args:
        function: `function(*settings, *numbers, phi, *one)`, where `one` is of the batches and of the spent ones.
        settings: what the program is made for; they compare and hash by value.
        phi: what all share, of `place`.
        *batches: pytrees whose leaves have a leading axis [batch], of `place`.
        numbers: whole numbers that may change without another program.
        spent: more batches, whose memory may be used again.
        together: reconstructions that a CPU computes at once, at most; fewer where devices would be idle otherwise.

    Returns:
        Its results, leaves with the same leading axis.
    """
    size = count((batches, spent))
    run = program(function, settings, size, together)
    values = tuple(_number(value, 1 if sequential() else sharing(size)) for value in numbers)
    if not sequential():
        return run(values, phi, batches, spent)
    with _turn:
        # all groups have the same size (some are computed twice for that), so that there is one compilation
        group = _group(size, together)
        groups = _cut((batches, spent), group)
        executable(run, values, phi, *groups[0])  # threads would compile it side by side
        with ThreadPoolExecutor(sharing(len(groups))) as pool:
            results = list(pool.map(lambda part: jax.block_until_ready(run(values, phi, *part)), groups))
        return _join(results, size, group)


@functools.cache
def _number(value: int, devices: int) -> jax.Array:
    """A number on so many devices, brought there once."""
    number = jax.device_put(np.int32(value))
    return number if devices == 1 else jax.device_put(number, NamedSharding(_mesh(devices), PartitionSpec()))


def _group(size: int, together: int) -> int | None:
    """Reconstructions of a batch that a core computes in one program; None: one, without a leading axis."""
    return min(together, -(-size // sharing(size))) if together > 1 and size > 1 else None


def program(function: Callable[..., Any], settings: tuple[Any, ...], size: int, together: int = 1) -> Any:
    """The jitted function (numbers, phi, batches, spent) that `compute` calls for a batch of `size`: of all of it; on a
    CPU of one reconstruction, without a leading axis, or of one group.

    Equal arguments give the same one, which compiles once.
    """
    if not sequential():
        return _program(function, settings, sharing(size), True, False)
    group = _group(size, together)
    return _program(function, settings, 1, group is not None, min(usable(), -(-size // (group or 1))) > 1)


@functools.cache
def _program(
    function: Callable[..., Any], settings: tuple[Any, ...], devices: int, several: bool, side_by_side: bool
) -> Any:
    def part(numbers: Any, phi: Any, batches: Any, spent: Any) -> Any:
        """What one device computes."""

        def one(batch: Any) -> Any:
            return function(*settings, *numbers, phi, *batch)

        return jax.vmap(one)((*batches, *spent)) if several else one((*batches, *spent))

    whole = part
    if devices > 1:  # nothing passes between them, so there is nothing to check
        specs = (PartitionSpec(), PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(AXIS))
        whole = jax.shard_map(part, mesh=_mesh(devices), in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)

    def named(numbers: Any, phi: Any, batches: Any, spent: Any) -> Any:
        return whole(numbers, phi, batches, spent)

    named.__name__ = function.__name__  # as JAX calls it in its log
    return jax.jit(named, donate_argnums=3, compiler_options=compiler_options(side_by_side))


def shapes(
    numbers: int, phi: Any, size: int, batches: tuple[Any, ...], spent: tuple[Any, ...], together: int = 1
) -> tuple[Any, ...]:
    """Shapes of the arguments of `program`: so many numbers, and batches of `size` times shapes without that axis."""
    devices = 1 if sequential() else sharing(size)
    whole, cut = (NamedSharding(_mesh(devices), PartitionSpec(*axes)) for axes in ((), (AXIS,)))
    group = _group(size, together) if sequential() else rounded(size)

    def shape(leaf: Any, lead: tuple[int, ...], sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        found = _shape(leaf)
        return found.update(shape=(*lead, *leaf.shape), sharding=sharding if devices > 1 else None)

    shared = jax.tree.map(lambda leaf: shape(leaf, (), whole), ((np.int32(0),) * numbers, phi))
    lead = () if group is None else (group,)
    return *shared, *jax.tree.map(lambda leaf: shape(leaf, lead, cut), (batches, spent))


def executable(function: Any, *arguments: Any) -> jax.stages.Compiled:
    """Compiles a jitted function for arguments, or their shapes, unless that was done before; it shall not be run."""
    leaves, structure = jax.tree.flatten(arguments)
    key = function, structure, tuple(map(_shape, leaves))
    if key not in _executables:
        _executables[key] = function.lower(*jax.tree.unflatten(structure, key[-1])).compile()
    return _executables[key]


_executables: dict[Any, jax.stages.Compiled] = {}


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding, weak = getattr(leaf, "sharding", None), getattr(leaf, "weak_type", False)
    sharding = sharding if isinstance(sharding, NamedSharding) else None
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding, weak_type=weak)


# one program each: array by array, cutting and joining a batch of 16 took longer than two steps up to norm1


@functools.partial(jax.jit, static_argnums=1)
def _cut(batches: Any, group: int | None) -> list[Any]:
    if group is None:
        return [jax.tree.map(operator.itemgetter(i), batches) for i in range(count(batches))]
    # the last group begins early enough to be full
    starts = [min(first, count(batches) - group) for first in range(0, count(batches), group)]
    return [jax.tree.map(operator.itemgetter(slice(start, start + group)), batches) for start in starts]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _join(results: list[Any], total: int, group: int | None) -> Any:
    if group is None:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
    fresh = total - group * (len(results) - 1)  # of the last group
    return jax.tree.map(lambda *leaves: jnp.concatenate([*leaves[:-1], leaves[-1][group - fresh :]]), *results)
