"""What the exponent of total variation does: β = 1 leaves spikes where a layer skips pixels,
β = 2 spreads them out.

invjax run paper/tv_beta:squeezenet --workdir out/tv_beta

Runtime of SqueezeNet on two busy cores: 1 minute. Expected: relative_error of pool1 0.028 (β = 1) and 0.031, and
spikes with β = 1 where the picture is flat.
"""

from ml_collections import ConfigDict

from invjax.configs.paper import start

LAMBDA_TV = 0.5
SIGMA = 27098.0  # grey levels, the paper's

LAYERS = {"caffenet": ("norm1", "norm2"), "squeezenet": ("pool1", "fire4/concat")}


def get_config(network: str = "caffenet") -> ConfigDict:
    """Two exponents."""
    config = start(network, LAYERS)
    # weights with which an edge of 10 grey levels costs the same
    config.sweep = ({"beta": 1.0, "lambda_tv": LAMBDA_TV * 10 / SIGMA}, {"beta": 2.0, "lambda_tv": LAMBDA_TV})
    config.figure.rows, config.figure.columns = "layer", "variant"
    return config
