"""Table 1 of the paper: how well HOG, HOGb and DSIFT of a folder of pictures are inverted, and HOG by HOGgles.

invjax run paper/table_shallow --workdir out/table --config.images=photos

With HOGgles, trained on other pictures than those (some hundred are better than some):

invjax hoggles train others --out hoggles.npz
invjax run paper/table_shallow:hoggles.npz --workdir out/table_hoggles --config.images=photos

Runtime: 3.6 minutes for 25 pictures on two cores.
Expected normalized_error, mean over 25 ImageNet pictures: HOG 29 %, HOGb 11 %, DSIFT 8 %; with
--config.recipe=fast --config.steps=200: HOG 10 %, HOGb 6.4 %, DSIFT 3.4 %, in 1.5 minutes.
With HOGgles, over 8 pictures and a dictionary of 17 others: 64.6 %, beside HOG's 29.7 %; 20 s a picture.
The paper's: HOGgles 66.2 %, HOG 28.1 %, HOGb 10.7 %, DSIFT 10.9 %.
"""

from ml_collections import ConfigDict

from invjax.configs import base


def get_config(dictionary: str = "") -> ConfigDict:
    """The paper's recipe on its three shallow representations; `dictionary` is of `invjax hoggles train`."""
    config = base.get_config()
    config.representations = ("hog", "hogb", "dsift")
    config.recipe = "paper"
    config.hoggles = dictionary
    if dictionary:
        config.sweep = ({"recipe": "paper"}, {"recipe": "hoggles", "representations": "hog"})
    return config
