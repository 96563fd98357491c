"""The study of a run directory."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from invjax import bars
from invjax.analysis.restarts.pictures import Restarts, Warn, write_deviation
from invjax.analysis.restarts.study import Study
from invjax.analysis.restarts.tables import Found, Tables, group_of
from invjax.errors import UserError
from invjax.runs import config as configs
from invjax.runs import rundir, sweep
from invjax.runs.rundir import Run, grouped
from invjax.runs.store import Row

SAVE_SECONDS = 60.0  # between two writings of the tables, and two lines where there is no terminal for a bar


def write(workdir: Path, warn: Warn | None = None) -> list[Path]:
    """Studies the restarts of a run directory.

    What was studied before, with as many restarts, is not computed again. The picture itself is what Φ was shown,
    exactly, as the run has kept it; errors, PSNR and SSIM of the reconstructions are those of results.csv. Restarts
    that diverged count like any other.

    Args:
        workdir: the run directory.
        warn: is told, in a line each, what is missing or damaged and therefore left out; default: printed to stderr.

    Returns:
        The files written: restarts.csv, distances.csv, best_of_k.csv, and maps of deviation.

    Raises:
        UserError: not a run directory, or nothing in it can be studied.
        OSError: a file cannot be written.
    """
    warn = functools.cache(warn or _print)  # variants may lack the same file: once is enough
    run = rundir.read(workdir)
    variants = _variants(run)
    groups = grouped(run.rows, group_of)
    tables = Tables(workdir, {group: len(rows) for group, rows in groups.items()})
    left = [row for group, rows in groups.items() if group not in tables for row in rows]
    maps: list[Path] = []
    failures: list[str] = []
    try:
        studies = _studies(run, variants, left, warn, failures)
        for restarts, found in _saving(studies, len(grouped(left, group_of)), tables):
            maps += write_deviation(run, restarts)
            tables.add(restarts.group, found)
    finally:
        files = tables.save() if len(tables) else []
    if not files:
        raise UserError(f"{workdir}: nothing could be studied: {'; '.join(failures) or 'no picture can be read'}")
    for failure in failures:
        warn(failure)
    return [*files, *maps]


def _studies(
    run: Run, variants: Mapping[str, ConfigDict], rows: Iterable[Row], warn: Warn, failures: list[str]
) -> Iterator[tuple[Restarts, Found]]:
    """What is found of each group; representations that cannot be built are added to `failures`."""
    for (name, variant), same in grouped(rows, lambda row: (row.representation, row.variant)).items():
        try:
            if variant not in variants:
                raise UserError(f"config.json has no variant '{variant}'")
            study = Study(run, variants[variant], same, warn)
            for of_one_picture in grouped(same, lambda row: row.image).values():
                yield from study.study(of_one_picture)
        except UserError as error:
            failures.append(f"{', '.join(filter(None, (name, variant)))}: not studied: {error}")


def _saving(studies: Iterator[tuple[Restarts, Found]], total: int, tables: Tables) -> Iterator[tuple[Restarts, Found]]:
    """The same, with a bar or lines of progress; writes the tables now and then."""
    saved = time.monotonic()
    for done, study in enumerate(bars.over(studies, "studying restarts", total)):
        if time.monotonic() - saved > SAVE_SECONDS:
            saved = time.monotonic()
            tables.save()
            if not sys.stderr.isatty():
                _print(f"restarts of {done} of {total} groups studied")
        yield study


def _variants(run: Run) -> dict[str, ConfigDict]:
    """The configs of the run, by the names that the results have for them."""
    if not run.config:
        raise UserError(f"{run.workdir}/config.json: missing or damaged; it tells what the reconstructions are of")
    config = configs.default()
    try:
        config.update({field: value for field, value in run.config.items() if field in config})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{run.workdir}/config.json: damaged, or of another version ({error})") from None
    return dict(sweep.expand(config))


def _print(line: str) -> None:
    print(f"invjax: {line}", file=sys.stderr)
