"""invjax recovers pictures from what a vision system remembers of them.

phi = invjax.representations.get("hog")
x0 = invjax.load_image("cat.jpg", phi.input, size=227)
out = invjax.invert(phi, phi(x0), key=jax.random.key(0), image_shape=x0.shape, restarts=4)
invjax.save_image("cat_from_hog.png", out.images[0], phi.input)
"""

from invjax import losses, masks, metrics, objective, optimizers, recipes, regularizers, representations
from invjax.errors import UserError
from invjax.images import load_image, save_image
from invjax.inversion import Inversion, invert
from invjax.results import read_results
from invjax.types import InputSpec, Representation
from invjax.version import __version__

__all__ = [
    "InputSpec",
    "Inversion",
    "Representation",
    "UserError",
    "__version__",
    "invert",
    "load_image",
    "losses",
    "masks",
    "metrics",
    "objective",
    "optimizers",
    "read_results",
    "recipes",
    "regularizers",
    "representations",
    "save_image",
]
