"""What is known of each field of a config but its default and its meaning, which are in configs/base.py.

A field is declared here once: whether it may be another one when a run goes on, what a sweep makes of it, whether only
a descent has a use for it, and which values it may have by itself. What fields have to do with each other is checked
in config.py and effects.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from invjax import augmentations, features, losses, masks, networks, optimizers
from invjax.runs.store import Key

AXES = (*Key._fields, "label")  # of a figure; label is representation, layer and variant in one
LARGEST = float(np.finfo(np.float32).max)


class Later(Enum):
    """What a field may be when a run goes on."""

    SAME = auto()  # another value asks for other results
    MORE = auto()  # it may ask for more than there is already
    ANY = auto()  # it changes no result


class Swept(Enum):
    """What a sweep makes of a field."""

    VARIANT = auto()  # its value tells variants apart, by name
    COLUMN = auto()  # the results have a column of their own for it
    NEVER = auto()  # it belongs to the whole run


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of the config.

    Attributes:
        later: what it may be when a run goes on.
        swept: what a sweep makes of it.
        descent: whether only a descent has a use for it.
        wanted: what it must be, in words; empty: anything of its type.
        fits: whether a value is that, or raises UserError for what cannot be made of it.
    """

    later: Later = Later.SAME
    swept: Swept = Swept.VARIANT
    descent: bool = False
    wanted: str = ""
    fits: Callable[[Any], object] = lambda _: True


def _names(value: Any) -> bool:
    return all(isinstance(name, str) for name in value)


def _different_names(value: Any) -> bool:
    return _names(value) and len(set(value)) == len(value)


def _of(choices: tuple[str, ...]) -> dict[str, Any]:
    return {"wanted": f"one of {', '.join(filter(None, choices))}", "fits": lambda value: value in choices}


def _least(bound: float, unset: bool = False) -> dict[str, Any]:
    return {"wanted": f"at least {bound:g}", "fits": lambda value: (unset and value is None) or value >= bound}


def _made(get: Callable[[str], object]) -> dict[str, Any]:
    """Made by name, where there is a name; `get` raises where it cannot be."""
    return {"fits": lambda value: not value or get(value) is not None}


def _weights(value: Any) -> bool:
    return all(type(weight) in (int, float) and 0 <= weight <= LARGEST for weight in value)


def _optimizer(name: str) -> object:
    return optimizers.get(name, "constant", 1, (8, 8, 3))  # of any length and size: only the name is looked at


MORE_COLUMN: dict[str, Any] = {"later": Later.MORE, "swept": Swept.COLUMN}
ANY_COLUMN: dict[str, Any] = {"later": Later.ANY, "swept": Swept.COLUMN}
WHOLE_RUN: dict[str, Any] = {"later": Later.ANY, "swept": Swept.NEVER}
SEED: dict[str, Any] = {"wanted": "a whole number from 0 to 2³²−1", "fits": lambda value: 0 <= value < 2**32}

FIELDS: Mapping[str, Field] = {
    "images": Field(**ANY_COLUMN, wanted="names, as text", fits=_names),  # the pictures themselves are compared
    "features": Field(**ANY_COLUMN, wanted="names, as text", fits=_names),
    "features_layout": Field(**_of(features.LAYOUTS)),
    "size": Field(
        wanted="a number of pixels, or 0 to leave the picture as it is",
        fits=lambda value: value is None or value >= 0,
    ),
    "representations": Field(
        **MORE_COLUMN,
        wanted="one or more different names of `invjax representations`",
        fits=lambda value: len(value) > 0 and _different_names(value),
    ),
    "layers": Field(**MORE_COLUMN, wanted="different names", fits=_different_names),
    "weights": Field(),
    "weights_seed": Field(**SEED),
    "precision": Field(**_of(tuple(networks.PRECISIONS))),
    "options": Field(),
    "mask": Field(**_made(masks.parse)),
    "restarts": Field(**MORE_COLUMN, descent=True, **_least(1)),
    "seed": Field(descent=True, **SEED),
    "lambda_tv": Field(
        **MORE_COLUMN,
        descent=True,
        wanted="finite numbers, at least 0, or none for what suits the layer",
        fits=_weights,
    ),
    "sweep": Field(later=Later.MORE, swept=Swept.NEVER),
    "loss": Field(descent=True, **_made(losses.get)),
    "alpha": Field(descent=True, **_least(1)),
    "lambda_alpha": Field(descent=True, **_least(0, unset=True)),
    "beta": Field(descent=True, wanted="greater than 0", fits=lambda value: value > 0),
    "lambda_range": Field(descent=True, **_least(0)),
    "regularizers": Field(
        descent=True,
        wanted="{name: (weight, function)}",
        fits=lambda value: value is None or isinstance(value, Mapping | ConfigDict),
    ),
    "recipe": Field(),
    "hoggles": Field(),
    "steps": Field(descent=True, **_least(1, unset=True)),
    "optimizer.name": Field(descent=True, **_made(_optimizer)),
    "optimizer.rate": Field(descent=True, wanted="greater than 0", fits=lambda value: value is None or value > 0),
    "optimizer.schedule": Field(descent=True, **_of(("", *optimizers.SCHEDULES))),
    "parameterization": Field(descent=True),
    "augment": Field(descent=True, **_made(augmentations.get)),
    "start": Field(descent=True, wanted="names, as text", fits=_names),
    "every": Field(swept=Swept.NEVER, descent=True, **_least(1)),
    "stretch": Field(**WHOLE_RUN),
    "movie": Field(**WHOLE_RUN, descent=True),
    "study": Field(**WHOLE_RUN),
    "tensorboard": Field(**WHOLE_RUN),
    "figure.rows": Field(**WHOLE_RUN, **_of(("", *AXES))),
    "figure.columns": Field(**WHOLE_RUN, **_of(("", *AXES))),
    "figure.field": Field(**WHOLE_RUN),
    "batch_size": Field(**WHOLE_RUN, **_least(1, unset=True)),
    "checkpoint_seconds": Field(**WHOLE_RUN, **_least(0)),
}


def of(name: str) -> Field:
    """The field of that name: an option of the representations, "options.cell", is `options`; of what a config of an
    earlier version has, one that must be the same."""
    return FIELDS.get("options" if name.startswith("options.") else name, Field())


def is_finite(value: Any) -> bool:
    """Whether a number is one that float32 has; all else is."""
    return not isinstance(value, float) or (math.isfinite(value) and abs(value) <= LARGEST)


def flat(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """The values of all fields by name, "optimizer.rate", each option of the representations by its own."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping | ConfigDict) and (prefix + name == "options" or prefix + name not in FIELDS)
        found |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found
