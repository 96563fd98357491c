"""Curves over named places, such as the layers of a network, in panels below each other."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from invjax.analysis.figures import canvas
from invjax.analysis.figures.canvas import COLORS, COLUMN_WIDTH, GREY, MARKERS, TEXT_WIDTH

PANEL, LEGEND, LETTER = 2.0, 0.15, 0.06  # inches: height of a panel and of a line of the legend, length of a letter
FEW, MANY = 8, 40  # places that a column of the page has room for; names that its whole width has room for
LOGARITHMIC = 20  # where the greatest value is more than that many times the least
DECADES = 1000  # where there is less between them, powers of ten are too few labels
APART = 0.3  # of a place, the points of all curves at it

Style = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values at places of a panel.

    Attributes:
        label: what it is.
        values: by place; NaN or nothing where there is none.
        deviations: of the values.
        marked: the one place that has a mark; "" for marks at all.
        control: whether it is there to compare with.
    """

    label: str
    values: Mapping[str, float]
    deviations: Mapping[str, float] = dataclasses.field(default_factory=dict)
    marked: str = ""
    control: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    """Curves over the same places in order, joined where each place follows from the one before."""

    title: str
    measure: str
    places: list[str]
    curves: list[Curve]
    joined: bool = True


def draw(stem: Path, panels: Sequence[Panel]) -> None:
    """Writes a figure of panels, as wide as a column or the whole text of a page.

    Args:
        stem: of the files, without suffix.
        panels: one or more.

    Raises:
        OSError: it cannot be written.
    """
    width = TEXT_WIDTH if max(len(panel.places) for panel in panels) > FEW else COLUMN_WIDTH
    styles = _styles([curve for panel in panels for curve in panel.curves])
    named = [label for label in styles if label]
    across = max(1, int(width / LETTER / (6 + max(map(len, named), default=0))))
    names = [_names(panel, below, width) for panel, below in itertools.zip_longest(panels, panels[1:])]
    heights = [PANEL + LETTER * max(map(len, texts)) * upright for texts, upright in names]
    with canvas.sheet(stem, width, sum(heights) + LEGEND * math.ceil(len(named) / across)) as figure:
        figure.set_layout_engine("constrained")
        rows = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axes, panel, (texts, upright) in zip(rows, panels, names, strict=True):
            _draw_panel(axes, panel, styles)
            every = math.ceil(len(texts) / MANY)
            axes.set_xticks(range(0, len(texts), every), [canvas.text(text) for text in texts[::every]])
            axes.tick_params("x", rotation=90 * upright)
        if named:
            handles = [axes.plot([], [], label=canvas.text(label), **styles[label])[0] for label in named]
            figure.legend(handles=handles, loc="outside upper center", ncols=across, frameon=False)


def _names(panel: Panel, below: Panel | None, width: float) -> tuple[list[str], bool]:
    """The places below a panel, and whether they stand upright: where there is no room to break them into lines."""
    if below and below.places == panel.places:
        return [""] * len(panel.places), False
    letters = int(0.9 * width / LETTER / len(panel.places)) - 1
    broken = [canvas.wrapped(place, max(2, letters), lines=3) for place in panel.places]
    if any("…" in row for rows in broken for row in rows):
        return panel.places, True
    return ["\n".join(rows) for rows in broken], False


def _styles(curves: Sequence[Curve]) -> dict[str, Style]:
    """How each label appearances, in all panels: colours and marks, of many curves colours in order."""
    labels = list(dict.fromkeys(curve.label for curve in curves if not curve.control))
    if len(labels) <= len(COLORS):
        appearances = [{"color": color, "marker": marker} for color, marker in zip(COLORS, MARKERS, strict=True)]
    else:
        appearances = [
            {"color": color, "marker": "o"}
            for color in matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(labels)))
        ]
    styles = {label: appearance | {"markersize": 3} for label, appearance in zip(labels, appearances, strict=False)}
    controls = dict.fromkeys(curve.label for curve in curves if curve.control)
    return styles | {label: {"color": GREY, "linestyle": "--", "linewidth": 0.8} for label in controls}


def _draw_panel(axes: Axes, panel: Panel, styles: Mapping[str, Style]) -> None:
    for number, curve in enumerate(panel.curves):
        shift = APART * (number / len(panel.curves) - 0.5 + 0.5 / len(panel.curves)) if curve.deviations else 0
        found = [place for place, name in enumerate(panel.places) if not math.isnan(curve.values.get(name, math.nan))]
        style = {**styles[curve.label]} | ({} if panel.joined or curve.control else {"linestyle": "none"})
        if curve.marked:
            style["markevery"] = [at for at, place in enumerate(found) if panel.places[place] == curve.marked]
        names = [panel.places[place] for place in found]
        deviations = [curve.deviations.get(name, math.nan) for name in names]
        axes.errorbar(
            np.array(found) + shift,
            [curve.values[name] for name in names],
            None if np.isnan(deviations).all() else deviations,
            elinewidth=0.7,
            capsize=1.5,
            capthick=0.7,
            **style,
        )
    axes.set_xlim(-0.6, len(panel.places) - 0.4)
    axes.set_title(canvas.text(panel.title))
    axes.set_ylabel(panel.measure)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, color="#dddddd")
    axes.set_axisbelow(True)
    _scale(axes, [value for curve in panel.curves for value in curve.values.values() if math.isfinite(value)])


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """From zero, or logarithmic where small values would not be told from it."""
    if values and min(values) > 0 and max(values) > LOGARITHMIC * min(values):
        axes.set_yscale("log", nonpositive="clip")
        few = max(values) < DECADES * min(values)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
