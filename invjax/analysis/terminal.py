"""The table that is printed at the end of a run: the means of all measures, a line for each that was inverted."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from invjax.analysis.frame import LINE, SERIES, frame_of
from invjax.analysis.summary import summarise
from invjax.analysis.words import plus_minus
from invjax.runs import rundir
from invjax.runs.store import MEASURES

STATUS = "status"
HEADINGS = {
    **{"what": "", "lambda_tv": "λ_TV", "variant": "variant", "n": "n"},
    **{name: measure.title for name, measure in MEASURES.items()},
    STATUS: STATUS,
}
NARROW_WITHOUT = ("ssim", "psnr", "n", STATUS, "normalized_error")  # left out in this order where there is no room
GAP = 2
WIDEST = 1000  # a file is as wide as it needs to be


def show(workdir: Path) -> None:
    """Prints mean ± standard deviation of each measure, a line per representation, layer, λ_TV and variant.

    Columns without a value are left out, then those of which a narrow terminal has no room; the status is told where
    not every reconstruction went well.

    Args:
        workdir: the run directory.

    Raises:
        UserError: not a run directory.
    """
    lines = list(_lines(workdir))
    columns = {name: [line.get(name, "") for line in lines] for name in HEADINGS}
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    console = Console(width=None if sys.stdout.isatty() else WIDEST)
    for name in NARROW_WITHOUT:
        if sum(max(map(len, [HEADINGS[name], *cells])) + GAP for name, cells in columns.items()) <= console.width:
            break
        columns.pop(name, None)
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold")
    for name in columns:
        right = name in MEASURES or name == "n"
        table.add_column(HEADINGS[name], no_wrap=True, justify="right" if right else "left")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    console.print(table)


def _lines(workdir: Path) -> Iterator[dict[str, str]]:
    """Cells by column. Layers stand below the name of their representation, and names are not repeated."""
    frame = frame_of([rundir.read(workdir)])
    states = dict(iter(frame.groupby(LINE + SERIES, sort=False, dropna=False)[STATUS]))
    before = ("", "")
    for cells in summarise(frame).cells.to_dict("records"):
        representation, layer = (cells[name] for name in LINE)
        if layer and representation != before[0]:
            yield {"what": representation}
        name = f"  {layer}" if layer else representation
        yield {
            "what": "" if (representation, layer) == before else name,
            "lambda_tv": f"{cells['lambda_tv']:g}",
            "variant": cells["variant"],
            "n": str(cells["n"]),
            STATUS: _told(list(states[tuple(cells[field] for field in LINE + SERIES)])),
        } | {measure: _cell(cells, measure) for measure in MEASURES}
        before = representation, layer


def _cell(cells: dict[str, Any], measure: str) -> str:
    mean, deviation = cells[f"{measure}_mean"], cells[f"{measure}_std"]
    return "" if math.isnan(mean) else plus_minus(measure, mean, deviation)


def _told(states: list[str]) -> str:
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states) - {"ok"}))
