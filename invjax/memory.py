"""How many reconstructions fit into memory at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import jax

from invjax.recipes import Method
from invjax.types import Representation

if TYPE_CHECKING:
    from invjax import inversion

SHARE = 0.25  # of the device's memory that a batch may take: the estimate is rough


def batch_size(
    method: Method, phi: Representation, problems: inversion.Problem, image_shape: tuple[int, int, int]
) -> int:
    """Reconstructions that fit into a quarter of the device's memory, ≥ 1.

    Args:
        method: how they are found.
        phi: the representation.
        problems: the batch, of which the first problem is looked at.
        image_shape: [H, W, C].
    """
    return max(1, int(SHARE * device_memory() / bytes_per_reconstruction(method, phi, problems, image_shape)))


def bytes_per_reconstruction(
    method: Method, phi: Representation, problems: inversion.Problem, image_shape: tuple[int, int, int]
) -> int:
    """Bytes that one step reads and writes before any fusion or reuse: an upper bound on what it needs at once.

    Arguments as in `batch_size`.
    """
    from invjax import inversion  # which itself asks for batch sizes

    problem = jax.tree.map(lambda leaf: leaf[0], problems)

    def first_step(phi: Representation, problem: inversion.Problem) -> inversion.State:
        return inversion.step(method, phi, problem, inversion.start(method, problem, image_shape))

    costs = jax.jit(first_step).lower(phi, problem).cost_analysis()
    if not costs:
        return device_memory()
    shared = sum(leaf.nbytes for leaf in jax.tree.leaves(phi.params))  # weights, which a batch has once
    return int(max(costs["bytes accessed"] - shared, costs["bytes accessed"] / 8))


def device_memory() -> int:
    """Bytes of memory of the default device."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
