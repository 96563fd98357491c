"""Table 1 of the paper, without HOGgles: how well HOG, HOGb and DSIFT of a folder of pictures are inverted.

invjax run configs/paper/table_shallow.py --workdir out/table --config.images=photos

Runtime: 3.6 minutes for 25 pictures on two cores.
Expected normalized_error, mean over 25 ImageNet pictures: HOG 29 %, HOGb 11 %, DSIFT 8 %; with
--config.recipe=fast --config.steps=200: HOG 10 %, HOGb 6.4 %, DSIFT 3.4 %, in 1.5 minutes.
"""

from ml_collections import ConfigDict

from invjax.configs import base


def get_config() -> ConfigDict:
    """The paper's recipe on its three shallow representations."""
    config = base.get_config()
    config.representations = ("hog", "hogb", "dsift")
    config.recipe = "paper"
    return config
