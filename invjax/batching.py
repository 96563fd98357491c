"""From one reconstruction to a batch: the one place that knows what a device is good at."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp


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
    count = len(jax.tree.leaves(batches)[0])
    lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], batches) for i in range(count)]
    with ThreadPoolExecutor(min(count, os.cpu_count() or 1)) as pool:
        results = list(pool.map(lambda lane: jax.block_until_ready(function(*lane)), lanes))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
