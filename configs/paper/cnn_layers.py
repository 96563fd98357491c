"""Every layer of CaffeNet (the paper's CNN-A), each with the paper's weight of total variation for it.

invjax weights fetch caffenet
invjax run configs/paper/cnn_layers.py --workdir out/cnn --config.images=photos

--config.lambda_tv="(0.5, 5.0, 50.0)" is the paper's whole table; --config.weights=random the control. On two cores a
reconstruction takes, by the times of docs/performance.md, about 1 s from conv1, 4 s from relu5 and 8 s from
fc8. The paper states for fc8 a normalized_error of 5.3, 5.9 and 8.5 % at the three weights, over 100 pictures; ours is
not measured.
"""

from ml_collections import ConfigDict

from invjax import nets
from invjax.configs import base


def get_config() -> ConfigDict:
    """20 layers, the paper's recipe."""
    config = base.get_config()
    config.representations = ("caffenet",)
    config.layers = nets.get("caffenet").names()
    config.recipe = "paper"
    return config
