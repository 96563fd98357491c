"""The layers of a network side by side: the best restart of each, and errors by layer and λ_TV."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable

from invjax.report.rundir import Row, grouped


@dataclasses.dataclass(frozen=True)
class Sheet:
    """One picture, recovered from layer after layer of a network.

    Attributes:
        image: name of the picture.
        representation: the network.
        lines: the best restart of each layer, in the order of the run; a line for each λ_TV, or a single one where
            every layer has just one.
    """

    image: str
    representation: str
    lines: list[list[Row]]


@dataclasses.dataclass(frozen=True)
class Errors:
    """The errors of one layer with one λ_TV, over pictures and restarts; `least` of the layer's means."""

    values: list[float]
    least: bool


@dataclasses.dataclass(frozen=True)
class Table:
    """The errors of a network by layer and λ_TV.

    Attributes:
        representation: the network.
        measure: what the numbers are.
        weights: λ_TV of the columns.
        lines: the columns of each layer.
    """

    representation: str
    measure: str
    weights: list[str]
    lines: dict[str, list[Errors]]


def sheets(rows: Iterable[Row]) -> list[Sheet]:
    """A contact sheet for every picture of every network of which the run has at least two layers."""
    shown = (row for network in _networks(rows).values() for row in network)
    groups = grouped(shown, lambda row: (row.image, row.representation))
    return [Sheet(image, representation, _lines(group)) for (image, representation), group in groups.items()]


def tables(rows: Iterable[Row]) -> list[Table]:
    """A table for every such network whose layers were inverted with several λ_TV."""
    return [_table(name, network) for name, network in _networks(rows).items() if not _one_weight(network)]


def _networks(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups = grouped(rows, lambda row: row.representation)
    return {name: group for name, group in groups.items() if len({row.layer for row in group}) > 1}


def _one_weight(rows: list[Row]) -> bool:
    """Whether every layer has just one λ_TV, be it its own or that of all."""
    return len({(row.layer, row.weight) for row in rows}) == len({row.layer for row in rows})


def _lines(rows: list[Row]) -> list[list[Row]]:
    best = [min(restarts, key=_error) for restarts in grouped(rows, lambda row: (row.layer, row.weight)).values()]
    return [best] if _one_weight(best) else list(grouped(best, lambda row: row.weight).values())


def _error(row: Row) -> float:
    return math.inf if math.isnan(row.relative_error) else row.relative_error


def _table(representation: str, rows: list[Row]) -> Table:
    normalized = any(math.isfinite(row.normalized_error) for row in rows)  # several pictures
    weights = list(grouped(rows, lambda row: row.weight))
    lines = {}
    for layer, group in grouped(rows, lambda row: row.layer).items():
        by_weight = grouped(group, lambda row: row.weight)
        errors = [[_measured(row, normalized) for row in by_weight.get(weight, [])] for weight in weights]
        least = min(map(_mean, errors))
        lines[layer] = [Errors(values, _mean(values) == least < math.inf) for values in errors]
    return Table(representation, "normalized error, %" if normalized else "relative error", weights, lines)


def _measured(row: Row, normalized: bool) -> float:
    return 100 * row.normalized_error if normalized else row.relative_error


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.inf
