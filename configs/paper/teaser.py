"""Figure 1 of the paper: five pictures that look the same to the last layer before the softmax.

invjax run paper/teaser:squeezenet --workdir out/teaser
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start

LAYERS = {"caffenet": ("fc8",), "squeezenet": ("pool_final",)}


def get_config(network: str = "caffenet") -> ConfigDict:
    """Five restarts."""
    config = start(network, LAYERS)
    config.restarts = 5
    config.figure.columns = "restart"
    return config
