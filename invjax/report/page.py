"""The report of a run: `write` turns a run directory into one HTML file that needs nothing else."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import jinja2

from invjax.files import write_atomically
from invjax.report import figures, layers, rundir
from invjax.report.rundir import Row, Run, grouped

WHOLE_BYTES = 4 << 20  # pictures of more than that in all are thumbnails, linked to their files
OPEN_CURVES = 6  # with more groups than that, loss curves are folded away

STATUS = {
    "ok": "every step was sound",
    "recovered": "some steps left the finite range or exploded; they were undone and the learning rate halved",
    "diverged": "the descent failed too often and was given up; the picture is the best there was",
}
TERMS = {
    "total": "the whole objective",
    "data": "mismatch of the features",
    "alpha": "α-norm, against extreme pixels",
    "tv": "total variation, against noise",
    "range": "leaving the range of real pixels",
}
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Shot:
    """A picture of the run on the page; the rest is None when its file is missing or damaged.

    Attributes:
        id: its place on the page.
        shown: what the page holds of it, once.
        link: URL of its file, relative to the page.
        full: `link` where the page holds a thumbnail only.
    """

    id: str
    shown: figures.Picture | None = None
    link: str | None = None
    full: str | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
    """One reconstruction on the page."""

    row: Row
    color: str
    shot: Shot
    error_map: figures.Picture | None


@dataclasses.dataclass(frozen=True)
class Group:
    """The restarts of one picture and one representation.

    Attributes:
        image: name of the picture.
        label: what was inverted.
        original: None where the features came without a picture.
        cells: the restarts.
        curves: (term, inside of an <svg>).
    """

    image: str
    label: str
    original: Shot | None
    cells: list[Cell]
    curves: list[tuple[str, str]]


def write(workdir: Path) -> Path:
    """Writes report.html into a run directory: a function of the files there and nothing else.

    A picture, history line or environment that is missing or damaged is named on the page, which is written all the
    same.

    Args:
        workdir: the run directory, with results.csv.

    Returns:
        Path of report.html.

    Raises:
        UserError: not a run directory, or results.csv is empty or damaged.
        OSError: the directory cannot be written.
    """
    workdir = Path(workdir)
    path = workdir / "report.html"
    write_atomically(path, render(rundir.read(workdir)))
    return path


def render(run: Run) -> str:
    """The page of a run.

    Args:
        run: of `rundir.read`.

    Returns:
        HTML.
    """
    label = _labels(run.rows)
    images = grouped(run.rows, lambda row: row.image)
    thumbnails = _picture_bytes(run) > WHOLE_BYTES
    cells = {row: _cell(run, row, f"shot-{number}", thumbnails) for number, row in enumerate(run.rows)}
    originals = {image: _original(run, image, f"original-{number}", thumbnails) for number, image in enumerate(images)}
    sections = {
        image: [
            _group(run, name, originals[image], [cells[row] for row in group])
            for name, group in grouped(rows, label).items()
        ]
        for image, rows in images.items()
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, exact=exact, spread=spread, percent=lambda value: 100 * value)
    return environment.get_template("page.html").render(
        title=_title(run.rows),
        summary=_summary(run),
        warnings=run.warnings,
        sections=sections,
        sheets=layers.sheets(run.rows),
        originals=originals,
        cells=cells,
        layer_tables=layers.tables(run.rows),
        open_curves=sum(map(len, sections.values())) <= OPEN_CURVES,
        table=grouped(run.rows, label),
        config=flat(run.config),
        environment=flat(run.environment),
        color_bar=figures.color_bar(),
        curve_points=figures.CURVE_POINTS,
        terms=TERMS,
        status=STATUS,
        columns=list(rundir.COLUMNS)[:-1],
        isnan=math.isnan,
        count=count,
    )


def _labels(rows: list[Row]) -> Callable[[Row], str]:
    """How to call what was inverted: the weight of total variation only matters where there are several."""
    several = len({row.weight for row in rows}) > 1

    def label(row: Row) -> str:
        name = f"{row.representation} {row.layer}".strip()
        return f"{name}, λ_TV = {row.lambda_tv:g}" if several else name

    return label


def _picture_bytes(run: Run) -> int:
    """Size of all pictures of the page."""
    names = {row.picture for row in run.rows} | {_original_path(row.image) for row in run.rows}
    return sum(path.stat().st_size for path in map(run.locate, names) if path)


def _original_path(image: str) -> str:
    return f"images/{image}/original.png"


def _original(run: Run, image: str, place: str, thumbnails: bool) -> Shot | None:
    return None if run.config.get("features") else _shot(run, _original_path(image), place, thumbnails)


def _group(run: Run, label: str, original: Shot | None, cells: list[Cell]) -> Group:
    cells = sorted(cells, key=lambda cell: cell.row.restart)
    rows = [cell.row for cell in cells]
    return Group(rows[0].image, label, original, cells, _curves(run, rows, f"curve-{cells[0].shot.id}"))


def _cell(run: Run, row: Row, place: str, thumbnails: bool) -> Cell:
    shot = _shot(run, row.picture, place, thumbnails)
    arrays = row.picture.removesuffix(".png") + ".npz"
    error_map = _decoded(run, arrays, "its error map is not shown", figures.error_map)
    return Cell(row, figures.color(row.restart), shot, error_map)


def _shot(run: Run, name: str, place: str, thumbnails: bool) -> Shot:
    shown = _decoded(run, name, "it is not shown", lambda data: figures.picture(data, thumbnails))
    path = run.locate(name)
    if shown is None or path is None:
        return Shot(place)
    link = quote(path.relative_to(run.workdir.resolve()).as_posix())
    return Shot(place, shown, link, link if thumbnails else None)


def _decoded(run: Run, name: str, loss: str, decode: Callable[[bytes], T]) -> T | None:
    data = run.read(name, loss)
    try:
        return None if data is None else decode(data)
    except Exception:  # decoders raise whatever they like on a broken file
        run.warn(f"{name} is damaged: {loss}")
        return None


def _curves(run: Run, rows: list[Row], prefix: str) -> list[tuple[str, str]]:
    histories = [(run.histories[row.key], figures.color(row.restart)) for row in rows if row.key in run.histories]
    known = {name for history, _ in histories for name in history} - {"step"}
    terms = [name for name in TERMS if name in known] + sorted(known - TERMS.keys())
    curves = []
    for position, term in enumerate(terms):
        lines = [(history["step"], history[term], color) for history, color in histories if term in history]
        curves.append((term, figures.loss_curve(lines, f"{prefix}-{position}-")))
    return curves


def _title(rows: list[Row]) -> str:
    names = list(dict.fromkeys(row.representation for row in rows))
    if len(names) > 4:
        return f"What {len(names)} representations remember"
    return f"What {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))} remember{'s' * (len(names) == 1)}"


def _summary(run: Run) -> list[tuple[str, str]]:
    """The run in a few words, as (name, value)."""
    inverted = grouped(run.rows, lambda row: (row.representation, row.layer))
    factors = {
        "feature" if run.config.get("features") else "picture": len({row.image for row in run.rows}),
        "layer" if all(row.layer for row in run.rows) else "representation": len(inverted),
        "weight": max(len({row.weight for row in rows}) for rows in inverted.values()),  # a layer may have its own
        "restart": len({row.restart for row in run.rows}),
    }
    planned = math.prod(factors.values())
    done = count(len(run.rows), "reconstruction")
    product = " × ".join(count(factor, noun) for noun, factor in factors.items() if noun != "weight" or factor > 1)
    facts = {
        "run": f"{product} = {done}" if planned == len(run.rows) else f"{product}, {done} of {planned}",
        "network weights": str(run.config.get("weights") or ""),
        "recipe": ", ".join(dict.fromkeys(row.recipe for row in run.rows)),
        "steps": ", ".join(dict.fromkeys(str(row.steps) for row in run.rows)),
        "date": _date(str(run.environment.get("started") or "")),
        "device": str(run.environment.get("device") or ""),
    }
    return [(name, value) for name, value in facts.items() if value]


def _date(started: str) -> str:
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return started
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip()


def count(number: int, noun: str) -> str:
    """'1 picture', '4 pictures'."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def number(value: float) -> str:
    """Three significant digits, plain where that is short: 0.0213, 17.2, 1,240, 3.20e-07; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".removesuffix(".")
    return text.replace("-", "−", 1) if value < 0 else text


def exact(value: float) -> str:
    """Six significant digits, as in results.csv: 0.5, 0.0213456, 4.2e+07; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:g}"


def spread(values: Iterable[float]) -> str:
    """Mean ± sample standard deviation of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return number(finite[0] if finite else math.nan)
    mean, deviation = number(statistics.fmean(finite)), statistics.stdev(finite)
    if "e" in mean:
        return f"{mean} ± {number(deviation)}"
    return f"{mean} ± {deviation:.{len(mean.partition('.')[2])}f}"


def flat(record: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested records as lines of a table: {"a": {"b": [1, 2]}} is [("a.b", "1, 2")]."""
    lines = []
    for name, value in record.items():
        if isinstance(value, dict) and value:
            lines += flat(value, f"{prefix}{name}.")
        else:
            lines.append((f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return lines
