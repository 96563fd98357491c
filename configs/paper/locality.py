"""What the 5×5 neurons in the middle of a layer remember (figure 9 of the paper): less than they see, which is drawn on
the original.

invjax run paper/locality:squeezenet --workdir out/locality

Runtime of SqueezeNet on two busy cores: 1.5 minutes. Expected: relative_error from 0.0000 (relu_conv1) to 0.04
(fire8/concat).
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start

LAYERS = {
    "caffenet": ("conv1", "conv2", "conv3", "conv4", "conv5"),
    "squeezenet": ("relu_conv1", "fire2/concat", "fire4/concat", "fire6/concat", "fire8/concat"),
}


def get_config(network: str = "caffenet") -> ConfigDict:
    """The middle of five layers."""
    config = start(network, LAYERS)
    config.mask = "centre 5x5"
    config.figure.columns = "layer"
    config.figure.field = True
    return config
