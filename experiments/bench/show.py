"""Rows as a table on the terminal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.bench.rows import OURS, Row, geometric_means


def show(rows: Sequence[Row], console: Console) -> None:
    """Prints tables, what is missing from them and why, and means."""
    for table in tables(rows):
        console.print(table)
    for line in remarks(rows):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for kind, mean in geometric_means(rows).items():
        console.print(f"geometric mean of the ratios to {kind}: {mean:.2f}", highlight=False)


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Layers of networks, and others, which have other columns."""
    layers = [row for row in rows if "/" in row.name]
    for part in (layers, [row for row in rows if row not in layers]):
        if part:
            yield _table(part)


def _table(rows: Sequence[Row]) -> Table:
    """The rows; columns that none of them fills are left out."""
    columns = [(head, cell) for head, cell in _columns(rows) if any(map(cell, rows))]
    drawn = Table(box=box.SIMPLE, title="reconstructions · steps per second", pad_edge=False)
    for number, (head, _) in enumerate(columns):
        drawn.add_column(head, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        drawn.add_row(*(cell(row) for _, cell in columns))
    return drawn


def _columns(rows: Sequence[Row]) -> Iterator[tuple[str, Callable[[Row], str]]]:
    yield "", lambda row: row.name
    yield "batch", lambda row: str(row.batch or "")
    if any("/" in row.name for row in rows):
        yield "precision", lambda row: row.precision
    if len({row.device for row in rows if row.rates}) > 1:
        yield "device", lambda row: row.device
    for side in dict.fromkeys(side for row in rows for side in row.rates):
        yield (
            side.replace(", ", ",\n").replace("eager ", "eager\n"),
            functools.partial(_of, lambda row: row.rates, side, _number),
        )
    for kind in dict.fromkeys(kind for row in rows for kind in row.families()):
        yield f"ratio to\n{kind}", functools.partial(_of, Row.families, kind, "{:.2f}".format)
    for kind in dict.fromkeys(kind for row in rows for kind in row.shares):
        yield f"share of\n{SHARES[kind]}", functools.partial(_of, lambda row: row.shares, kind, "{:.0%}".format)
    yield "limit", lambda row: row.limit
    yield "taken by\nothers", lambda row: "" if row.others is None else f"{row.others:.0%}"


SHARES = {"convolution": "convolutions", "product": "products", "copy": "bytes"}


def _of(values: Callable[[Row], dict[str, float]], name: str, style: Callable[[float], str], row: Row) -> str:
    """A cell; empty where the row has no such value."""
    return style(values(row)[name]) if name in values(row) else ""


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def remarks(rows: Sequence[Row]) -> Iterator[str]:
    """Devices, notes, and sides that are missing with the rows that lack them."""
    for device in dict.fromkeys(row.device for row in rows if row.rates):
        yield f"measured on: {device}"
    for row in rows:
        if row.note:
            yield f"{row.name}: {row.note}"
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for side, why in row.skipped.items():
            reasons.setdefault((side, why), []).append(f"{row.name} batch {row.batch}" if row.batch else row.name)
    for (side, why), names in reasons.items():
        what = ", ".join(names) if side == "row" else f"{side} ({', '.join(names)})"
        yield f"skipped: {what}: {why}"


def rate(row: Row) -> str:
    """Ours, for a line on the way."""
    return f"{_number(row.rates[OURS])} per second" if OURS in row.rates else "skipped"
