"""The paper's table of CNN layers: the error of every layer with three weights of total variation.

invjax weights fetch caffenet
invjax run paper/table_cnn --workdir out/table_cnn --config.images=photos
invjax run paper/table_cnn:squeezenet --workdir out/table_cnn_squeezenet --config.images=photos

--config.weights=random is the control and needs no weights. tables/errors.md has the table, the best weight of each
layer in bold; --dry_run tells the time. Runtime on two cores: a reconstruction of SqueezeNet 5 to 15 s (16 layers ×
3 weights × 8 pictures: 1.2 hours); of CaffeNet, by the times of docs/performance.md, 1 s from conv1 to 8 s from fc8.
Expected for SqueezeNet: docs/reproduction.md. The paper states for CaffeNet's fc8 a normalized_error of 5.3, 5.9 and
8.5 %, over 100 pictures; ours is not measured.
"""

from ml_collections import ConfigDict

from invjax import networks
from invjax.configs.paper import start

LAYERS = {
    "caffenet": networks.get("caffenet").names(),
    "squeezenet": (
        *("conv1", "relu_conv1", "pool1", "fire2/concat", "fire3/concat", "fire4/concat", "pool4"),
        *("fire5/concat", "fire6/concat", "fire7/concat", "fire8/concat", "pool8", "fire9/concat"),
        *("conv_final", "relu_conv_final", "pool_final"),
    ),
}


def get_config(network: str = "caffenet") -> ConfigDict:
    """Every layer of CaffeNet, or the layers between SqueezeNet's modules."""
    config = start(network, LAYERS)
    config.lambda_tv = (0.5, 5.0, 50.0)
    return config
