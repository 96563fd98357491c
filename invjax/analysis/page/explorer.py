"""The data of the explorer: what the page's script shows of each reconstruction."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from invjax.analysis.page import pictures
from invjax.analysis.page.choices import Choices, Dimension
from invjax.analysis.page.items import Embedded, Item
from invjax.analysis.words import measured, number
from invjax.runs.store import MEASURES, History, Row, describe

HISTORY_POINTS = 64  # of a loss curve; a longer one is thinned
TERMS = {
    "total": "the whole objective",
    "data": "mismatch of the features",
    "alpha": "α-norm, against extreme pixels",
    "tv": "total variation, against noise",
    "range": "leaving the range of real pixels",
}
STATUS = {
    "ok": "every step was sound",
    "recovered": "some steps left the finite range or exploded; they were undone and the learning rate halved",
    "stuck": "the feature never changed: it has no derivative where the descent started, as of a unit that is off",
    "diverged": "the descent failed too often and was given up; the picture is the best there was",
}


def data(items: Sequence[Item], choices: Choices) -> dict[str, Any]:
    """Everything the explorer shows but the pictures, which are elements of the page.

    Args:
        items: the reconstructions.
        choices: of the same items.

    Returns:
        Plain data, fit for JSON.
    """
    best = set(_best(items, choices))
    return {
        "dimensions": [_dimension(dimension, choices) for dimension in choices.dimensions],
        "rows": [
            _row(item, place) | {"title": title(item.row, place, choices), "best": index in best}
            for index, (item, place) in enumerate(zip(items, choices.places, strict=True))
        ],
        "terms": TERMS,
        "status": STATUS,
        "palette": [f"#{bytes(color).hex()}" for color in pictures.palette()],
    }


def _dimension(dimension: Dimension, choices: Choices) -> dict[str, Any]:
    return vars(dimension) | {"words": [choices.describe(dimension.name, value) for value in dimension.values]}


def as_script(record: dict[str, Any]) -> str:
    """JSON that can stand inside a <script>: nothing in it closes the element or opens a comment."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def label(row: Row, place: Sequence[int], choices: Choices) -> str:
    """What was inverted, and how it differs from other inversions of it: "net conv1, λ_TV 5"."""
    ways = choices.settings(place, choices.free(without=("image", "representation", "restart")))
    return ", ".join([row.feature, *(choices.describe(name, value) for name, value in ways.items())])


def title(row: Row, place: Sequence[int], choices: Choices) -> str:
    """What a reconstruction is: "cat from net conv1, λ_TV 5, restart 0"."""
    return f"{row.image} from {label(row, place, choices)}, {describe('restart', row.restart)}"


def _row(item: Item, place: Sequence[int]) -> dict[str, Any]:
    history = item.run.histories.get(item.row.key)
    return {
        "at": place,
        "picture": _id(item.picture),
        "file": item.picture.link,
        "original": _id(item.original),
        "hasOriginal": item.original is not None,
        "deviation": _id(item.deviation),
        "arrays": item.arrays,
        "movie": item.movie,
        "status": item.row.status,
        "error": number(item.row.relative_error),
        "numbers": numbers(item.row),
        "map": item.error_map,
        "curves": None if history is None else curves(history),
    }


def _id(embedded: Embedded | None) -> str | None:
    return embedded.id if embedded and embedded.shown else None


def _best(items: Sequence[Item], choices: Choices) -> Iterable[int]:
    """The restart of least relative error of each group of restarts, as the place of its item."""
    restart = choices.index("restart")
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, place in enumerate(choices.places):
        groups.setdefault((*place[:restart], *place[restart + 1 :]), []).append(index)
    return (min(group, key=lambda index: _error(items[index].row)) for group in groups.values())


def _error(row: Row) -> float:
    return math.inf if math.isnan(row.relative_error) else row.relative_error


def numbers(row: Row) -> list[tuple[str, str]]:
    """The measures of a reconstruction as (name, value), those that it has."""
    known = [
        (shown.heading, f"{measured(name, value)} {shown.unit}".rstrip())
        for name, shown in MEASURES.items()
        if not math.isnan(value := getattr(row, name)) or name == "relative_error"
    ]
    if not math.isnan(row.seconds):
        known.append(("time", f"{number(row.seconds)} s"))
    return [*known, ("recipe", f"{row.recipe}, {row.steps} steps")]


def curves(history: History) -> dict[str, list[float | None]]:
    """A history of at most HISTORY_POINTS points in four digits, the known terms first."""
    steps = len(history["step"])
    kept = np.unique(np.linspace(0, steps - 1, min(steps, HISTORY_POINTS)).round().astype(int))
    order = ["step", *(name for name in TERMS if name in history), *sorted(history.keys() - TERMS.keys() - {"step"})]
    return {name: [_short(value) for value in history[name][kept]] for name in order}


def _short(value: float) -> float | None:
    """JSON knows no NaN."""
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 1e6 else float(f"{value:.4g}")
