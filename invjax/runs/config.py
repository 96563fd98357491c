"""Configs: reading one with its overrides, and refusing what cannot be run."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from invjax import augmentations, features, losses, masks, named, networks, optimizers, recipes, representations
from invjax.errors import UserError, suggestion
from invjax.representations.network import describe, parse_layers
from invjax.runs import effects
from invjax.runs.effects import FIELDS, HOGGLES, is_set, value_of
from invjax.runs.sweep import default, expand, is_plain

AXES = ("image", "representation", "layer", "variant", "lambda_tv", "restart", "label")  # of a figure
LARGEST = float(np.finfo(np.float32).max)


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
        raise UserError(f"{path}: cannot be loaded: {type(error).__name__}: {_words(error)}") from None
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
    for field in ("rows", "columns"):
        _need(config.figure[field] in ("", *AXES), config, f"figure.{field}", f"one of {', '.join(AXES)}")
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
    for name, value in _flat(config):
        finite = not isinstance(value, float) or abs(value) <= LARGEST
        _need(finite, config, name, "a finite number")
    for field in ("images", "features", "representations", "layers", "start"):
        _need(all(isinstance(name, str) for name in config[field]), config, field, "names, as text")
    for field in ("representations", "layers"):
        config[field] = tuple(name.strip() for names in config[field] for name in names.split(","))
    config.layers = tuple(describe(parse_layers(layer)) for layer in config.layers)  # 1*conv1 is conv1
    for field in ("representations", "layers"):
        _need(len(set(config[field])) == len(config[field]), config, field, "different names")
    _need(len(config.representations) > 0, config, "representations", "one or more of `invjax representations`")
    _need(config.precision in networks.PRECISIONS, config, "precision", f"one of {', '.join(networks.PRECISIONS)}")
    for name in config.representations:
        _check_representation(config, name)
    _need(0 <= config.weights_seed < 2**32, config, "weights_seed", "a whole number from 0 to 2³²−1")
    valid = (*recipes.names(), HOGGLES)
    known = config.recipe in valid or named.is_path(config.recipe)
    _need(known, config, "recipe", f"one of {', '.join(valid)}, or my_file.py:name")
    _need(config.recipe != HOGGLES or config.hoggles, config, "hoggles", "a file of `invjax hoggles train`")
    for field in ("options", "regularizers"):
        _need(is_plain(config[field]), config, field, "numbers and text; functions by name, my_file.py:name")
    if config.mask:
        masks.parse(config.mask)
    terms = config.regularizers
    _need(
        terms is None or isinstance(terms, Mapping | ConfigDict), config, "regularizers", "{name: (weight, function)}"
    )
    for field, get in (("loss", losses.get), ("augment", augmentations.get)):
        _check_name(config, field, get)
    _check_optimizer(config)
    _need(config.restarts >= 1, config, "restarts", "at least 1")
    _need(not (config.images and config.features), config, "features", "left out where there are config.images")
    _need(config.features_layout in features.LAYOUTS, config, "features_layout", "hwc or chw")
    _need(config.size != 0 or not config.features, config, "size", "the pictures' size in pixels for given features")
    _need(
        config.size is None or config.size >= 0,
        config,
        "size",
        "a number of pixels, or 0 to leave the picture as it is",
    )
    _need(config.steps is None or config.steps >= 1, config, "steps", "at least 1")
    _need(config.every >= 1, config, "every", "at least 1")
    _need(config.batch_size is None or config.batch_size >= 1, config, "batch_size", "at least 1")
    _need(config.beta > 0, config, "beta", "greater than 0")
    _need(config.alpha >= 1, config, "alpha", "at least 1")
    _need(config.lambda_range >= 0, config, "lambda_range", "at least 0")
    _need(config.lambda_alpha is None or config.lambda_alpha >= 0, config, "lambda_alpha", "at least 0")
    _need(0 <= config.seed < 2**32, config, "seed", "a whole number from 0 to 2³²−1")
    _need(config.checkpoint_seconds >= 0, config, "checkpoint_seconds", "at least 0")
    weights = config.lambda_tv
    numbers = all(type(weight) in (int, float) and 0 <= weight <= LARGEST for weight in weights)
    _need(numbers, config, "lambda_tv", "finite numbers, at least 0, or none for what suits the layer")
    names = {f"{weight:g}" for weight in weights}  # as in the names of files
    _need(len(names) == len(weights), config, "lambda_tv", "numbers that differ in six digits")


def _check_optimizer(config: ConfigDict) -> None:
    valid = ("", *optimizers.SCHEDULES)
    _need(config.optimizer.schedule in valid, config, "optimizer.schedule", f"one of {', '.join(valid[1:])}")
    rate = config.optimizer.rate
    _need(rate is None or rate > 0, config, "optimizer.rate", "greater than 0")
    # of any length and size: only the name is looked at
    _check_name(config, "optimizer.name", lambda name: optimizers.get(name, "constant", 1, (8, 8, 3)))


def _check_name(config: ConfigDict, field: str, get: Callable[[str], Any]) -> None:
    """That what is made by name can be made, where there is a name."""
    try:
        if name := value_of(config, field):
            get(name)
    except UserError as error:
        raise UserError(f"config.{field}: {error}") from error


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
    fields = {option: config[field] for option, field in FIELDS.items() if option in valid and is_set(config, field)}
    for option in chosen.keys() & fields.keys():
        raise UserError(f"config.options.{option}: is config.{FIELDS[option]}, which is set as well")
    return chosen | fields


def _flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _need(fine: bool, config: ConfigDict, field: str, wanted: str) -> None:
    if not fine:
        raise UserError(f"config.{field} must be {wanted}, got {value_of(config, field)!r}")


def as_dict(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON would hold it, to be written and compared."""
    return {
        name: as_dict(value) if isinstance(value, ConfigDict) else json.loads(json.dumps(value))
        for name, value in config.items()
    }
