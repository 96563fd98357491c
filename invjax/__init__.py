"""invjax recovers pictures from what a vision system remembers of them.

phi = invjax.representations.get("hog")
x0 = invjax.load_image("cat.jpg", phi.input, size=227)
out = invjax.invert(phi, phi(x0), key=jax.random.key(0), image_shape=x0.shape, restarts=4)
invjax.save_image("cat_from_hog.png", out.images[0], phi.input)
"""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invjax import devices, losses, masks, metrics, objective, optimizers, recipes, regularizers, representations
    from invjax.analysis.frame import read_results
    from invjax.errors import UserError
    from invjax.images import load_image, save_image
    from invjax.inversion import Inversion, invert
    from invjax.types import InputSpec, Representation
    from invjax.version import __version__

__all__ = [
    "InputSpec",
    "Inversion",
    "Representation",
    "UserError",
    "__version__",
    "devices",
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

# the names above that are no modules, and where they are; read when asked for, so that `invjax --help` needs no JAX
_HOMES = {
    "InputSpec": "types",
    "Inversion": "inversion",
    "Representation": "types",
    "UserError": "errors",
    "__version__": "version",
    "invert": "inversion",
    "load_image": "images",
    "read_results": "analysis.frame",
    "save_image": "images",
}


def __getattr__(name: str) -> Any:
    """A name of the package, or one of its modules."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"invjax.{_HOMES[name]}"), name)
    if importlib.util.find_spec(f"invjax.{name}"):
        return importlib.import_module(f"invjax.{name}")
    raise AttributeError(f"module 'invjax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
