"""What a step costs, and how many reconstructions fit into memory at once."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from typing import TYPE_CHECKING, Any

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
    step = costs(method, phi, problems, image_shape)
    return int(max(step.bytes - step.shared, step.bytes / 8)) if step else device_memory()


@dataclasses.dataclass(frozen=True)
class Costs:
    """What the start and one step of one reconstruction cost, as the program is written.

    Attributes:
        flops: operations on floating point numbers.
        bytes: read and written, before any fusion or reuse.
        shared: bytes of the weights, which a batch has once.
        lines: length of the program.
    """

    flops: float
    bytes: float
    shared: int
    lines: int


def costs(
    method: Method, phi: Representation, problems: inversion.Problem, image_shape: tuple[int, int, int]
) -> Costs | None:
    """The costs of a step, found without compiling or running it; None where the device does not tell.

    Arguments as in `batch_size`.
    """
    problem = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), problems)
    weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), phi)
    shapes, structure = jax.tree.flatten((weights, problem))
    return _costs(method, image_shape, structure, tuple(shapes))


@functools.lru_cache(maxsize=256)
def _costs(
    method: Method, image_shape: tuple[int, int, int], structure: jax.tree_util.PyTreeDef, shapes: tuple[Any, ...]
) -> Costs | None:
    """`costs` by shapes, which hash and keep no arrays alive."""
    from invjax import inversion  # which itself asks for batch sizes

    def first_step(phi: Representation, problem: inversion.Problem) -> inversion.State:
        return inversion.step(method, phi, problem, inversion.start(method, problem, image_shape))

    phi, problem = jax.tree.unflatten(structure, shapes)
    program = jax.jit(first_step).lower(phi, problem)
    counted = program.cost_analysis()
    if not counted:
        return None
    shared = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(phi))
    return Costs(counted["flops"], counted["bytes accessed"], shared, program.as_text().count("\n"))


def device_memory() -> int:
    """Bytes of memory of the default device."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
