"""Configs: reading one with its overrides, and refusing what cannot be run."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from invjax import named, recipes, representations
from invjax.errors import UserError, suggestion
from invjax.representations.network import describe, parse_layers
from invjax.runs import effects
from invjax.runs.effects import HOGGLES, OPTIONS, is_set, value_of
from invjax.runs.fields import flat, is_finite, of
from invjax.runs.sweep import default, expand, is_plain

NAME = r"['\"]?\w+['\"]?( Did you mean|$)"  # all that ml_collections says of an unknown field


def load(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Reads a config file and applies overrides.

    Args:
        path: a Python file with `get_config()`, or the name of a bundled one such as "demo" or "paper/table_shallow";
            "file.py:argument" calls `get_config("argument")`.
        overrides: "--config.field=value", as ml_collections' config_flags reads them.

    Returns:
        The config, locked; not yet checked.

    Raises:
        UserError: no such file, a file that does not run, an unknown field or a value of the wrong type.
    """
    config = _read(path)
    for override in overrides:  # of options any name may be set
        option = re.match(r"--?config\.options\.(\w+)", override)
        if option and option[1] not in config.options:
            config.options[option[1]] = config_dict.placeholder(object)
    arguments = ["invjax", *overrides]
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
        [_, *left] = values(arguments)
    except (AttributeError, KeyError) as error:  # which hold little more than the name
        raise UserError(f"no such field in configs/base.py: {_words(error)}") from None
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(_words(error)) from None
    if left:
        raise UserError(f"unknown argument: {left[0]}; fields are given as --config.field=value")
    return values.config


def _read(path: str) -> ConfigDict:
    file, argument = _find(path)
    try:
        config = runpy.run_path(str(file))["get_config"](*argument)
    except UserError:
        raise
    except Exception as error:  # whatever the user's file raises
        words = _words(error)
        only_a_name = isinstance(error, AttributeError | KeyError) and re.match(NAME, words)
        kind = "no such field in configs/base.py" if only_a_name else type(error).__name__
        raise UserError(f"{path}: cannot be loaded: {kind}: {words}") from None
    if not isinstance(config, ConfigDict) or set(config) != set(default()):
        raise UserError(f"{path}: get_config() must return the config of invjax.configs.base with fields changed")
    return config


def _find(path: str) -> tuple[Path, list[str]]:
    """The file itself, or the bundled config of that name; and the argument behind a colon, if any."""
    bundled = Path(str(resources.files("invjax.configs")))
    name, *argument = path.rsplit(":", 1)
    for file, rest in ((path, []), (name, argument)):
        for candidate in (Path(file), bundled / f"{file}.py"):
            if candidate.is_file():
                return candidate, rest
    names = sorted(str(file.relative_to(bundled).with_suffix("")) for file in bundled.rglob("[!_]*.py"))
    raise UserError(f"{path}: no such config file, nor a bundled config of that name. {suggestion(name, names)}")


def _words(error: Exception) -> str:
    """An error's own words in one line, without the values of all fields that ml_collections adds to an unknown one."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    text, _, values = str(error.args[0] if len(error.args) == 1 else error).partition(" Other fields present: ")
    _, found, near = values.partition("Did you mean ")
    return " ".join(f"{text} {found}{near}".split())


def check(config: ConfigDict) -> list[tuple[str, ConfigDict]]:
    """Raises UserError, naming field and valid values, for what cannot be run; nothing is computed.

    Splits "a,b" in tuples of names, so that the command line needs no brackets.

    Returns:
        The variants of the config's sweep, of `sweep.expand`, checked as well.
    """
    rows, columns = config.figure.rows, config.figure.columns
    _need(not rows or rows != columns, config, "figure.columns", "another field than config.figure.rows")
    variants = expand(config)
    for name, variant in variants:
        try:
            _check(variant)
        except UserError as error:
            raise UserError(f"config.sweep, {name}: {error}" if name else str(error)) from None
    effects.refuse_unused(config, variants)
    return variants


def _check(config: ConfigDict) -> None:
    """Each field by itself, then what they have to do with each other."""
    for name in ("representations", "layers"):
        _need(all(isinstance(text, str) for text in config[name]), config, name, "names, as text")
        config[name] = tuple(text.strip() for texts in config[name] for text in texts.split(","))
    config.layers = tuple(describe(parse_layers(layer)) for layer in config.layers)  # 1*conv1 is conv1
    for name, value in flat(config).items():
        _check_field(config, name, value)
    for name in config.representations:
        _check_representation(config, name)
    valid = (*recipes.names(), HOGGLES)
    known = config.recipe in valid or named.is_path(config.recipe)
    _need(known, config, "recipe", f"one of {', '.join(valid)}, or my_file.py:name")
    _need(config.recipe != HOGGLES or config.hoggles, config, "hoggles", "a file of `invjax hoggles train`")
    for name in ("options", "regularizers"):
        _need(is_plain(config[name]), config, name, "numbers and text; functions by name, my_file.py:name")
    _need(not (config.images and config.features), config, "features", "left out where there are config.images")
    _need(config.size != 0 or not config.features, config, "size", "the pictures' size in pixels for given features")
    weights = {f"{weight:g}" for weight in config.lambda_tv}  # as in the names of files
    _need(len(weights) == len(config.lambda_tv), config, "lambda_tv", "numbers that differ in six digits")


def _check_field(config: ConfigDict, name: str, value: Any) -> None:
    field = of(name)
    _need(is_finite(value), config, name, "a finite number")
    try:
        fits = field.fits(value)
    except UserError as error:
        raise UserError(f"config.{name}: {error}") from error
    _need(bool(fits), config, name, field.wanted)


def _check_representation(config: ConfigDict, name: str) -> None:
    """That it exists, and has the layers and options that are asked for, as far as is known before it is made."""
    options_of(config, name)
    try:
        representations.check_layers(name, config.layers)
    except UserError as error:
        raise UserError(f"config.layers: {error}") from None


def options_of(config: ConfigDict, name: str) -> dict[str, Any]:
    """What a representation is made with: `config.options`, and the fields of networks as far as it has such options.

    Raises:
        UserError: no such representation, an option that it does not have, or one that is set twice.
    """
    valid = representations.options(name)
    chosen = {option: value for option, value in config.options.items() if value is not None}
    try:
        if "layer" in chosen:
            raise UserError(f"the layers of {name} are config.layers")
        representations.check(name, chosen)
    except UserError as error:
        raise UserError(f"config.options: {error}") from None
    fields = {option: config[field] for option, field in OPTIONS.items() if option in valid and is_set(config, field)}
    for option in chosen.keys() & fields.keys():
        raise UserError(f"config.options.{option}: is config.{OPTIONS[option]}, which is set as well")
    return chosen | fields


def _need(fine: bool, config: ConfigDict, field: str, wanted: str) -> None:
    if not fine:
        raise UserError(f"config.{field} must be {wanted}, got {value_of(config, field)!r}")


def as_dict(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON would hold it, to be written and compared."""
    return {
        name: as_dict(value) if isinstance(value, ConfigDict) else json.loads(json.dumps(value))
        for name, value in config.items()
    }
