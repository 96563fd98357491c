"""SqueezeNet from its first layer to its last, each with the weight of total variation that the paper takes for layers
that see as far.

invjax weights fetch squeezenet
invjax run configs/paper/cnn_layers_squeezenet.py --workdir out/squeezenet --config.images=photos

--config.lambda_tv="(0.5, 5.0, 50.0)" gives the table of docs/reproduction.md, with the numbers to expect. On two cores
a reconstruction takes 5 to 15 s.
"""

from ml_collections import ConfigDict

from invjax.configs import base


def get_config() -> ConfigDict:
    """Layers between the modules, the paper's recipe."""
    config = base.get_config()
    config.representations = ("squeezenet",)
    config.layers = (
        *("conv1", "relu_conv1", "pool1", "fire2/concat", "fire3/concat", "fire4/concat", "pool4"),
        *("fire5/concat", "fire6/concat", "fire7/concat", "fire8/concat", "pool8", "fire9/concat"),
        *("conv_final", "relu_conv_final", "pool_final"),
    )
    config.recipe = "paper"
    return config
