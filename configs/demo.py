"""HOG, HOGb and DSIFT of the bundled photograph, four reconstructions each.

make demo            (= invjax run configs/demo.py --workdir out/demo)

Runtime: 21 s on two cores. Expected relative_error: HOG 0.012, HOGb 0.006, DSIFT 0.001.
"""

from ml_collections import ConfigDict

from invjax.configs import base
from invjax.images import astronaut


def get_config() -> ConfigDict:
    """The demo."""
    config = base.get_config()
    config.images = (str(astronaut()),)
    config.representations = ("hog", "hogb", "dsift")
    config.restarts = 4
    return config
