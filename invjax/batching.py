"""From one reconstruction to a batch: the one place that knows what a device is good at."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

CORES = os.cpu_count() or 1


def one_at_a_time() -> bool:
    """Whether the device is better off without `vmap`: a CPU is."""
    return jax.default_backend() == "cpu"


def for_each(function: Callable[..., Any], *batches: Any) -> Any:
    """Applies a function of one reconstruction to a batch of them.

    An accelerator computes the batch at once, by `vmap`. A CPU computes one reconstruction per core at a time: that
    is faster there (docs/performance.md), needs working memory for as many reconstructions as there are cores, and
    gives each the very same bits in whatever batch it is (matrix products round differently in other batch sizes).

    Args:
        function: of one reconstruction, calls jitted functions.
        *batches: its arguments, pytrees whose leaves have a leading axis [batch].

    Returns:
        Its results, leaves with the same leading axis.
    """
    if not one_at_a_time():
        return jax.vmap(function)(*batches)
    return _on_cores(function, None, batches)


def for_groups(function: Callable[..., Any], size: int, *batches: Any) -> Any:
    """Applies a function of a group of reconstructions to a batch of them, on a CPU: one group per core at a time.

    Args:
        function: of a group, pytrees whose leaves have a leading axis; calls jitted functions.
        size: of the groups at most; smaller where all cores would not be busy otherwise. All groups have the same size
            (some are computed twice for that), so that there is one compilation.
        *batches: its arguments, pytrees whose leaves have a leading axis [batch].

    Returns:
        Its results, leaves with the same leading axis.
    """
    count = len(jax.tree.leaves(batches)[0])
    return _on_cores(function, min(size, -(-count // CORES)), batches)


def _on_cores(function: Callable[..., Any], size: int | None, batches: tuple[Any, ...]) -> Any:
    """Groups of that size, or without a leading axis at all, computed by as many threads as there are cores."""
    groups = _cut(batches, size)
    with ThreadPoolExecutor(min(len(groups), CORES)) as pool:
        results = list(pool.map(lambda group: jax.block_until_ready(function(*group)), groups))
    return _join(results, len(jax.tree.leaves(batches)[0]), size)


# one program each: array by array, cutting and joining a batch of 16 took longer than two steps up to norm1


@functools.partial(jax.jit, static_argnums=1)
def _cut(batches: Any, size: int | None) -> list[Any]:
    count = len(jax.tree.leaves(batches)[0])
    if size is None:
        return [jax.tree.map(operator.itemgetter(i), batches) for i in range(count)]
    # the last group begins early enough to be full
    starts = [min(first, count - size) for first in range(0, count, size)]
    return [jax.tree.map(operator.itemgetter(slice(start, start + size)), batches) for start in starts]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _join(results: list[Any], count: int, size: int | None) -> Any:
    if size is None:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
    fresh = count - size * (len(results) - 1)  # of the last group
    return jax.tree.map(lambda *leaves: jnp.concatenate([*leaves[:-1], leaves[-1][size - fresh :]]), *results)
