"""One picture, recovered from layer after layer (figure 6 of the paper), each with the weight of total variation that
suits it.

invjax run paper/layers:squeezenet --workdir out/layers
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start
from invjax.configs.paper.table_cnn import LAYERS


def get_config(network: str = "caffenet") -> ConfigDict:
    """Every layer."""
    config = start(network, LAYERS)
    config.figure.columns = "layer"
    return config
