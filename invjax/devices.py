"""The one place that knows which devices there are: a function of one reconstruction over a batch, on all of them.

Devices cut a batch among them and nothing passes between them. An accelerator computes its part at once, by `vmap`. A
CPU computes its part one after the other: that is faster there (docs/performance.md), needs working memory for one, and
gives each reconstruction the very same bits in whatever batch it is.

**Fewer programs at once than a CPU has threads.** XLA's thread pool has as many threads as there are cores, or CPU
devices where these are more. When every thread is busy with a long program of its own, queues overflow and convolutions
compute wrong numbers, without a word (docs/performance.md, experiments/xla_cpu_race.py). So one CPU device more is
asked for than is used, and only one caller computes at a time.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # of this process
AXIS = "batch"
COPIES = 0.25  # of a CPU's memory that copies of the weights, one for each of its devices, may take
NO_CONVOLUTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


def use_all_cores() -> bool:
    """Makes JAX see as many CPU devices as there are cores, and the spare one: reconstructions then share the cores.

    What `invjax` does on the command line; in Python, call it before anything that JAX computes. Without it there is
    one CPU device, whose reconstructions are computed one after the other, each by all cores as far as XLA can.

    Returns:
        Whether it is so now: not where JAX was started before, or the user has said how many devices there are
        (`jax_num_cpu_devices`, `XLA_FLAGS=--xla_force_host_platform_device_count`).
    """
    config: Any = jax.config  # whose options have no types
    chosen = config.jax_num_cpu_devices != -1 or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if CORES > 1 and not chosen:
        with contextlib.suppress(RuntimeError):  # JAX was started before
            config.update("jax_num_cpu_devices", CORES + 1)
    return usable() == CORES if sequential() else True


def sequential() -> bool:
    """Whether a device computes its part of a batch one after the other: a CPU does."""
    return jax.default_backend() == "cpu"


_used: int | None = None


@contextlib.contextmanager
def using(count: int) -> Iterator[None]:
    """Uses the first `count` devices only, for the benchmark."""
    global _used
    before, _used = _used, count
    try:
        yield
    finally:
        _used = before


def usable() -> int:
    """How many devices may share a batch: all of this process, but of a CPU one less, and no more than cores."""
    there = jax.local_device_count()
    return _used or (max(1, min(CORES, there - 1)) if sequential() else there)


def sharing(phi: Any, size: int) -> int:
    """How many devices share a batch of `size`: none is idle, and copies of the weights leave room for the batch."""
    fitting = int(COPIES * host_memory() / max(1, nbytes(phi))) if sequential() else size
    return max(1, min(usable(), size, fitting))


def host_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def nbytes(arrays: Any) -> int:
    """Bytes of a pytree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays))


def count(batch: Any) -> int:
    """Reconstructions in a batch."""
    return len(jax.tree.leaves(batch)[0])


def rounded(size: int, devices: int) -> int:
    """Reconstructions that a batch is filled up to: a multiple of the devices that share it, and where accelerators
    have more than eight each, of eight times as many, so that batches of nearly the same size share a program."""
    unit = devices * (8 if not sequential() and size > 8 * devices else 1)
    return -(-size // unit) * unit


def place(phi: Any, *batches: Any) -> tuple[Any, ...]:
    """Brings what is computed with to the devices that will share it.

    Args:
        phi: what all reconstructions share.
        *batches: pytrees whose leaves have a leading axis [batch].

    Returns:
        The same; the last reconstruction is repeated until there are `rounded` ones.
    """
    devices = sharing(phi, count(batches))
    missing = rounded(count(batches), devices) - count(batches)
    if missing:
        batches = jax.tree.map(lambda leaf: jnp.concatenate([leaf, *[leaf[-1:]] * missing]), batches)
    if devices == 1:
        return phi, *batches
    whole, cut = (NamedSharding(_mesh(devices), spec) for spec in (PartitionSpec(), PartitionSpec(AXIS)))
    return jax.device_put(phi, whole), *jax.device_put(batches, cut)


def trimmed(batch: Any, size: int) -> Any:
    """The first `size` of a batch that `place` has filled up, as NumPy arrays."""
    return jax.tree.map(lambda leaf: leaf[:size], jax.device_get(batch))


def _mesh(devices: int) -> Mesh:
    return Mesh(np.array(jax.local_devices()[:devices]), (AXIS,))


_turn = threading.Lock()


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
    devices = sharing(phi, size)
    run = program(function, settings, phi, size, together)
    arguments = tuple(_number(value, devices) for value in numbers), phi, batches, spent
    if not sequential():
        return run(*arguments)
    with _turn:
        return jax.block_until_ready(run(*arguments))


@functools.cache
def _number(value: int, devices: int) -> jax.Array:
    """A number on so many devices, brought there once."""
    return place(jax.device_put(np.int32(value)), np.zeros(devices))[0]


def program(function: Callable[..., Any], settings: tuple[Any, ...], phi: Any, size: int, together: int = 1) -> Any:
    """The jitted function (numbers, phi, batches, spent) that `compute` calls for a batch of `size`.

    Equal arguments give the same one, which compiles once.
    """
    devices = sharing(phi, size)
    return _program(function, settings, devices, min(together, -(-size // devices)) if sequential() else None)


@functools.cache
def _program(function: Callable[..., Any], settings: tuple[Any, ...], devices: int, group: int | None) -> Any:
    def part(numbers: Any, phi: Any, batches: Any, spent: Any) -> Any:
        """What one device computes: all at once, or groups one after the other."""

        def one(batch: Any) -> Any:
            return function(*settings, *numbers, phi, *batch)

        everything = (*batches, *spent)
        if group is None:
            return jax.vmap(one)(everything)
        return jax.lax.map(one, everything, batch_size=group if group > 1 else None)

    whole = part
    if devices > 1:  # nothing passes between them, so there is nothing to check
        specs = (PartitionSpec(), PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(AXIS))
        whole = jax.shard_map(part, mesh=_mesh(devices), in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False)

    def named(numbers: Any, phi: Any, batches: Any, spent: Any) -> Any:
        return whole(numbers, phi, batches, spent)

    named.__name__ = function.__name__  # as JAX calls it in its log
    return jax.jit(named, donate_argnums=3, compiler_options=compiler_options())


@functools.cache
def compiler_options() -> dict[str, Any] | None:
    """What XLA is told: on a CPU to leave products to YNNPACK, as it does, but not convolutions, which take up to three
    times as long there (docs/performance.md). A version of XLA without such an option has no such choice."""
    if not sequential():
        return None
    try:
        jax.jit(lambda: 0, compiler_options=NO_CONVOLUTIONS).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        logging.getLogger(__name__).info("XLA chooses by itself how to compute convolutions: %s", error)
        return None
    return NO_CONVOLUTIONS


def shapes(numbers: int, phi: Any, size: int, batches: tuple[Any, ...], spent: tuple[Any, ...]) -> tuple[Any, ...]:
    """Shapes of the arguments of `program`: so many numbers, and batches of `size` times shapes without that axis."""
    devices = sharing(phi, size)
    whole, cut = (NamedSharding(_mesh(devices), PartitionSpec(*axes)) for axes in ((), (AXIS,)))

    def shape(leaf: Any, lead: tuple[int, ...], sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype, sharding=sharding if devices > 1 else None)

    shared = jax.tree.map(lambda leaf: shape(leaf, (), whole), ((np.int32(0),) * numbers, phi))
    return *shared, *jax.tree.map(lambda leaf: shape(leaf, (rounded(size, devices),), cut), (batches, spent))
