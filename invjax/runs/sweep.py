"""Sweeps: one config that stands for many, `config.sweep` being a grid or a list of values for its fields."""

from __future__ import annotations

import functools
import itertools
import json
import operator
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ml_collections import ConfigDict

from invjax.errors import UserError, suggestion
from invjax.runs.fields import FIELDS, Swept, of


def default() -> ConfigDict:
    """configs/base.py, unchanged."""
    return import_module("invjax.configs.base").get_config()


def expand(config: ConfigDict) -> list[tuple[str, ConfigDict]]:
    """The configs that a config stands for.

    Args:
        config: with `sweep` a grid {"beta": (1.0, 2.0), "options.cell": (6, 8)}, every combination of which is run, a
            list ({"beta": 1.0}, {"beta": 2.0, "recipe": "paper"}), or None. A field that is a tuple may be given one
            of its items: {"layers": ("conv1", "relu1")} are two variants of one layer each.

    Returns:
        (name, config without a sweep) of each variant; its name, "beta=1, options.cell=6", tells the fields that have
        no column of their own in the results. Without a sweep: "" and the config itself.

    Raises:
        UserError: not such a grid or list, an unknown field, or a value of the wrong type.
    """
    if config.sweep is None:
        return [("", config)]
    return [(_name(chosen), _variant(config, chosen)) for chosen in settings(config.sweep)]


def by_name(sweep: Any) -> dict[str, dict[str, Any]]:
    """What each variant changes, by its name; without fields that have a column of their own in the results.

    Args:
        sweep: of a config, or None.

    Raises:
        UserError: as `expand`.
    """
    if sweep is None:
        return {}
    return {
        _name(chosen): {k: v for k, v in chosen.items() if of(k).swept is not Swept.COLUMN}
        for chosen in settings(sweep)
    }


def settings(sweep: Any) -> list[Mapping[str, Any]]:
    """What each variant sets, in the order of `expand`; arguments and errors as of `by_name`."""
    if isinstance(sweep, Mapping):
        choices = [list(values) if isinstance(values, (tuple, list)) else [values] for values in sweep.values()]
        found: list[Mapping[str, Any]] = [
            dict(zip(sweep, chosen, strict=True)) for chosen in itertools.product(*choices)
        ]
    else:
        found = list(sweep) if isinstance(sweep, (tuple, list)) else [sweep]
    if not found or not all(isinstance(settings, Mapping) and settings for settings in found) or not is_plain(sweep):
        raise UserError(
            "config.sweep must be a grid such as {'beta': (1.0, 2.0)} or a list such as [{'beta': 1.0}, "
            f"{{'recipe': 'paper'}}], got {sweep!r}"
        )
    return found


def is_plain(value: Any) -> bool:
    """Whether it can be written to config.json."""
    try:
        json.dumps(value.to_dict() if isinstance(value, ConfigDict) else value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _name(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{field}={_text(value)}" for field, value in settings.items() if of(field).swept is not Swept.COLUMN
    )


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "+".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else str(value)  # other values, other names
    return "default" if value in (None, "") else str(value)


def _variant(config: ConfigDict, settings: Mapping[str, Any]) -> ConfigDict:
    variant = _copy(config)
    for field, value in settings.items():
        _set(variant, str(field), value)
    return variant


def _copy(config: ConfigDict) -> ConfigDict:
    """A locked copy without the sweep, in the keys of which ConfigDict's own copies tolerate no dots."""
    copy = default()
    for field, value in config.items():
        if isinstance(copy[field], ConfigDict):
            copy[field].update(dict(value.items()))
        elif field != "sweep":
            copy[field] = value
    return copy


def _set(config: ConfigDict, field: str, value: Any) -> None:
    *path, name = field.split(".")
    if field in FIELDS and FIELDS[field].swept is Swept.NEVER:
        raise UserError(f"config.sweep: {field} belongs to the whole run: set config.{field} instead")
    if path == ["options"]:  # which are what the representations say
        config.options[name] = value
        return
    if field not in FIELDS:
        raise UserError(f"config.sweep: the config has no field '{field}'. {suggestion(field, list(FIELDS))}")
    part = functools.reduce(operator.getitem, path, config)
    if isinstance(part[name], tuple):
        value = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    try:
        part[name] = value
    except TypeError as error:
        raise UserError(f"config.sweep: {field}={value!r}: {' '.join(str(error).split())}") from None
