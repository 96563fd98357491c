"""Masks: invert only a part of a feature.

A mask is an array of zeros and ones that multiplies the feature; `apply(phi, mask)` is the representation that
keeps only what the mask keeps. Positions are [row, column] of a feature [h, w, channels].
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from invjax.errors import UserError
from invjax.types import Array, Feature, Image, Params, Representation, Work, prepared, softened, work


def centre(shape: tuple[int, int, int], height: int, width: int) -> np.ndarray:
    """Keeps the central neighbourhood of positions, the paper's 5×5 (CVPR 2015, figure 9).

    Args:
        shape: of the feature, [h, w, channels].
        height, width: of the neighbourhood, in positions; an odd remainder goes to the bottom and right.

    Returns:
        float32 [h, w, 1].

    Raises:
        UserError: the neighbourhood is empty or larger than the feature.
    """
    if not (0 < height <= shape[0] and 0 < width <= shape[1]):
        raise UserError(f"a neighbourhood of {height}×{width} does not fit into {shape[0]}×{shape[1]} positions")
    mask = np.zeros((shape[0], shape[1], 1), np.float32)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    mask[top : top + height, left : left + width] = 1
    return mask


def channels(shape: tuple[int, ...], keep: Sequence[int]) -> np.ndarray:
    """Keeps some channels.

    Args:
        shape: of the feature, [..., channels].
        keep: channel numbers, 0-based.

    Returns:
        float32 [channels].

    Raises:
        UserError: no channel, or one that does not exist.
    """
    wrong = [k for k in keep if not 0 <= k < shape[-1]]
    if wrong or not len(keep):
        raise UserError(f"channels must be some of 0..{shape[-1] - 1}, got {wrong[0] if wrong else 'none'}")
    mask = np.zeros(shape[-1], np.float32)
    mask[list(keep)] = 1
    return mask


def channel_group(shape: tuple[int, ...], group: int, groups: int = 2) -> np.ndarray:
    """Keeps one of `groups` equal runs of channels, the paper's halves of filters (CVPR 2015, figure 10).

    Args:
        shape: of the feature, [..., channels].
        group: which one, 0-based.
        groups: how many; must divide the number of channels.

    Returns:
        float32 [channels].

    Raises:
        UserError: no such group, or the channels cannot be divided.
    """
    if groups < 1 or shape[-1] % groups or not 0 <= group < groups:
        raise UserError(f"{shape[-1]} channels have no group {group}, counted from 0, of {groups} equal ones")
    size = shape[-1] // groups
    return channels(shape, range(group * size, (group + 1) * size))


def named(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """The mask that a config asks for.

    Args:
        text: "centre 5x5" (positions), "group 1/2" (the first half of the channels), "channels 0:48", or several of
            these, "centre 5x5, channels 0:48": what all of them keep, their product.
        shape: of the feature.

    Returns:
        float32, broadcastable to the feature.

    Raises:
        UserError: no such mask, not of such a feature, or it keeps nothing.
    """
    parts = parse(text)
    if not isinstance(shape, tuple) or ("centre" in parts and len(shape) != 3):
        raise UserError(f"mask '{text}' does not fit a feature of shape {shape}")
    mask = functools.reduce(np.multiply, (_part(kind, *numbers, shape) for kind, numbers in parts.items()))
    if not mask.any():
        raise UserError(f"mask '{text}' keeps nothing: its parts have nothing in common")
    return mask


def _part(kind: str, first: int, last: int, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "group":
        return channel_group(shape, first - 1, last)
    if kind == "channels":
        return channels(shape, range(first, last))
    return centre((shape[0], shape[1], shape[2]), first, last)


def parse(text: str) -> dict[str, tuple[int, int]]:
    """{"centre": (5, 5), "channels": (0, 48)} of "centre 5x5, channels 0:48", and likewise of what else `named` knows.

    Raises:
        UserError: a part is none of them, or there are two of a kind.
    """
    parts: dict[str, tuple[int, int]] = {}
    for part in text.split(","):
        wanted = re.fullmatch(r"(centre|group|channels) +(\d+)([x/:])(\d+)", part.strip())
        if not wanted or wanted[3] != _SEPARATORS[wanted[1]]:
            known = "'centre 5x5', 'group 1/2', 'channels 0:48', or several: 'centre 5x5, channels 0:48'"
            raise UserError(f"unknown mask '{text}': write {known}")
        if wanted[1] in parts:
            raise UserError(f"mask '{text}': {wanted[1]} is there twice")
        parts[wanted[1]] = int(wanted[2]), int(wanted[4])
    return parts


_SEPARATORS = {"centre": "x", "group": "/", "channels": ":"}


@dataclasses.dataclass(frozen=True)
class Masked:
    """Φ times a mask; the mask is a parameter, so that another mask of the same shape does not compile again."""

    apply: Callable[[Params, Image], Feature]

    def __call__(self, params: Params, image: Image) -> Feature:
        """`params` are (Φ's own, mask)."""
        inner, mask = params
        return jax.tree.map(jnp.multiply, self.apply(inner, image), mask)

    def work(self) -> Work:
        """That of what is inside."""
        return work(self.apply)

    def softened(self, params: Params, sharpness: Array | float) -> tuple[Masked, Params] | None:
        """The mask of what is inside, softened; None where nothing inside is hard."""
        inner, mask = params
        soft = softened(self.apply, inner, sharpness)
        return None if soft is None else (Masked(soft[0]), (soft[1], mask))

    def prepared(self, params: Params) -> tuple[Masked, Params]:
        """The mask of what is inside, prepared."""
        inner, mask = params
        apply, inner = prepared(self.apply, inner)
        return Masked(apply), (inner, mask)


def apply(phi: Representation, mask: Feature) -> Representation:
    """The representation that keeps only what `mask` keeps.

    Args:
        phi: the representation.
        mask: float32, broadcastable to phi's feature (a dict of masks for a dict of features); several masks combine
            by multiplying them.

    Returns:
        A representation with features of the same shape, zero where the mask is zero.
    """
    return dataclasses.replace(phi, params=(phi.params, jax.tree.map(jnp.asarray, mask)), apply=Masked(phi.apply))
