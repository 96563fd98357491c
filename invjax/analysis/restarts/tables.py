"""The tables of a study, and what their columns are; what an earlier study has found stays.

restarts.csv    of: reconstructions, ceiling (the picture itself) or floor (the noise that the descents start from)
                restarts: pictures compared
                spread_pixels: root mean square difference of two restarts, grey levels, mean over pairs
                spread_features: distance of two restarts in the representation that was inverted, mean over pairs
                mean_…, best_…: of relative_error, normalized_error, psnr and ssim as results.csv has them
                top1, top5: share of restarts that the network takes for what it takes the picture for; empty where
                there is no classifier, as in HOG, in networks with random weights, and where the picture is not of
                the size that fully connected layers need
distances.csv   at: pixels, or a layer of the network; of HOG & co., hog, hogb and dsift with their default options;
                inverted: what was inverted, with its mask and options
                …_spread, …_error: distance of two restarts, and of a restart and the picture; means
                normalized_…: over the mean distance of different pictures, the unit of results.csv's normalized_error,
                which at `inverted` has the same mean; empty where there are no two different pictures
                …_by_norm: over the norm of the picture's feature, or the mean norm of the restarts where features were
                given without it
best_of_k.csv   best: mean of the best value of metric over all choices of k restarts; with k = 1 the mean

spread_features is a normalized spread where there is one (unit: pictures), and otherwise one by norm, of the picture's
feature (picture) or of the restarts where features were given without it (restarts).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from invjax.analysis.words import mean_and_deviation
from invjax.files import write_atomically
from invjax.runs.store import MEASURES, Row, as_text, describe
from invjax.types import titled

GROUP = ("image", "representation", "layer", "variant", "lambda_tv")
RECONSTRUCTIONS, CEILING, FLOOR = "reconstructions", "ceiling", "floor"  # in the column `of`
RESTARTS, DISTANCES, BEST = "restarts.csv", "distances.csv", "best_of_k.csv"
COLUMNS = {
    RESTARTS: (
        *(*GROUP, "of", "restarts", "spread_pixels", "spread_features", "unit"),
        *(f"{statistic}_{measure}" for measure in MEASURES for statistic in ("mean", "best")),
        *("top1", "top5"),
    ),
    DISTANCES: (*GROUP, "of", "at", "normalized_spread", "normalized_error", "spread_by_norm", "error_by_norm"),
    BEST: (*GROUP, "metric", "k", "best"),
}

Group = tuple[str, ...]  # values of GROUP, as the tables have them
Record = dict[str, str]
Found = Mapping[str, Sequence[Mapping[str, Any]]]  # by table, rows without GROUP


def group_of(row: Row) -> Group:
    """The restarts that a reconstruction belongs to."""
    return row.image, row.representation, row.layer, row.variant, as_text(row.lambda_tv)


class Tables:
    """The tables of a run directory.

    Args:
        workdir: the run directory.
        restarts: how many there are of each group, groups in order; what was found of other numbers is forgotten.
    """

    def __init__(self, workdir: Path, restarts: Mapping[Group, int]) -> None:
        self._workdir = workdir
        self._order = list(restarts)
        self._found: dict[Group, dict[str, list[Record]]] = {}
        for name in COLUMNS:
            for record in _read(workdir / name, COLUMNS[name]):
                group = tuple(record[column] for column in GROUP)
                self._found.setdefault(group, {name: [] for name in COLUMNS})[name].append(record)
        for group in list(self._found):
            found = self._found[group]
            counts = [record["restarts"] for record in found[RESTARTS] if record["of"] == RECONSTRUCTIONS]
            if counts != [str(restarts.get(group))] or not all(found.values()):
                del self._found[group]

    def __contains__(self, group: Group) -> bool:
        """Whether the group has been studied."""
        return group in self._found

    def __len__(self) -> int:
        """How many groups have been studied."""
        return len(self._found)

    def add(self, group: Group, found: Found) -> None:
        """Takes what was found of a group."""
        key = dict(zip(GROUP, group, strict=True))
        self._found[group] = {
            name: [
                key | {column: as_text(row[column]) for column in COLUMNS[name] if column not in key} for row in rows
            ]
            for name, rows in found.items()
        }

    def save(self) -> list[Path]:
        """Writes all tables; restarts.csv last: what is in it is in the others."""
        for name in reversed(COLUMNS):
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS[name], lineterminator="\n")
            writer.writeheader()
            for group in self._order:
                writer.writerows(self._found.get(group, {}).get(name, []))
            write_atomically(self._workdir / name, text.getvalue())
        return [self._workdir / name for name in COLUMNS]


def _read(path: Path, columns: Sequence[str]) -> list[Record]:
    """Rows of a table; none where there is no such table, or one of another version, which is written again."""
    try:
        table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True)
        rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    whole = all(None not in row and None not in row.values() for row in rows)
    return rows if tuple(table.fieldnames or ()) == tuple(columns) and whole else []


def print_table(workdir: Path) -> None:
    """Prints restarts.csv, means over the pictures: a line for restarts and controls, by layer, variant and λ_TV."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    records = _read(workdir / RESTARTS, COLUMNS[RESTARTS])
    error = "normalized" if any(record["mean_normalized_error"] for record in records) else "relative"
    columns = (
        ("spread\npixels", "spread_pixels", "{:.1f}"),
        ("spread\nfeature", "spread_features", "{:.1%}"),
        ("\nerror", f"mean_{error}_error", "{:.1%}"),
        ("\nbest", f"best_{error}_error", "{:.1%}"),
        ("\nPSNR", "mean_psnr", "{:.1f}"),
        ("\nSSIM", "mean_ssim", "{:.2f}"),
        ("\ntop-1", "top1", "{:.0%}"),
        ("\ntop-5", "top5", "{:.0%}"),
    )
    groups: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        groups.setdefault(_name(record), {}).setdefault(record["of"], []).append(record)
    table = Table(f"{error}\nerrors", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, _, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, samples in groups.items():
        table.add_row(name)
        for of, rows in samples.items():
            table.add_row(f"  {of}", *(_mean(rows, column, style) for _, column, style in columns))
    Console().print(table)


def _name(record: Record) -> str:
    what = titled(record["representation"], record["layer"])
    return ", ".join(filter(None, (what, record["variant"], describe("lambda_tv", record["lambda_tv"]))))


def _mean(rows: Iterable[Record], column: str, style: str) -> str:
    mean, _ = mean_and_deviation(float(row[column]) for row in rows if row[column])
    return "–" if math.isnan(mean) else style.format(mean)
