"""Rows as a picture: how many times as fast as each peer, and how near to what the device can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench.rows import Row

COLOURS = ("#1f6f8b", "#e07a3f", "#6a4c93", "#8aa35b")
GREYS = ("#222222", "#777777", "#c8a951")
LIMITS = {"convolution": "convolutions", "product": "matrix products", "copy": "bytes copied"}


def draw(rows: Sequence[Row], file: Path) -> None:
    """Writes the picture.

    Args:
        rows: those without anything measured are left out.
        file: where; its ending is the format.
    """
    from matplotlib.figure import Figure

    measured = [row for row in rows if row.ratios or row.shares]
    if not measured:
        return
    figure = Figure(figsize=(9.5, 1.9 + 0.27 * len(measured)), layout="constrained")
    figure.suptitle(f"A gradient step of invjax on {measured[0].device}", x=0.01, ha="left", fontsize="large")
    peers = any(row.ratios for row in measured)
    panels = figure.subplots(1, 1 + peers, sharey=True, squeeze=False)[0]
    left, right = panels[0], panels[-1]
    if peers:
        _ratios(left, measured)
    _dots(right, [row.shares for row in measured], GREYS, LIMITS)
    right.set_xlabel("share of the attainable rate")
    right.set_xlim(0, max(1.0, *(share for row in measured for share in row.shares.values()), 0) * 1.03)
    right.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    left.set_yticks(range(len(measured)), [_label(row) for row in measured])
    left.set_ylim(len(measured) - 0.4, -0.6)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


def _ratios(axes: Any, measured: Sequence[Row]) -> None:
    _dots(axes, [row.families() for row in measured], COLOURS, {})
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("times as fast as the best peer")
    _plain_numbers(axes)


def _dots(axes: Any, values: list[dict[str, float]], colours: tuple[str, ...], names: dict[str, str]) -> None:
    """A line per row and a colour per kind of value."""
    for kind, colour in zip(dict.fromkeys(kind for row in values for kind in row), colours, strict=False):
        places = [(row[kind], place) for place, row in enumerate(values) if kind in row]
        axes.scatter(*zip(*places, strict=True), s=36, color=colour, label=names.get(kind, kind), zorder=3)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(-0.03, 1.0),
            ncols=3,
            fontsize="small",
            handletextpad=0.1,
            columnspacing=1.0,
        )


def _plain_numbers(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def _label(row: Row) -> str:
    precision = "" if row.precision == "float32" else f", {row.precision}"
    return f"{row.name}, batch {row.batch}{precision}"
