"""Many pictures from an early, a middle and a late layer (figure 11 of the paper).

invjax run paper/diversity:squeezenet --workdir out/diversity --config.images=photos

Runtime of SqueezeNet on two busy cores: 17 minutes for four pictures. Expected: relative_error 0.014, 0.025, 0.062,
0.022, mean of four pictures.
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start

LAYERS = {
    "caffenet": ("norm1", "relu3", "pool5", "fc8"),
    "squeezenet": ("pool1", "fire4/concat", "fire8/concat", "pool_final"),
}


def get_config(network: str = "caffenet") -> ConfigDict:
    """A line per picture."""
    config = start(network, LAYERS)
    config.figure.rows, config.figure.columns = "image", "layer"
    return config
