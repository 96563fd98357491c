"""Networks by name, as Flax modules: `get("caffenet")`, `names()`.

Tables of layers and what computes them; nothing here knows of representations, weights files or runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from invjax.errors import UserError, suggestion
from invjax.networks.alexnet import alexnet, alexnet_owt, caffenet, vgg_m
from invjax.networks.network import PRECISIONS, Layer, Network
from invjax.networks.squeezenet import squeezenet
from invjax.networks.vgg import vgg16, vgg19

__all__ = ["PRECISIONS", "Layer", "Network", "factory", "get", "names"]

# A new network is one table in its own file, and its name here.
_FACTORIES: dict[str, Callable[[], Network]] = {
    "caffenet": caffenet,
    "alexnet": alexnet,
    "vgg_m": vgg_m,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "squeezenet": squeezenet,
    "alexnet_owt": alexnet_owt,
}


def names() -> list[str]:
    """Names that `get` knows."""
    return list(_FACTORIES)


def factory(name: str) -> Callable[[], Network]:
    """The function behind a name; its docstring describes the network.

    Raises:
        UserError: unknown name; the message lists the valid ones and the nearest.
    """
    if name not in _FACTORIES:
        raise UserError(f"unknown network '{name}'. {suggestion(name, names())}")
    return _FACTORIES[name]


@functools.cache
def get(name: str) -> Network:
    """The network of that name.

    Raises:
        UserError: unknown name.
    """
    return factory(name)()
