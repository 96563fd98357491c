"""Table 1 of the paper, without HOGgles: how well HOG, HOGb and DSIFT of a folder of pictures are inverted.

invjax run configs/paper/table_shallow.py --workdir out/table_shallow --config.images=FOLDER

Runtime: TODO
Expected normalized_error: TODO
"""

from ml_collections import ConfigDict

from invjax.configs import base


def get_config() -> ConfigDict:
    """The paper's recipe on its three shallow representations."""
    config = base.get_config()
    config.representations = ("hog", "hogb", "dsift")
    config.recipe = "paper"
    return config
