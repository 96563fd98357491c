"""Representations by name: `get("hog")`, `names()`.

Each is a pure function Φ of one picture; nothing here knows of losses, descents or runs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from invjax import named, networks
from invjax.errors import UserError, check_options, suggestion
from invjax.representations.compose import concat, flatten, mask
from invjax.representations.custom import CUSTOM, from_function
from invjax.representations.dsift import dsift
from invjax.representations.hog import hog, hog_uoctti, hogb
from invjax.representations.linen import from_flax
from invjax.representations.network import Factory, describe, parse_layers
from invjax.types import Layer, Representation

if TYPE_CHECKING:
    from invjax.representations.nnx import from_nnx

__all__ = [
    "concat",
    "factory",
    "flatten",
    "from_flax",
    "from_function",
    "from_nnx",
    "get",
    "layers",
    "mask",
    "names",
    "options",
    "register",
    "several",
]

# A new representation is one factory in its own file, and its name here.
_FACTORIES: dict[str, Callable[..., Representation]] = {
    "hog": hog,
    "hogb": hogb,
    "dsift": dsift,
    "hog_uoctti": hog_uoctti,
    **{name: Factory(name) for name in networks.names()},
}
_OURS = frozenset(_FACTORIES)


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
    if "(" in name:
        bare = name.partition("(")[0]
        raise UserError(f"'{name}': options are no part of the name: get('{bare}', …), --config.options.… in a run")
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


def options(name: str) -> list[str]:
    """The options of the factory of that name, as its signature says.

    Raises:
        UserError: unknown name.
    """
    parameters = named.signature_of(name, factory(name)).parameters.values()
    return [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]


def layers(name: str) -> tuple[Layer, ...]:
    """The layers of a network of invjax's; of others they are known when they are made, `phi.origin.layers`.

    Raises:
        UserError: unknown name.
    """
    make = factory(name)
    return make.layers() if isinstance(make, Factory) else ()


def several(name: str, layers: Sequence[str], **options: Any) -> list[Representation]:
    """One representation for each layer, which share the arrays of their weights where they can.

    Args:
        name: as of `get`.
        layers: names, or "relu2+0.5*relu5" for two at once; none: one representation, as `get` makes it.
        **options: as of `get`, but for the layer.

    Raises:
        UserError: as `get`, or the representation has no layers.
    """
    make = factory(name)
    if not layers:
        return [get(name, **options)]
    check_layers(name, layers)
    if isinstance(make, Factory):
        check(name, options)
        return make.several(layers, **options)
    return [_combined(name, parse_layers(layer), options) for layer in layers]


def check_layers(name: str, layers: Sequence[str]) -> None:
    """Raises UserError for layers that a representation does not have, as far as is known before it is made."""
    if layers and "layer" not in options(name):
        raise UserError(f"{name} has no layers, got '{layers[0]}'")
    make = factory(name)
    for layer in layers if isinstance(make, Factory) else ():
        networks.get(name).until(*parse_layers(layer))


def _combined(name: str, parts: Mapping[str, float], options: Mapping[str, Any]) -> Representation:
    """The layers of a network of the user's, weighted."""
    made = {layer: get(name, layer=layer, **options) for layer in parts}
    if len(made) == 1:
        return next(iter(made.values()))
    return dataclasses.replace(concat(made, parts), layer=describe(parts), origin=next(iter(made.values())).origin)


def get(name: str, **options: Any) -> Representation:
    """Builds a representation.

    Args:
        name: one of `names()`, or "my_file.py:make" or "package.module:make".
        **options: of the factory of that name, e.g. `cell=6, orientations=12` for "hog".

    Raises:
        UserError: unknown name, unknown option, or a value out of range.
    """
    make = factory(name)
    check(name, options)
    made = named.call(name, make, (), options)
    if not isinstance(made, Representation):
        raise UserError(f"{name} must return an invjax.Representation, got {type(made).__name__}")
    # a number is an array from here on: it has a shape
    params = jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else jnp.asarray(np.asarray(leaf)), made.params)
    origin = dataclasses.replace(made.origin, made_by=named.absolute(name))
    return dataclasses.replace(made, params=params, name=_called(name, made), origin=origin)


def _called(name: str, made: Representation) -> str:
    """Its own name; what the user has registered, or has not named, is called as it was asked for."""
    if name in _OURS or (named.is_path(name) and made.name != CUSTOM):
        return made.name
    place, _, attribute = name.rpartition(":")
    return f"{Path(place).name.removesuffix('.py')}.{attribute}" if place else name


def check(name: str, options: Mapping[str, Any]) -> None:
    """Raises UserError for an option that a representation does not have, or one of another type than its default."""
    parameters = named.signature_of(name, factory(name)).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        check_options(name, options, parameters)
    for option in options.keys() & parameters.keys() - {"layer"}:
        for kinds, wanted in _KINDS.items():
            if type(parameters[option].default) in kinds and type(options[option]) not in kinds:
                raise UserError(f"{name}: the option {option} must be {wanted}, got {options[option]!r}")


_KINDS = {(bool,): "True or False", (int, float): "a number", (str,): "text"}  # by type of the default
