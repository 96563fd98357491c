"""The table of errors: a row for each layer or representation, a column for each way to invert it, in colours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from invjax.analysis.page import pictures
from invjax.analysis.page.choices import Choices, link
from invjax.analysis.page.items import Item
from invjax.analysis.words import mean_and_deviation, spread
from invjax.runs.store import MEASURES

COLORS = "viridis"
Column = tuple[tuple[str, str], ...]  # (name of a dimension, value) of each that tells columns apart


@dataclasses.dataclass(frozen=True)
class Cell:
    """The errors of one row and column.

    Attributes:
        text: their mean ± standard deviation, over all pictures and restarts.
        best: whether their mean is the best of several in the row.
        href: leads to the reconstructions.
        ground: its colour, "#rrggbb"; "" where there is no mean.
        ink: colour of text on it.
    """

    text: str
    best: bool
    href: str
    ground: str
    ink: str


@dataclasses.dataclass(frozen=True)
class Table:
    """The table of errors.

    Attributes:
        title: what the numbers are.
        columns: what tells each column from the others.
        lines: a cell for each column by what was inverted; None where it was not.
        scale: the least and the greatest mean and colours from one to the other; None without two different means.
    """

    title: str
    columns: list[Column]
    lines: dict[str, list[Cell | None]]
    scale: tuple[float, float, list[str]] | None


def table(items: Sequence[Item], choices: Choices, measure: str) -> Table:
    """The mean errors.

    Args:
        items: at least one reconstruction.
        choices: of the same items.
        measure: of `store.MEASURES`, the one that is shown.
    """
    shown = MEASURES[measure]
    across = choices.free(without=("image", "representation", "restart"))
    errors: dict[tuple[str, Column], list[float]] = {}
    for item, place in choices.ordered(items, across):
        column = tuple(choices.settings(place, across).items())
        name = choices.settings(place, ["representation"])["representation"]
        errors.setdefault((name, column), []).append(getattr(item.row, measure))
    columns = list(dict.fromkeys(column for _, column in errors))
    means = {key: shown.factor * mean_and_deviation(values)[0] for key, values in errors.items()}
    means = {key: mean for key, mean in means.items() if not math.isnan(mean)}
    colors = _colors(means)

    def cell(name: str, column: Column) -> Cell | None:
        key = name, column
        if key not in errors:
            return None
        row = [means[name, other] for other in columns if (name, other) in means]
        best = len(row) > 1 and means.get(key) == (min if shown.least_is_best else max)(row)
        href = link({"representation": name} | dict(column))
        return Cell(spread(measure, errors[key]), best, href, *colors.get(key, ("", "")))

    names = choices.dimensions[choices.index("representation")].values
    lines = {name: [cell(name, column) for column in columns] for name in names}
    return Table(shown.title, columns, lines, _scale(list(means.values())))


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
