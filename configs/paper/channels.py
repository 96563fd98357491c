"""What each half of the filters remembers (figure 10 of the paper): CaffeNet's two groups have shared the work, and one
of them sees in colour; a network without groups has no such halves.

invjax run paper/channels:squeezenet --workdir out/channels

Runtime of SqueezeNet on two busy cores: 4 minutes. Expected: relative_error from 0.023 (relu_conv1) to 0.11
(fire6/concat), much the same for both halves.
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start
from invjax.configs.paper.locality import LAYERS


def get_config(network: str = "caffenet") -> ConfigDict:
    """Two halves of five layers."""
    config = start(network, LAYERS)
    config.sweep = {"mask": ("group 1/2", "group 2/2")}
    config.figure.rows, config.figure.columns = "variant", "layer"
    return config
