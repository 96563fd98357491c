"""Weights of networks: where they are published, how files of others are read, and the cache of converted ones.

    invjax weights fetch squeezenet          # or: weights.fetch("squeezenet")
    weights.load(networks.get("squeezenet"))     # Weights(params, mean, source)

In the cache and in memory weights are {layer: {"kernel": float32, "bias": float32}} as `Network.parameter_shapes` has
them, for RGB pictures of 0..255 minus a mean per channel.
"""

from typing import TYPE_CHECKING, Any

from invjax.weights.catalog import ENTRIES, Entry
from invjax.weights.store import Weights, cache, import_file, load, stored

if TYPE_CHECKING:
    from invjax.weights.download import fetch

__all__ = ["ENTRIES", "Entry", "Weights", "cache", "fetch", "import_file", "load", "stored"]


def __getattr__(name: str) -> Any:
    """Imports `fetch` when it is asked for: `requests` takes long."""
    if name == "fetch":
        from invjax.weights.download import fetch

        return fetch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
