"""What the weight of total variation does (figure 7 of the paper): small ones keep the feature, large ones look more
natural.

invjax run paper/tv_lambda:squeezenet --workdir out/tv_lambda

Runtime of SqueezeNet on two busy cores: 15 minutes. Expected: relative_error of fire4/concat 0.054, 0.14, 0.34, of
pool_final 0.006, 0.010, 0.021.
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start

LAYERS = {
    "caffenet": ("conv1", "conv2", "conv3", "conv4", "conv5", "fc8"),
    "squeezenet": ("relu_conv1", "fire2/concat", "fire4/concat", "fire6/concat", "fire8/concat", "pool_final"),
}


def get_config(network: str = "caffenet") -> ConfigDict:
    """The paper's three weights."""
    config = start(network, LAYERS)
    config.lambda_tv = (0.5, 5.0, 50.0)
    config.figure.rows, config.figure.columns = "lambda_tv", "layer"
    return config
