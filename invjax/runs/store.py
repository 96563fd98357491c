"""The tables of a run: what their columns are, and how rows are written, and read back whole whatever happened.

results.csv    one `Row` per finished reconstruction; a row is there only when its files are
history.jsonl  one line per reconstruction: its `Key`, and the objective's terms along the way
failures.json  what could not be computed, and why

A kill in the middle of a line leaves half of one, without a newline: whoever reads passes over it, and the next process
that writes cuts it off.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import io
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar, get_type_hints

import numpy as np

from invjax.errors import UserError
from invjax.files import write_atomically
from invjax.types import titled

TABLE, HISTORIES, FAILURES = "results.csv", "history.jsonl", "failures.json"
CHUNK = 1000  # rows written at once where there are many

History: TypeAlias = Mapping[str, np.ndarray]  # "step" and the terms of the objective, [points] each
T = TypeVar("T")


class Key(NamedTuple):
    """What tells a reconstruction from all others of its run.

    λ_TV is text of six digits, as in the names of files, so that it is the same wherever it was written.
    """

    image: str
    representation: str
    layer: str
    variant: str
    lambda_tv: str
    restart: int

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Key:
        """The key among the fields of a row, a line of history or a failure.

        Args:
            fields: by name; of versions that had no layers and no variants, without these.

        Raises:
            KeyError, TypeError, ValueError: they are no such fields.
        """
        names = (str(fields[name]) for name in ("image", "representation"))
        more = (str(fields.get(name) or "") for name in ("layer", "variant"))
        texts = (*names, *more, f"{float(fields['lambda_tv']):.6g}")  # of which there may be millions, few different
        image, representation, layer, variant, weight = map(sys.intern, texts)
        return cls(image, representation, layer, variant, weight, int(fields["restart"]))

    @property
    def feature(self) -> str:
        """What was inverted: "hog", or "caffenet conv1"."""
        return titled(self.representation, self.layer)

    def __str__(self) -> str:
        """In words: "cat from hog, beta=1, λ_TV 5, restart 0"."""
        told = (describe(name, getattr(self, name)) for name in ("variant", "lambda_tv", "restart"))
        return ", ".join(filter(None, (f"{self.image} from {self.feature}", *told)))


Failure: TypeAlias = tuple[Key, str]  # what could not be computed, and why, in a line


def describe(name: str, value: Any) -> str:
    """The value of a field in words: λ_TV and restarts need their name, others speak for themselves."""
    if name == "lambda_tv":
        return f"λ_TV {value if isinstance(value, str) else f'{value:.6g}'}"
    return f"restart {value}" if name == "restart" else str(value)


@dataclasses.dataclass(frozen=True)
class Measure:
    """How a column that measures a reconstruction is shown.

    Attributes:
        heading: what it is.
        unit: in which it is shown, where it has one.
        factor: from the value to that unit.
        decimals: None: as many as make three significant digits.
        least_is_best: whether smaller values are better ones.
    """

    heading: str
    unit: str = ""
    factor: float = 1.0
    decimals: int | None = None
    least_is_best: bool = True

    @property
    def title(self) -> str:
        """Heading and unit: "normalized error, %"."""
        return ", ".join(filter(None, (self.heading, self.unit)))


ADDED = object()  # marks a column that tables of earlier versions do not have; it is empty there


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One finished reconstruction, a row of results.csv; what is not known is empty, of numbers NaN."""

    image: str
    representation: str
    layer: str
    weights: Annotated[str, ADDED]
    variant: Annotated[str, ADDED]
    recipe: str
    lambda_tv: float
    lambda_alpha: float
    seed: str
    restart: int
    steps: int
    status: str
    relative_error: Annotated[float, Measure("relative error")]
    normalized_error: Annotated[float, Measure("normalized error", "%", 100.0, decimals=1)]
    psnr: Annotated[float, Measure("PSNR", "dB", decimals=1, least_is_best=False)]
    ssim: Annotated[float, Measure("SSIM", decimals=2, least_is_best=False)]
    seconds: float
    picture: str

    @property
    def key(self) -> Key:
        """What tells it from all others of its run."""
        return Key.of({name: getattr(self, name) for name in Key._fields})

    @property
    def feature(self) -> str:
        """What was inverted, as of its key."""
        return titled(self.representation, self.layer)

    @property
    def weight(self) -> str:
        """λ_TV as of its key."""
        return self.key.lambda_tv


_TYPES = get_type_hints(Row)
_MARKS = {name: getattr(hint, "__metadata__", ()) for name, hint in get_type_hints(Row, include_extras=True).items()}
COLUMNS = tuple(_TYPES)
MEASURES = {name: mark for name, marks in _MARKS.items() for mark in marks if isinstance(mark, Measure)}
_BEFORE = {name: "" for name, marks in _MARKS.items() if ADDED in marks}


PARTS = "processes"  # folder of the parts of a run that several processes compute, each with tables of its own


def files(workdir: Path, name: str) -> list[Path]:
    """The tables of that name of a run, as far as they are there: its own, and those of its parts."""
    return [path for path in (workdir / name, *sorted(workdir.glob(f"{PARTS}/*/{name}"))) if path.is_file()]


# --- reading -----------------------------------------------------------------------------------------------------


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a results.csv one by one; none where there is no file.

    Raises:
        UserError: the file is not such a table.
    """
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(_whole_lines(file), strict=True)
            missing = sorted(set(COLUMNS) - _BEFORE.keys() - set(table.fieldnames or ()))
            if table.fieldnames and missing:
                raise UserError(f"{path}: is damaged: the table lacks the column {missing[0]}")
            for record in table:
                yield _row(_BEFORE | record, f"{path}: is damaged: line {table.line_num}")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is damaged: not a table of comma-separated values ({error})") from None


def _whole_lines(lines: Iterable[str]) -> Iterator[str]:
    """Lines without the last one where it has no end: it is just being written, or was when the process was killed."""
    return (line for line in lines if line.endswith(("\n", "\r")))


def _row(record: Mapping[str, str | None], place: str) -> Row:
    values: dict[str, Any] = {}
    for name, kind in _TYPES.items():
        text = record[name]
        if text is None:
            raise UserError(f"{place}: the row ends before the column {name}")
        try:
            values[name] = _PARSERS[kind](text)
        except ValueError:
            raise UserError(f"{place}: {name} is '{text}', not a number") from None
    return Row(**values)


_PARSERS: Mapping[type, Callable[[str], Any]] = {
    str: sys.intern,
    int: int,
    float: lambda text: math.nan if text == "" else float(text),
}


def read_history(line: bytes) -> tuple[Key, dict[str, np.ndarray]]:
    """A line of history.jsonl: whose it is, and float64 [points] of "step" and each term, NaN where there was none.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: it is no such line.
    """
    record = json.loads(line)
    history = {name: np.array(values, np.float64) for name, values in record.items() if isinstance(values, list)}
    if any(values.shape != (len(history["step"]),) for values in history.values()):
        raise ValueError("lists of different lengths")
    return Key.of(record), history


def read_failures(path: Path) -> list[Failure]:
    """What could not be computed, and why; none where there is no file.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    if not path.exists():
        return []
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return [(Key.of(record), str(record["reason"])) for record in records]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):  # all that odd JSON can raise
        raise UserError(f"{path}: is damaged") from None


def known_failures(path: Path) -> list[Failure]:
    """The same, none where the file is damaged: what it tells is tried again anyway."""
    with contextlib.suppress(UserError):
        return read_failures(path)
    return []


# --- writing -----------------------------------------------------------------------------------------------------


class Ledger:
    """The tables of a folder, open for more.

    Args:
        folder: where they are, or are to be.

    Attributes:
        folder: the same.
        finished: keys of all reconstructions that are done.
        failures: what could not be computed since it was opened, and why.

    Raises:
        UserError: results.csv is damaged.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._table, self._histories = folder / TABLE, folder / HISTORIES
        self.finished = self._opened_table()
        self.failures: list[Failure] = []
        self._repair_histories()

    def add(self, rows: Sequence[Row], histories: Iterable[History]) -> None:
        """Records finished reconstructions whose pictures are already written.

        Args:
            rows: the reconstructions.
            histories: one for each row.
        """
        lines = [_history_line(row, history) for row, history in zip(rows, histories, strict=True)]
        self._append(rows, lines)

    def fail(self, keys: Iterable[Key], reason: str) -> None:
        """Records reconstructions that could not be computed, and why, in a line."""
        self._fail([(key, reason) for key in keys])

    def absorb(self, other: Path) -> None:
        """Takes over what the tables of another folder have and these have not; a kill at any moment loses nothing.

        Args:
            other: the folder; what it holds is read, and left as it is.

        Raises:
            UserError: its results.csv is damaged.
        """
        fresh = {row.key for row in read_rows(other / TABLE)} - self.finished
        lines = (line for key, line in _first_lines(other / HISTORIES, fresh))
        for some in _chunks(lines):
            _extend(self._histories, b"".join(some))
        for rows in _chunks(row for row in read_rows(other / TABLE) if row.key in fresh):
            self._append(rows, [])
        self._fail(known_failures(other / FAILURES))

    def forgive(self) -> None:
        """Forgets failures of what is finished by now, and those that are told twice."""
        failures = {key: (key, reason) for key, reason in self.failures if key not in self.finished}
        self.failures = []
        (self.folder / FAILURES).unlink(missing_ok=True)
        self._fail(list(failures.values()))

    def sort(self, planned: Iterable[Key]) -> None:
        """Puts the rows in the order of the plan, as a single process writes them."""
        if not self.finished:
            return
        place = {key: number for number, key in enumerate(planned)}
        places = [place.get(row.key, len(place)) for row in read_rows(self._table)]
        with self._table.open("rb") as file:
            header, *lines = file
        ranked = sorted(zip(places, range(len(lines)), strict=True))
        if [number for _, number in ranked] != list(range(len(lines))):
            write_atomically(self._table, (header, *(lines[number] for _, number in ranked)))

    def _append(self, rows: Sequence[Row], lines: Sequence[bytes]) -> None:
        if not rows:
            return
        if lines:
            _extend(self._histories, b"".join(lines))
        # last: what is in the table is finished, what is not is done again
        _extend(self._table, _as_csv(rows, header=not self._table.exists() or not self._table.stat().st_size))
        self.finished |= {row.key for row in rows}

    def _fail(self, failures: Sequence[Failure]) -> None:
        self.failures += failures
        if self.failures:
            records = [
                key._asdict() | {"lambda_tv": float(key.lambda_tv), "reason": reason} for key, reason in self.failures
            ]
            write_atomically(self.folder / FAILURES, json.dumps(records, indent=2) + "\n")

    def _opened_table(self) -> set[Key]:
        """Cuts off half a row, and brings a table of an earlier version into the shape of today's."""
        if not self._table.exists():
            return set()
        _cut_torn_line(self._table)
        finished = {row.key for row in read_rows(self._table)}
        with self._table.open(encoding="utf-8", newline="") as file:
            header = file.readline().rstrip("\r\n")
        if header not in ("", ",".join(COLUMNS)):
            write_atomically(self._table, _as_csv(read_rows(self._table), header=True))
        return finished

    def _repair_histories(self) -> None:
        """Drops lines of reconstructions that were being recorded when the run was killed."""
        wanted = functools.partial(_first_lines, self._histories, self.finished)
        if self._histories.exists() and self._histories.stat().st_size != sum(len(line) for _, line in wanted()):
            write_atomically(self._histories, (line for _, line in wanted()))


def _history_line(row: Row, history: History) -> bytes:
    record = {name: getattr(row, name) for name in Key._fields}
    return (json.dumps(record | {term: _numbers(history[term]) for term in sorted(history)}) + "\n").encode()


def _first_lines(path: Path, keys: Collection[Key]) -> Iterator[tuple[Key, bytes]]:
    """The first line of history of each of some reconstructions."""
    seen: set[Key] = set()
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            key = _key_in(line) if line.endswith(b"\n") else None
            if key is not None and key in keys and key not in seen:
                seen.add(key)
                yield key, line


def _key_in(line: bytes) -> Key | None:
    """The key of a line of history; the numbers behind it take ten times as long to read."""
    head = line.partition(b": [")[0].rpartition(b", ")[0] + b"}"
    for text in (head, line):
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            return Key.of(json.loads(text))
    return None


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, CHUNK)):
        yield some


def _as_csv(rows: Iterable[Row], header: bool) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerows([as_text(getattr(row, name)) for name in COLUMNS] for row in rows)
    return table.getvalue().encode()


def as_text(value: Any) -> str:
    """A cell of a table: of numbers seven digits, nothing for NaN."""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{float(value):.7g}"
    return str(value)


def _extend(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _cut_torn_line(path: Path) -> None:
    """Shortens a file to its whole lines."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)


def _numbers(values: np.ndarray) -> list[float | int | None]:
    """JSON knows no NaN."""
    return [
        value if isinstance(value, int) else float(f"{value:.6g}") if math.isfinite(value) else None
        for value in values.tolist()
    ]
