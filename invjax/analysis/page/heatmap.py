"""The table of errors: a row for each layer or representation, a column for each way to invert it, in colours."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

import numpy as np

from invjax.analysis.page import pictures
from invjax.analysis.page.album import Item
from invjax.analysis.page.choices import Choices, link
from invjax.analysis.page.words import finite

COLORS = "viridis"
Column = tuple[tuple[str, str], ...]  # (name of a dimension, value) of each that tells columns apart


@dataclasses.dataclass(frozen=True)
class Cell:
    """The errors of one row and column.

    Attributes:
        values: of all pictures and restarts.
        least: whether their mean is the least of several in the row.
        href: leads to the reconstructions.
        ground: its colour, "#rrggbb"; "" where there is no mean.
        ink: colour of text on it.
    """

    values: list[float]
    least: bool
    href: str
    ground: str
    ink: str


@dataclasses.dataclass(frozen=True)
class Table:
    """The table of errors.

    Attributes:
        measure: what the numbers are.
        columns: what tells each column from the others.
        lines: a cell for each column by what was inverted; None where it was not.
        scale: the least and the greatest mean and colours from one to the other; None without two different means.
    """

    measure: str
    columns: list[Column]
    lines: dict[str, list[Cell | None]]
    scale: tuple[float, float, list[str]] | None


def table(items: Sequence[Item], choices: Choices) -> Table:
    """The mean errors, normalized ones where every run has them, else relative ones.

    Args:
        items: at least one reconstruction.
        choices: of the same items.
    """
    measured = {item.run.name for item in items if math.isfinite(item.row.normalized_error)}
    normalized = all(item.run.name in measured for item in items)
    across = choices.free(without=("image", "representation", "restart"))
    errors: dict[tuple[str, Column], list[float]] = {}
    for item, place in choices.ordered(items, across):
        error = 100 * item.row.normalized_error if normalized else item.row.relative_error
        column = tuple(choices.settings(place, across).items())
        errors.setdefault((choices.settings(place, ["representation"])["representation"], column), []).append(error)
    columns = list(dict.fromkeys(column for _, column in errors))
    means = {key: statistics.fmean(kept) for key, values in errors.items() if (kept := finite(values))}
    colors = _colors(means)

    def cell(name: str, column: Column) -> Cell | None:
        key = name, column
        if key not in errors:
            return None
        row = [means[name, other] for other in columns if (name, other) in means]
        href = link({"representation": name} | dict(column))
        return Cell(errors[key], len(row) > 1 and means.get(key) == min(row), href, *colors.get(key, ("", "")))

    names = choices.dimensions[choices.index("representation")].values
    return Table(
        "normalized error, %" if normalized else "relative error",
        columns,
        {name: [cell(name, column) for column in columns] for name in names},
        _scale(list(means.values())),
    )


def _colors(means: dict[tuple[str, Column], float]) -> dict[tuple[str, Column], tuple[str, str]]:
    """(ground, ink) of each mean, in logarithmic scale."""
    floor = min(filter(None, means.values()), default=1.0)  # an error of zero has no logarithm
    levels = {key: math.log(max(mean, floor)) for key, mean in means.items()}
    low, high = min(levels.values(), default=0), max(levels.values(), default=0)
    colors = pictures.palette(COLORS)
    return {key: _pair(colors[round(255 * (level - low) / ((high - low) or 1))]) for key, level in levels.items()}


def _scale(means: list[float]) -> tuple[float, float, list[str]] | None:
    if len(set(means)) < 2:
        return None
    return min(means), max(means), [_hexadecimal(color) for color in pictures.palette(COLORS)[::51]]


def _pair(color: np.ndarray) -> tuple[str, str]:
    """A colour and black or white, whichever is easier to read on it: WCAG's relative luminance against its middle."""
    linear = np.where(color <= 10, color / 3294.6, ((color / 255 + 0.055) / 1.055) ** 2.4)
    return _hexadecimal(color), "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#ffffff"


def _hexadecimal(color: np.ndarray) -> str:
    return "#" + bytes(color).hex()
