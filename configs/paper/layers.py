"""One picture, recovered from layer after layer (figure 6 of the paper), each with the weight of total variation that
suits it.

invjax run paper/layers:squeezenet --workdir out/layers

Runtime of SqueezeNet on two busy cores: 14 minutes. Expected: relative_error from 0.022 (conv1) to 0.22
(relu_conv_final), 0.021 of the last layer.
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start
from invjax.configs.paper.table_cnn import LAYERS


def get_config(network: str = "caffenet") -> ConfigDict:
    """Every layer."""
    config = start(network, LAYERS)
    config.figure.columns = "layer"
    return config
