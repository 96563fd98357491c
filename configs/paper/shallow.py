"""HOG, HOGb and DSIFT side by side (figure 4 of the paper); behind a colon, a dictionary of HOGgles to compare with.

invjax run paper/shallow --workdir out/shallow --config.images=photos
invjax run paper/shallow:hoggles.npz --workdir out/shallow --config.images=photos

Runtime on two busy cores: 1.2 minutes for four pictures. Expected normalized_error: HOG 31 %, HOGb 12 %, DSIFT 9 %,
HOGgles 67 %.
"""

from ml_collections import ConfigDict

from invjax import images
from invjax.configs.paper import table_shallow


def get_config(dictionary: str = "") -> ConfigDict:
    """The table's reconstructions of a few pictures."""
    config = table_shallow.get_config(dictionary)
    config.images = (str(images.astronaut()),)
    config.figure.rows, config.figure.columns = "image", "label"
    return config
