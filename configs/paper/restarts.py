"""Several reconstructions of one code (figure 8 of the paper): what differs between them, the layer has forgotten.

invjax run paper/restarts:squeezenet --workdir out/restarts

restarts.csv, distances.csv and best_of_k.csv say how far they are apart, at every layer; --config.weights=random and
--config.sweep="{'weights': ('', 'random')}" are the control.

Runtime of SqueezeNet on two busy cores: 11 minutes, half a minute more for the study. Expected: relative_error 0.053,
0.086, 0.22 and 0.019.
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start

LAYERS = {
    "caffenet": ("pool5", "relu6", "relu7", "fc8"),
    "squeezenet": ("fire4/concat", "fire8/concat", "relu_conv_final", "pool_final"),
}


def get_config(network: str = "caffenet") -> ConfigDict:
    """Four restarts, studied."""
    config = start(network, LAYERS)
    config.restarts = 4
    config.study = True
    config.figure.rows, config.figure.columns = "layer", "restart"
    return config
