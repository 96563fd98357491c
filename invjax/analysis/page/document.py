"""The report: `write` turns run directories into one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from invjax.analysis import words
from invjax.analysis.frame import features_of, frame_of, measure_of
from invjax.analysis.page import explorer, heatmap
from invjax.analysis.page.choices import Choices, choices
from invjax.analysis.page.items import Item, Items
from invjax.errors import UserError
from invjax.files import write_atomically
from invjax.runs import rundir
from invjax.runs.rundir import Run, grouped
from invjax.runs.store import COLUMNS, MEASURES, Row, describe

HERE = Path(__file__).parent
SCRIPTS = ("state.js", "viewer.js", "curves.js", "sheets.js", "page.js")
CHIPS = 24  # with more values than that, a choice is a list to pull down
STUDY_ROWS = 500  # of a table of the study; the rest is in its file
FILES = ("results.csv", "history.jsonl", *rundir.STUDY)
FOLDERS = ("figures", "tables")  # of files for a paper
MOST = 2000  # reconstructions of a page, some 40 MB of them; of more, those of some pictures


def write(workdirs: Path | Sequence[Path], out: Path | None = None) -> Path:
    """Writes the page of one or several run directories: a function of the files there and nothing else.

    A picture, history line or environment that is missing or damaged is named on the page, which is written all the
    same.

    Args:
        workdirs: the run directories, with results.csv; several are compared.
        out: the HTML file, which links to the pictures relative to its own place; default report.html in the
            directory, where it is just one.

    Returns:
        Path of the page.

    Raises:
        UserError: not a run directory, or results.csv is empty or damaged; several directories without `out`, or the
            same one twice.
        OSError: the page cannot be written.
    """
    paths = [Path(workdirs)] if isinstance(workdirs, (str, Path)) else [Path(workdir) for workdir in workdirs]
    if out is None and len(paths) != 1:
        raise UserError(f"a page of {len(paths)} run directories needs a place: say which file to write")
    again = [path for place, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:place]}]
    if again:
        raise UserError(f"{again[0]}: given twice")
    out = paths[0] / "report.html" if out is None else Path(out)
    names = rundir.short_names(paths) if len(paths) > 1 else [""]  # a page of one is the same in any folder
    runs = [rundir.read(path, name) for path, name in zip(paths, names, strict=True)]
    write_atomically(out, render(*_excerpt(runs), out.parent))
    return out


def _excerpt(runs: Sequence[Run]) -> tuple[Sequence[Run], str]:
    """At most MOST reconstructions, all of some pictures, evenly spaced; and which these are, where not all of them."""
    images = list(dict.fromkeys(row.image for run in runs for row in run.rows))
    count = max(1, len(images) * MOST // sum(len(run.rows) for run in runs))
    if count >= len(images):
        return runs, ""
    chosen = {images[number * len(images) // count] for number in range(count)}
    told = f"{words.count(count, 'picture')} of {len(images):,}, evenly spaced; tables and results.csv are of all"
    kept = [(run, [row for row in run.rows if row.image in chosen]) for run in runs]
    return [dataclasses.replace(run, rows=rows) for run, rows in kept if rows], told


def render(runs: Sequence[Run], excerpt: str, folder: Path) -> str:
    """The page of some runs.

    Args:
        runs: of `rundir.read`, at least one, with different names.
        excerpt: what the page is of, where that is not everything.
        folder: where the page will be.

    Returns:
        HTML.
    """
    embedded = Items(runs, folder)
    frame = frame_of(runs)
    made = choices(embedded.items, features_of(frame))
    rows = [item.row for item in embedded.items]
    data = explorer.data(embedded.items, made) | {"thumbnails": embedded.thumbnails, "common": _common(rows)}
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return _template().render(
        title=_title(rows),
        summary=[("this page", excerpt)] * bool(excerpt) + _summary(runs, made),
        runs=runs,
        warnings=[_of(run, line, runs) for run in runs for line in run.warnings],
        failures=[(run, key, reason) for run in runs for key, reason in run.failures],
        choices=made,
        noun=made.dimension("representation").label,
        common=_common(rows),
        portraits=_portraits(embedded.items),
        chips=CHIPS,
        heat=heatmap.table(embedded.items, made, measure_of(frame)),
        table=_by_label(embedded.items, made),
        gallery=_gallery(embedded.items, made),
        items=embedded.items,
        links=[(run, [(name, link) for name in _files(run) if (link := embedded.link(run, name))]) for run in runs],
        study=[(run, name, table) for run in runs for name, table in run.study.items()],
        study_rows=STUDY_ROWS,
        differing=_differing(runs),
        status=explorer.STATUS,
        columns=COLUMNS[:-1],
        measures=MEASURES,
        data=explorer.as_script(data),
        script=script,
        # the page can load pictures that lie beside it, run this very script, and nothing else
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.number,
        exact=words.exact,
        cell=words.cell,
        flat=words.flat,
    )
    environment.globals.update(count=words.count, spread=words.spread, describe=describe)
    return environment.get_template("page.html")


def _of(run: Run, line: str, runs: Sequence[Run]) -> str:
    return line if len(runs) == 1 else f"{run.name}: {line}"


def _common(rows: Sequence[Row]) -> str:
    """What all names of layers begin with, and so need not be said: the network, where it is one."""
    networks = {row.representation for row in rows}
    return f"{rows[0].representation} " if len(networks) == 1 and all(row.layer for row in rows) else ""


def _portraits(items: Sequence[Item]) -> dict[str, str]:
    """A picture to choose each name by, the id of its original, where there is one."""
    originals = [(item.row.image, item.original.id) for item in items if item.original and item.original.shown]
    return dict(reversed(originals))


def _by_label(items: Sequence[Item], made: Choices) -> dict[str, list[Row]]:
    """The rows to take means of, by what was inverted and how."""
    groups: dict[str, list[Row]] = {}
    for item, place in zip(items, made.places, strict=True):
        groups.setdefault(explorer.label(item.row, place, made), []).append(item.row)
    return groups


def _gallery(items: Sequence[Item], made: Choices) -> dict[str, dict[str, Any]]:
    """Every picture once, by the name of what it shows: originals, deviations, and (place, label, reconstruction)."""
    gallery: dict[str, dict[str, Any]] = {}
    once = {item.picture.id: place for place, item in reversed(list(enumerate(items)))}
    for place, item in enumerate(items):
        group = gallery.setdefault(item.row.image, {"originals": {}, "deviations": {}, "items": []})
        for kept, embedded in ((group["originals"], item.original), (group["deviations"], item.deviation)):
            if embedded:
                kept[embedded.id] = embedded
        if once[item.picture.id] == place:
            label = f"{explorer.label(item.row, made.places[place], made)}, {describe('restart', item.row.restart)}"
            group["items"].append((place, label, item))
    return gallery


def _files(run: Run) -> list[str]:
    """What else there is to look at, by name."""
    made = [path for folder in FOLDERS for path in sorted((run.workdir / folder).glob("[!.]*"))]
    return [*FILES, *(path.relative_to(run.workdir).as_posix() for path in made)]


def _differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The fields of the configs in which runs differ, a value for each run."""
    configs = [words.flat(run.config) for run in runs]
    names = dict.fromkeys(name for config in configs for name in config)
    values = {name: [config.get(name, "") for config in configs] for name in names}
    return {name: of_runs for name, of_runs in values.items() if len(set(of_runs)) > 1}


def _title(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(row.representation for row in rows))
    if len(names) > 4:
        return f"What {len(names)} representations remember"
    return f"What {words.listed(names)} remember{'s' * (len(names) == 1)}"


def _summary(runs: Sequence[Run], made: Choices) -> list[tuple[str, str]]:
    """The page in a few words, as (name, value)."""
    rows = [row for run in runs for row in run.rows]
    facts = {
        "runs" if len(runs) > 1 else "run": _size(runs, made),
        "network weights": ", ".join(dict.fromkeys(filter(None, map(_weights, runs)))),
        "recipe": ", ".join(dict.fromkeys(row.recipe for row in rows)),
        "steps": ", ".join(dict.fromkeys(str(row.steps) for row in rows)),
        "date": "" if len(runs) > 1 else words.date(str(runs[0].environment.get("started") or "")),
        "device": ", ".join(dict.fromkeys(str(run.environment.get("device") or "") for run in runs)),
    }
    return [(name, value) for name, value in facts.items() if value]


def _weights(run: Run) -> str:
    return ", ".join(dict.fromkeys(row.weights for row in run.rows if row.weights)) or str(
        run.config.get("weights") or ""
    )


def _size(runs: Sequence[Run], made: Choices) -> str:
    """'2 pictures × 3 layers × 4 restarts = 24 reconstructions', or how many of these there are."""
    rows = [row for run in runs for row in run.rows]
    variants = len({row.variant for row in rows})
    inverted = grouped(rows, lambda row: (row.feature, row.variant))
    factors = {
        "run": len(runs),
        made.dimension("image").label: len({row.image for row in rows}),
        made.dimension("representation").label: len({row.feature for row in rows}),
        "variant": variants,
        "λ_TV": max(len({row.weight for row in group}) for group in inverted.values()),  # a layer may have its own
        "restart": len({row.restart for row in rows}),
    }
    hidden = ("run", "variant", "λ_TV")
    product = " × ".join(
        words.count(factor, noun) for noun, factor in factors.items() if factor > 1 or noun not in hidden
    )
    done, planned = words.count(len(rows), "reconstruction"), math.prod(factors.values())
    if planned == len(rows):
        return f"{product} = {done}"
    # runs and variants need not have the same of all
    return f"{product}: {done}" if len(runs) > 1 or variants > 1 else f"{product}, {done} of {planned}"
