"""Representations by name: `get("hog")`, `names()`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from invjax import named
from invjax.errors import UserError, check_options, first_line, suggestion
from invjax.networks import names as network_names
from invjax.representations.compose import concat, flatten, mask
from invjax.representations.custom import from_function
from invjax.representations.dsift import dsift
from invjax.representations.hog import hog, hog_uoctti, hogb
from invjax.representations.linen import from_flax
from invjax.representations.networks import layer_of
from invjax.types import Representation

if TYPE_CHECKING:
    from invjax.representations.nnx import from_nnx

__all__ = ["concat", "factory", "flatten", "from_flax", "from_function", "from_nnx", "get", "mask", "names", "register"]

# A new representation is one factory in its own file, and its name here.
_FACTORIES: dict[str, Callable[..., Representation]] = {
    "hog": hog,
    "hogb": hogb,
    "dsift": dsift,
    "hog_uoctti": hog_uoctti,
    **{name: layer_of(name) for name in network_names()},
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
    if name in _FACTORIES:
        return _FACTORIES[name]
    if named.is_path(name):
        return _checked(name, named.load(name))
    raise UserError(f"unknown representation '{name}'. {suggestion(name, names())}")


def register(name: str, make: Callable[..., Representation]) -> None:
    """Makes a name known, in this process, to `get`, configs and commands.

    Args:
        name: letters, digits, "_" and "-"; not one of `names()` yet, but for the same function.
        make: a function of options that returns a Representation; its signature says which options there are, its
            docstring what it is. Equal options should give an equal `apply`, which compiles once.

    Raises:
        UserError: the name is taken, or no name; make is no function.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise UserError(f"'{name}' is no name of a representation: letters, digits, _ and - only")
    if _FACTORIES.get(name, make) is not make:
        raise UserError(f"there is a representation '{name}' already: choose another name")
    _FACTORIES[name] = _checked(name, make)


def _checked(name: str, make: Any) -> Callable[..., Representation]:
    if not callable(make):
        raise UserError(f"{name} must be a function that returns a Representation, got {type(make).__name__}")
    return make


def get(name: str, **options: Any) -> Representation:
    """Builds a representation.

    Args:
        name: one of `names()`, or "my_file.py:make" or "package.module:make".
        **options: of the factory of that name, e.g. `cell=6, orientations=12` for "hog".

    Raises:
        UserError: unknown name, unknown option, or a value out of range.
    """
    make = factory(name)
    check_options(name, options, inspect.signature(make).parameters)
    try:
        made = make(**options)
    except UserError:
        raise
    except Exception as error:
        if not named.is_path(name):
            raise
        raise UserError(f"{name} failed: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, Representation):
        raise UserError(f"{name} must return an invjax.Representation, got {type(made).__name__}")
    # a number is an array from here on: it has a shape
    params = jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else jnp.asarray(np.asarray(leaf)), made.params)
    return dataclasses.replace(made, params=params)
