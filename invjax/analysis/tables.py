"""The paper's table: errors by layer, a column for each variant and weight of total variation."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invjax.analysis.frame import LINE, frame_of, labels
from invjax.analysis.summary import Summary, summarise
from invjax.files import write_atomically
from invjax.runs import rundir

if TYPE_CHECKING:
    import pandas

MOST_DECIMALS = 6
TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    letter: f"\\{letter}" for letter in "&%$#_{}"
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A mean and its deviation as text, each empty where there is none."""

    mean: str
    deviation: str
    best: bool


@dataclasses.dataclass(frozen=True)
class Table:
    """What Markdown and LaTeX have in common; plain text.

    Attributes:
        caption: what the numbers are.
        header: titles of all columns.
        lines: of each line the names at its beginning, then its cells.
    """

    caption: str
    header: list[str]
    lines: list[tuple[list[str], list[Cell]]]


def write(workdir: Path) -> None:
    """Writes tables/errors.csv, .md and .tex into a run directory.

    The CSV has a row for each representation, layer, variant and λ_TV, with mean and sample standard deviation of all
    measures over pictures and restarts. The others have a line for each representation or layer and a column for each
    variant and λ_TV, with the normalized error in %, or the relative error of a single picture; the best of each line
    is bold. The LaTeX needs the package booktabs.

    Args:
        workdir: the run directory.

    Raises:
        UserError: not a run directory.
        OSError: it cannot be written.
    """
    frame = frame_of([rundir.read(workdir)])
    summary = summarise(frame)
    table = tabulate(frame, summary)
    contents = {
        "csv": summary.cells.to_csv(index=False, float_format="%.7g", lineterminator="\n"),
        "md": markdown(table),
        "tex": latex(table),
    }
    for suffix, content in contents.items():
        write_atomically(Path(workdir) / "tables" / f"errors.{suffix}", content)


def tabulate(frame: pandas.DataFrame, summary: Summary) -> Table:
    """Lays a summary out.

    Args:
        frame: the run's results.
        summary: of them.
    """
    found: dict[tuple[str, ...], dict[tuple[Any, ...], dict[str, Any]]] = {}  # by line, then by column
    for row in summary.cells.to_dict("records"):
        line, column = (tuple(row[name] for name in fields) for fields in (LINE, summary.series))
        found.setdefault(line, {})[column] = row
    columns = list(dict.fromkeys(column for cells in found.values() for column in cells))
    names = _names(summary)
    lines = [
        (
            [text for name, text in zip(LINE, line, strict=True) if name in names],
            _cells(summary, [cells.get(column, {}) for column in columns]),
        )
        for line, cells in found.items()
    ]
    header = names + [labels(summary.series, column) or summary.shown.title for column in columns]
    return Table(_caption(frame, summary, names, len(columns)), header, lines)


def _names(summary: Summary) -> list[str]:
    """What a line begins with: a layer if there are any, a representation unless it goes without saying."""
    layered = summary.cells.layer.any()
    several = summary.cells.representation.nunique() > 1
    return [name for name, needed in zip(LINE, (several or not layered, layered), strict=True) if needed]


def _cells(summary: Summary, rows: Sequence[dict[str, Any]]) -> list[Cell]:
    shown = summary.shown
    means, deviations = (
        [shown.factor * row.get(f"{summary.measure}_{which}", math.nan) for row in rows] for which in ("mean", "std")
    )
    known = [mean for mean in means if not math.isnan(mean)]
    best = (min if shown.least_is_best else max)(known, default=math.nan)
    cells = []
    for mean, deviation in zip(means, deviations, strict=True):
        decimals = _decimals(mean) if shown.decimals is None else shown.decimals
        texts = ["" if math.isnan(value) else f"{value:.{decimals}f}" for value in (mean, deviation)]
        cells.append(Cell(texts[0], texts[1], best=len(known) > 1 and mean == best))
    return cells


def _decimals(value: float) -> int:
    """As many as show three digits that are not leading zeros."""
    return min(MOST_DECIMALS, max(0, 2 - math.floor(math.log10(value)))) if value > 0 else 0


def _caption(frame: pandas.DataFrame, summary: Summary, names: list[str], columns: int) -> str:
    least, most, diverged = summary.cells.n.min(), summary.cells.n.max(), (frame.status == "diverged").sum()
    what = [
        summary.shown.heading.capitalize(),
        "" if "representation" in names else f"of {summary.cells.representation[0]}",
        f"in {summary.shown.unit}" if summary.shown.unit else "",
    ]
    facts = [
        " ".join(filter(None, what)),
        "mean ± standard deviation" if most > 1 else "",
        f"n = {most}" if least == most else f"n = {least} to {most}",
        _count(frame.image.nunique(), "picture"),
        f"{_count(diverged, 'reconstruction')} diverged" if diverged else "",
    ]
    return ", ".join(filter(None, facts)) + "." + (" The best of each line in bold." if columns > 1 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, under its caption."""

    def escaped(text: str) -> str:
        return re.sub(r"([\\|*<`])", r"\\\1", text)

    def cell(cell: Cell) -> str:
        text = " ± ".join(filter(None, (cell.mean, cell.deviation))) or "–"
        return f"**{text}**" if cell.best else text

    rows = [[escaped(title) for title in table.header], ["---"] * len(table.header)]
    rows += [[*map(escaped, names), *map(cell, cells)] for names, cells in table.lines]
    return "\n".join([escaped(table.caption), "", *(f"| {' | '.join(row)} |" for row in rows), ""])


def latex(table: Table) -> str:
    r"""The table in LaTeX, to be \input; needs \usepackage{booktabs}."""

    def cell(cell: Cell) -> str:
        text = r" \pm ".join(filter(None, (cell.mean, cell.deviation)))
        return (rf"$\mathbf{{{text}}}$" if cell.best else f"${text}$") if text else "--"

    def row(cells: Iterable[str]) -> str:
        return " & ".join(cells) + r" \\"

    names = len(table.header) - len(table.lines[0][1])
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{tex(table.caption)}}}",
            rf"\begin{{tabular}}{{{'l' * names}{'c' * (len(table.header) - names)}}}",
            r"\toprule",
            row(map(tex, table.header)),
            r"\midrule",
            *(row([*map(tex, names), *map(cell, cells)]) for names, cells in table.lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def tex(text: str) -> str:
    """Text as LaTeX prints it, λ_TV and ± as mathematics."""
    escaped = "".join(TEX.get(letter, letter) for letter in text)
    return escaped.replace(r"λ\_TV", r"$\lambda_{\mathrm{TV}}$").replace("±", r"$\pm$")
