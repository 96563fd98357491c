"""What the kept part of a masked feature sees of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from invjax import masks
from invjax.runs import sweep
from invjax.types import Layer


class Box(NamedTuple):
    """A rectangle of a picture, pixels: left and top inside, right and bottom behind it."""

    left: int
    top: int
    right: int
    bottom: int


def box(layer: Layer, mask: str, positions: tuple[int, int], width: int, height: int) -> Box | None:
    """The receptive field of the positions that a mask of a layer keeps, cut at the picture's border.

    Args:
        layer: what was inverted.
        mask: as in a config, "centre 5x5"; empty for none.
        positions: of its feature, [rows, columns].
        width, height: of the picture, pixels.

    Returns:
        The box, or None where no positions are left out, or nobody knows what they see.
    """
    if not mask or "centre" not in masks.parse(mask) or not layer.window:
        return None
    assert layer.offset is not None and layer.stride is not None
    size = masks.parse(mask)["centre"]
    kept = masks.centre((*positions, 1), *size)[..., 0]
    rows, columns = (np.flatnonzero(kept.any(axis)) for axis in (1, 0))
    return Box(
        max(0, layer.offset + int(columns[0]) * layer.stride),
        max(0, layer.offset + int(rows[0]) * layer.stride),
        min(width, layer.offset + int(columns[-1]) * layer.stride + layer.window),
        min(height, layer.offset + int(rows[-1]) * layer.stride + layer.window),
    )


def masks_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The mask of each variant of a run, by its name; by "" where nothing is swept.

    Args:
        config: of config.json.
    """
    variants = sweep.by_name(config.get("sweep")) or {"": {}}
    return {name: changes.get("mask", config.get("mask")) or "" for name, changes in variants.items()}
