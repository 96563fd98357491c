"""What a reader finds in a file of weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Layers = dict[str, dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Found:
    """Arrays as the file has them, and what it says about the pictures they want.

    Attributes:
        layers: by the file's names of layers: {"weight": [out, in, h, w] or [out, in], "bias": [out]}, or "kernel" in
            place of "weight" where it is laid out as ours.
        colours: order of the input channels, "rgb" or "bgr"; empty where the format does not tell.
        mean: R, G, B, what is subtracted from a picture of 0..255; None where the file does not tell.
        deviation: R, G, B, what the difference is divided by.
        network: name of the network they belong to, empty where the file does not tell.
    """

    layers: Layers
    colours: str
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    network: str = ""


def by_layer(arrays: Mapping[str, np.ndarray], separator: str) -> Layers:
    """{"conv1/weight": array, …} as {"conv1": {"weight": array, …}, …}."""
    layers: Layers = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(separator)
        layers.setdefault(layer, {})[kind] = array
    return layers


def allowance(path: Path) -> int:
    """How many bytes a compressed file may unpack to: far more than weights do, far less than a bomb."""
    return 2**24 + 20 * path.stat().st_size
