"""What a run directory holds: the rows of results.csv, and all else as far as it is there and whole."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from invjax.errors import UserError
from invjax.runs import origins, store
from invjax.runs.store import Failure, History, Key, Row
from invjax.types import Origin

K = TypeVar("K", bound=Hashable)

STUDY = ("restarts.csv", "distances.csv", "best_of_k.csv")


def grouped(rows: Iterable[Row], key: Callable[[Row], K]) -> dict[K, list[Row]]:
    """Rows by key, keys in the order of their first row."""
    groups: dict[K, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


@dataclasses.dataclass(frozen=True)
class Table:
    """A file of comma-separated values as it is: names of the columns, and the cells of each row."""

    columns: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run directory.

    Attributes:
        workdir: the directory.
        rows: the reconstructions, at least one.
        name: what to call it, different for each run of a page.
        config: of config.json; empty when missing.
        environment: of environment.json; empty when missing.
        failures: what could not be computed, and why.
        origins: what the representations were made by, and the layers of their networks, by name.
        study: tables of the study of restarts, by the file's name; empty where there was none.
        warnings: what is missing or damaged, a line each; grows as files are read.
    """

    workdir: Path
    rows: list[Row]
    name: str = ""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    origins: dict[str, Origin] = dataclasses.field(default_factory=dict)
    study: dict[str, Table] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def histories(self) -> dict[Key, History]:
        """The loss curves of the rows by `Row.key`, read when they are asked for: nothing else is as long."""
        return _histories(self)

    @property
    def has_originals(self) -> bool:
        """False where features were given without a picture."""
        return not self.config.get("features")

    def warn(self, line: str) -> None:
        """Notes something missing or damaged, once."""
        if line not in self.warnings:
            self.warnings.append(line)

    def locate(self, name: str) -> Path | None:
        """The file of that name relative to the directory, or None when it is missing or lies outside."""
        try:
            path = (self.workdir / name).resolve()
            inside = path.is_relative_to(self.workdir.resolve()) and path.is_file()
        except (OSError, ValueError):  # names no file system would take
            return None
        return path if inside else None

    def lines(self, name: str, loss: str) -> Iterator[bytes]:
        """A file's lines, one after the other; arguments as of `read`."""
        path = self.locate(name)
        if path is None:
            self.warn(f"{name} is missing: {loss}")
            return
        try:
            with path.open("rb") as file:
                yield from file
        except OSError as error:
            self.warn(f"{name} cannot be read ({error.strerror}): {loss}")

    def read(self, name: str, loss: str) -> bytes | None:
        """A file's content; when there is none, a warning that says what the page lacks for it, `loss`."""
        path = self.locate(name)
        try:
            if path is not None:
                return path.read_bytes()
        except OSError as error:
            self.warn(f"{name} cannot be read ({error.strerror}): {loss}")
            return None
        self.warn(f"{name} is missing: {loss}")
        return None


def read(workdir: Path, name: str = "") -> Run:
    """Reads the tables of a run directory; pictures are read later, one by one.

    Args:
        workdir: the run directory.
        name: what to call it.

    Returns:
        The run; `warnings` names every file that is missing or damaged.

    Raises:
        UserError: no results.csv, one without rows, or one that cannot be read.
    """
    run = Run(workdir, _rows(workdir), name)
    run.config.update(_record(run, "config.json", "the configuration is not shown"))
    run.environment.update(_record(run, "environment.json", "date and device are not shown"))
    run.failures.extend(_failures(run))
    run.origins.update(_origins(run))
    run.study.update({name: table for name in STUDY if (table := _table(run, name))})
    return run


def _origins(run: Run) -> dict[str, Origin]:
    """Of all representations that the rows name; nothing is known of those of a damaged file."""
    names = dict.fromkeys(row.representation for row in run.rows)
    try:
        return origins.read(run.workdir, names)
    except (OSError, ValueError) as error:
        run.warn(f"{origins.NAME} is damaged ({error}): layers are not in the order of their networks")
        return {name: Origin(made_by=name) for name in names}


def short_names(workdirs: Sequence[Path]) -> list[str]:
    """As many last parts of different paths as it takes to tell them apart."""
    parts = [workdir.resolve().parts[1:] for workdir in workdirs]  # without the root
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [str(workdir.resolve()) for workdir in workdirs]


def _rows(workdir: Path) -> list[Row]:
    """Of all tables: several processes have one each, until the parts are brought together."""
    tables = store.files(workdir, store.TABLE)
    if not tables:
        raise UserError(f"{workdir}: not a run directory: there is no results.csv in it")
    rows = {row.key: row for table in tables for row in store.read_rows(table)}
    if not rows:
        raise UserError(f"{tables[0]}: no reconstructions in it yet")
    return list(rows.values())


def _record(run: Run, name: str, loss: str) -> dict[str, Any]:
    data = run.read(name, loss)
    if data is None:
        return {}
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        run.warn(f"{name} is damaged: {loss}")
        return {}
    return record


def _histories(run: Run) -> dict[Key, History]:
    name, wanted = store.HISTORIES, {row.key for row in run.rows}
    histories: dict[Key, History] = {}
    parts = [str(path.relative_to(run.workdir)) for path in store.files(run.workdir, name)]
    for part in parts or [name]:
        for number, line in enumerate(run.lines(part, "no loss curves"), start=1):
            try:
                if line.strip():
                    key, history = store.read_history(line)
                    histories |= {key: history} if key in wanted else {}
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # all that odd JSON can raise
                run.warn(f"{part}, line {number} is damaged: its loss curve is not shown")
    absent = len(wanted - histories.keys())
    if absent and run.locate(name):
        run.warn(f"{name} lacks the loss curves of {absent} of {len(run.rows)} reconstructions")
    return histories


def _failures(run: Run) -> list[Failure]:
    if run.locate(store.FAILURES) is None:
        return []
    try:
        return store.read_failures(run.workdir / store.FAILURES)
    except UserError:
        run.warn(f"{store.FAILURES} is damaged: what failed is not shown")
        return []


def _table(run: Run, name: str) -> Table | None:
    data = None if run.locate(name) is None else run.read(name, "the study is not shown")
    if data is None:
        return None
    try:
        columns, *rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    except (ValueError, csv.Error):
        columns, rows = [], []
    if not columns or any(len(row) != len(columns) for row in rows):
        run.warn(f"{name} is damaged: the study is not shown")
        return None
    return Table(columns, rows)
