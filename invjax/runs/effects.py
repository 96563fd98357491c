"""Nothing that is set is ignored: fields without effect where they stand, and why."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from invjax import named, optimizers, representations
from invjax.errors import UserError
from invjax.recipes import ABOUT
from invjax.runs import sweep
from invjax.runs.fields import FIELDS
from invjax.weights.store import RANDOM

HOGGLES = "hoggles"  # instead of a recipe: no descent
OPTIONS = {"weights": "weights", "seed": "weights_seed", "precision": "precision"}  # of networks, and their fields


def refuse_unused(config: ConfigDict, variants: Sequence[tuple[str, ConfigDict]]) -> None:
    """Raises UserError for a field that is set and has no effect.

    Args:
        config: of the run.
        variants: of its sweep, by name. What the sweep sets must have an effect in that variant, what the config sets
            in any of them.
    """
    reasons = [dict(_unused(variant)) for _, variant in variants]
    if config.sweep is not None:
        for settings, unused, (name, _) in zip(sweep.settings(config.sweep), reasons, variants, strict=True):
            for field in settings.keys() & unused.keys():
                raise UserError(f"config.sweep, {name}: {field} has no effect: {unused[field]}")
    for field, why in reasons[0].items():
        if all(field in unused for unused in reasons) and is_set(config, field):
            raise UserError(f"config.{field} has no effect: {why}")


def is_set(config: ConfigDict, field: str) -> bool:
    """Whether a field, "optimizer.rate" say, has another value than its default."""
    return bool(value_of(config, field) != value_of(sweep.default(), field))


def value_of(config: ConfigDict, field: str) -> Any:
    """The value of a field."""
    return functools.reduce(operator.getitem, field.split("."), config)


def _unused(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Fields without effect in a config without a sweep, and why."""
    yield from _of_representations(config)
    if config.recipe == HOGGLES:
        yield from ((field, "the recipe hoggles is no descent") for field, of in FIELDS.items() if of.descent)
    else:
        yield "hoggles", f"the recipe is {config.recipe}"
        yield from _of_optimizers(config)
    for field, term in ABOUT.items():
        if term in (config.regularizers or {}):
            yield field, f"config.regularizers replaces '{term}'"
    if config.lambda_tv and not any(config.lambda_tv):
        yield "beta", "the weight of total variation is 0"
    if config.lambda_alpha == 0:
        yield "alpha", "the weight of the α-norm is 0"
    if not config.features:
        yield "features_layout", "there are no config.features"
    if config.start and not config.augment:
        yield "seed", "nothing is random: there is a start, and no augment"
    if "centre" not in config.mask:
        yield "figure.field", "there is no config.mask of positions"


def _of_representations(config: ConfigDict) -> Iterator[tuple[str, str]]:
    names = ", ".join(config.representations)
    for option, field in OPTIONS.items():
        none = not any(option in representations.options(name) for name in config.representations)
        if none and config[field] != "float32":  # the precision of all else
            yield field, f"{names} has no {option}"
    if config.weights != RANDOM and all(representations.layers(name) for name in config.representations):
        yield "weights_seed", "the weights are not random"


def _of_optimizers(config: ConfigDict) -> Iterator[tuple[str, str]]:
    name = config.optimizer.name
    if name and not optimizers.is_scheduled(name):
        for field in ("rate", "schedule"):
            yield f"optimizer.{field}", f"the options of {named.parse(name).name} are given in brackets"
    if name and named.parse(name).name == "lbfgs_linesearch":
        for field in ("rate", "schedule"):
            yield f"optimizer.{field}", "lbfgs_linesearch finds its steps itself"
