"""Configs of the paper's tables and figures: Mahendran & Vedaldi, CVPR 2015 (arXiv 1412.0035).

Those of a network are of CaffeNet, the paper's CNN-A; behind a colon stands another: paper/layers:squeezenet.
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

from invjax import images
from invjax.configs import base
from invjax.errors import UserError


def start(network: str, layers: Mapping[str, tuple[str, ...]]) -> ConfigDict:
    """The paper's recipe on layers of a network, of the bundled photograph.

    Args:
        network: the one to take.
        layers: by network.

    Raises:
        UserError: another network.
    """
    if network not in layers:
        raise UserError(
            f"no layers are chosen for '{network}' here: take one of {', '.join(layers)}, or set config.layers"
        )
    config = base.get_config()
    config.images = (str(images.astronaut()),)
    config.representations = (network,)
    config.layers = layers[network]
    config.recipe = "paper"
    return config
