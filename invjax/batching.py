"""From one reconstruction to a batch: the one place that knows what a device is good at."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
    return _on_cores(lambda *lane: _stacked([function(*_unstacked(lane))]), 1, batches)


def for_groups(function: Callable[..., Any], size: int, *batches: Any) -> Any:
    """Applies a function of a group of reconstructions to a batch of them, on a CPU: one group per core at a time.

    Args:
        function: of a group, pytrees whose leaves have a leading axis; calls jitted functions.
        size: of the groups at most; smaller where all cores would not be busy otherwise. All groups have the same size,
            the last one being filled up, so that there is one compilation.
        *batches: its arguments, pytrees whose leaves have a leading axis [batch].

    Returns:
        Its results, leaves with the same leading axis.
    """
    count = len(jax.tree.leaves(batches)[0])
    return _on_cores(function, min(size, -(-count // CORES)), batches)


def _on_cores(function: Callable[..., Any], size: int, batches: tuple[Any, ...]) -> Any:
    count = len(jax.tree.leaves(batches)[0])
    places = [np.minimum(np.arange(first, first + size), count - 1) for first in range(0, count, size)]
    groups = [jax.tree.map(lambda leaf, place=place: leaf[place], batches) for place in places]
    with ThreadPoolExecutor(min(len(groups), CORES)) as pool:
        results = list(pool.map(lambda group: jax.block_until_ready(function(*group)), groups))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *results)


def _stacked(results: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def _unstacked(group: Any) -> Any:
    return jax.tree.map(operator.itemgetter(0), group)
