"""Which reconstruction stands where in a grid of pictures."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from invjax.analysis.frame import LINE, SERIES, labels, values, varying
from invjax.errors import UserError, suggestion
from invjax.runs.fields import AXES
from invjax.runs.store import describe

if TYPE_CHECKING:
    import pandas

ABREAST = 12  # columns side by side; more layers go on below, more of anything else are left out
LINES = 8  # of pictures; all lines of one picture stay together
MOST_LINES = 20
FIELDS = ("image", *LINE, *SERIES)  # what reconstructions differ in but for their restarts
NOUNS = {"image": "pictures", "lambda_tv": "values of λ_TV"}


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the grid.

    Attributes:
        name: what tells it from other lines, but for the picture where that is shown.
        image: the picture that its reconstructions are of; "" where there are several.
        cells: for each column a row of the results, with its fields as attributes, or None.
    """

    name: str
    image: str
    cells: list[Any]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid of reconstructions.

    Attributes:
        columns: titles, "" where the picture above tells it.
        images: for each column the picture that it is of; none where there are several.
        lines: the lines.
        common: what all reconstructions have in common, and which of several were taken.
        omitted: what there was no room for.
    """

    columns: list[str]
    images: list[str]
    lines: list[Line]
    common: list[str]
    omitted: list[str]


def arrange(frame: pandas.DataFrame, rows: str = "", columns: str = "", named: bool = False) -> Grid:
    """Lays reconstructions out by two of their fields.

    Args:
        frame: of `read_results`, one run.
        rows: what goes down, one of AXES, where label is representation, layer and variant in one; default the image.
        columns: what goes across; default the first of layer, representation, variant, λ_TV and restart that varies.
        named: whether pictures are told by their names, there being no originals to show.

    Returns:
        The grid. Fields that are on neither axis and still vary make more lines, those of one picture below each
        other; of restarts the best by relative error is taken.

    Raises:
        UserError: no such field, or the same twice.
    """
    frame = _named(frame)
    rows, columns = _axes(frame, rows, columns)
    further = varying(frame, [rows, columns], [field for field in FIELDS if field not in (rows, columns)])
    down = sorted([rows, *further], key=lambda field: field != "image")
    common, omitted = _common(frame, rows, columns), list[str]()
    frame = _fitting(frame, down, columns, omitted)
    best = frame.sort_values("relative_error", kind="stable").drop_duplicates([*down, columns])
    found = {(*(getattr(row, field) for field in down), getattr(row, columns)): row for row in best.itertuples()}
    across, told = values(frame, columns), named or columns != "image"
    lines = [
        _line(down, key, [found.get((*key, value)) for value in across], named)
        for key in itertools.product(*(values(frame, field) for field in down))
    ]
    lines = [line for line in lines if any(line.cells)]
    return Grid(
        [(describe(columns, value) or "–") if told else "" for value in across],
        across if columns == "image" else [],
        lines[:MOST_LINES],
        common,
        omitted + [f"{MOST_LINES} of {len(lines)} lines"] * (len(lines) > MOST_LINES),
    )


def bands(columns: int) -> list[slice]:
    """Cuts columns into as few parts as will do, of about the same size, to stand below each other."""
    parts = -(-columns // ABREAST)
    return [slice(columns * part // parts, columns * (part + 1) // parts) for part in range(parts)]


def _axes(frame: pandas.DataFrame, rows: str, columns: str) -> tuple[str, str]:
    for field in filter(None, (rows, columns)):
        if field not in AXES:
            raise UserError(f"a figure has no rows or columns by '{field}'. {suggestion(field, AXES)}")
    if rows and rows == columns:
        raise UserError(f"rows and columns of a figure must be different fields, both are '{rows}'")
    choice = varying(frame, ["representation"], ["layer"])
    whole = "representation" if frame.variant.nunique() > 1 else "label"
    choice += [field for field in (whole, "variant", "lambda_tv", "restart") if frame[field].nunique() > 1]
    choice += ["representation", "image"]
    columns = columns or next(field for field in choice if field != rows)
    return rows or next(field for field in ["image", *choice] if field != columns), columns


def _named(frame: pandas.DataFrame) -> pandas.DataFrame:
    """With labels, and what has no layers as a layer of its own beside those of networks."""
    fields = [field for field in LINE if frame[field].nunique() > 1] or ["representation"]
    label = frame[fields].agg(" ".join, axis=1).str.strip()
    if frame.variant.nunique() > 1:
        label = (label + ", " + frame.variant).str.removesuffix(", ")
    return frame.assign(
        label=label, layer=frame.layer.where(frame.layer.ne("") | ~frame.layer.any(), frame.representation)
    )


def _fitting(frame: pandas.DataFrame, down: list[str], columns: str, omitted: list[str]) -> pandas.DataFrame:
    """The columns and pictures that there is room for."""
    if columns != "layer":
        frame = _first(frame, columns, ABREAST, omitted)
    if "image" not in down:
        return frame
    each = frame.drop_duplicates(down).groupby("image").size().max() * len(bands(frame[columns].nunique()))
    return _first(frame, "image", max(1, LINES // each), omitted)


def _first(frame: pandas.DataFrame, field: str, most: int, omitted: list[str]) -> pandas.DataFrame:
    there = values(frame, field)
    if len(there) <= most:
        return frame
    omitted.append(f"{most} of {len(there)} {NOUNS.get(field, f'{field}s')}")
    return frame[frame[field].isin(there[:most])]


def _line(down: list[str], key: tuple[Any, ...], cells: list[Any], named: bool) -> Line:
    told = dict(zip(down, key, strict=True))
    images = {row.image for row in cells if row}
    if not named:
        told.pop("image", None)
    return Line(labels(list(told), list(told.values())), images.pop() if len(images) == 1 else "", cells)


def _common(frame: pandas.DataFrame, rows: str, columns: str) -> list[str]:
    fields = [field for field in FIELDS[1:] if field not in (rows, columns) and frame[field].nunique() == 1]
    restarts = 1 if "restart" in (rows, columns) else frame.restart.nunique()
    names = [describe(field, frame[field].iloc[0]) for field in fields]
    return [name for name in names if name] + [f"best of {restarts} restarts"] * (restarts > 1)
