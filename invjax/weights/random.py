"""Random weights: the control that tells what training adds."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import numpy as np

from invjax.networks.network import Network
from invjax.weights.found import Layers


def draw(network: Network, seed: int, names: Iterable[str]) -> Layers:
    """Weights as networks are initialised: normal with variance 2 / inputs (He et al. 2015), biases zero.

    Args:
        network: what they are for.
        seed: of the random numbers, any integer.
        names: the layers wanted; which ones does not change the numbers.
    """
    shapes = network.parameter_shapes()
    return {name: _layer(shapes[name], seed, name) for name in names}


def _layer(shapes: dict[str, tuple[int, ...]], seed: int, name: str) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([seed % 2**64, zlib.crc32(name.encode())])
    kernel = generator.standard_normal(shapes["kernel"], np.float32)
    kernel *= np.float32(math.sqrt(2 / math.prod(shapes["kernel"][:-1])))
    return {"kernel": kernel, "bias": np.zeros(shapes["bias"], np.float32)}
