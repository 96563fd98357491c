"""What the kept part of a masked feature sees of the picture."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from invjax import masks, networks
from invjax.experiment import sweep


class Box(NamedTuple):
    """A rectangle of a picture, pixels: left and top inside, right and bottom behind it."""

    left: int
    top: int
    right: int
    bottom: int


@functools.cache
def box(representation: str, layer: str, mask: str, width: int, height: int) -> Box | None:
    """The receptive field of the positions that a mask of a network's layer keeps, cut at the picture's border.

    Args:
        representation: name of a network.
        layer: of it.
        mask: as in a config, "centre 5x5"; empty for none.
        width, height: of the picture, pixels.

    Returns:
        The box, or None where no positions are left out: other masks, layers without positions, other representations.
    """
    if not mask or "centre" not in masks.parse(mask) or representation not in networks.names():
        return None
    network = networks.get(representation)
    if layer not in network.names():
        return None
    network = network.until(layer)
    seen = network.placement()[layer]
    if not seen.window:
        return None
    picture = jax.ShapeDtypeStruct((1, height, width, network.input.channels), np.float32)
    feature = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x)[0][layer], picture)
    kept = masks.named(mask, feature.shape[1:])
    rows, columns = (np.flatnonzero(kept.any(others)) for others in ((1, 2), (0, 2)))
    return Box(
        max(0, seen.offset + int(columns[0]) * seen.stride),
        max(0, seen.offset + int(rows[0]) * seen.stride),
        min(width, seen.offset + int(columns[-1]) * seen.stride + seen.window),
        min(height, seen.offset + int(rows[-1]) * seen.stride + seen.window),
    )


def masks_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The mask of each variant of a run, by its name; by "" where nothing is swept.

    Args:
        config: of config.json.
    """
    variants = sweep.by_name(config.get("sweep")) or {"": {}}
    return {name: changes.get("mask", config.get("mask")) or "" for name, changes in variants.items()}
