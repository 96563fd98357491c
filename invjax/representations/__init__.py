"""Representations by name: `get("hog")`, `names()`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from invjax import nets
from invjax.errors import UserError, suggestion
from invjax.representations.compose import concat, flatten, mask
from invjax.representations.custom import from_function
from invjax.representations.dsift import dsift
from invjax.representations.hog import hog, hog_uoctti, hogb
from invjax.representations.linen import from_flax
from invjax.representations.networks import layer_of
from invjax.types import Representation

if TYPE_CHECKING:
    from invjax.representations.nnx import from_nnx

__all__ = ["concat", "factory", "flatten", "from_flax", "from_function", "from_nnx", "get", "mask", "names"]

# A new representation is one factory in its own file, and its name here.
_FACTORIES: dict[str, Callable[..., Representation]] = {
    "hog": hog,
    "hogb": hogb,
    "dsift": dsift,
    "hog_uoctti": hog_uoctti,
    **{name: layer_of(name) for name in nets.names()},
}


def __getattr__(name: str) -> Any:
    """Imports `from_nnx` when it is asked for: the import takes a tenth of a second."""
    if name == "from_nnx":
        from invjax.representations.nnx import from_nnx

        return from_nnx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def names() -> list[str]:
    """Names that `get` knows."""
    return list(_FACTORIES)


def factory(name: str) -> Callable[..., Representation]:
    """The function behind a name; its docstring and signature describe the representation.

    Raises:
        UserError: unknown name; the message lists the valid ones and the nearest.
    """
    if name not in _FACTORIES:
        raise UserError(f"unknown representation '{name}'. {suggestion(name, names())}")
    return _FACTORIES[name]


def get(name: str, **options: Any) -> Representation:
    """Builds a representation.

    Args:
        name: one of `names()`.
        **options: of the factory of that name, e.g. `cell=6, orientations=12` for "hog".

    Raises:
        UserError: unknown name, unknown option, or a value out of range.
    """
    make = factory(name)
    valid = inspect.signature(make).parameters
    for option in options:
        if option not in valid:
            raise UserError(f"{name} has no option '{option}'. Valid: {', '.join(valid)}")
    return make(**options)
