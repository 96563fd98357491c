"""Figure 1 of the paper: five pictures that look the same to the last layer before the softmax.

invjax run paper/teaser:squeezenet --workdir out/teaser

Runtime of SqueezeNet on two busy cores: 5 minutes. Expected: relative_error 0.018 to 0.021, of pictures that have
nothing else in common.
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
