"""The ledger of a run: what is finished, appended row by row, and read back whole whatever happened.

results.csv    one row per finished reconstruction; a row is there only when its files are
history.jsonl  one line per reconstruction: the objective's terms along the way
failures.json  what could not be computed, and why

A kill in the middle of a line leaves half of one: the next opening cuts it off, readers pass over it.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import itertools
import json
import math
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from invjax.errors import UserError
from invjax.files import write_atomically

KEY = ("image", "representation", "layer", "variant", "lambda_tv", "restart")
COLUMNS = (
    *("image", "representation", "layer", "weights", "variant", "recipe", "lambda_tv", "lambda_alpha", "seed"),
    *("restart", "steps", "status", "relative_error", "normalized_error", "psnr", "ssim", "seconds", "picture"),
)
NEW = dict.fromkeys(("weights", "variant"), "")  # columns that tables of earlier versions do not have
CHUNK = 1000  # rows written at once where there are many

Row: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, ...]
T = TypeVar("T")


def key_of(row: Mapping[str, Any]) -> Key:
    """What tells one reconstruction from another."""
    return tuple(sys.intern(_cell(row.get(name, NEW.get(name)))) for name in KEY)


class Ledger:
    """The ledger of a folder, open for more.

    Args:
        folder: where it is, or is to be.

    Attributes:
        folder: the same.
        finished: `key_of` every reconstruction that is done.
        failures: what could not be computed since it was opened.

    Raises:
        UserError: results.csv is damaged.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._table, self._histories = folder / "results.csv", folder / "history.jsonl"
        self.finished = self._opened_table()
        self.failures: list[Row] = []
        self._repair_histories()

    def add(self, rows: Iterable[Row], histories: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Records finished reconstructions whose pictures are already written.

        Args:
            rows: with all COLUMNS.
            histories: one for each row, equally long arrays by term.
        """
        rows = list(rows)
        lines = [
            json.dumps({name: row[name] for name in KEY} | {term: _numbers(history[term]) for term in sorted(history)})
            for row, history in zip(rows, histories, strict=True)
        ]
        self._append(rows, [f"{line}\n".encode() for line in lines])

    def fail(self, keys: Iterable[Row], reason: str) -> None:
        """Records reconstructions that could not be computed.

        Args:
            keys: with all of KEY.
            reason: why, a line.
        """
        self._fail([{name: key[name] for name in KEY} | {"reason": reason} for key in keys])

    def absorb(self, other: Path) -> None:
        """Takes over what the ledger of another folder has and this one has not; a kill at any moment loses nothing.

        Args:
            other: the folder; what it holds is read, and left as it is.

        Raises:
            UserError: its results.csv is damaged.
        """
        fresh = {key_of(row) for row in iter_rows(other / "results.csv")} - self.finished
        lines = (line for key, line in _first_lines(other / "history.jsonl", fresh))
        for some in _chunks(lines):
            _extend(self._histories, b"".join(some))
        for rows in _chunks(row for row in iter_rows(other / "results.csv") if key_of(row) in fresh):
            self._append(rows, [])
        if (other / "failures.json").exists():
            self._fail(json.loads((other / "failures.json").read_text(encoding="utf-8")))

    def sort(self, planned: Iterable[Key]) -> None:
        """Puts the rows in the order of the plan, as a single process writes them."""
        if not self.finished:
            return
        place = {key: number for number, key in enumerate(planned)}
        places = [place.get(key_of(row), len(place)) for row in iter_rows(self._table)]
        with self._table.open("rb") as file:
            header, *lines = file
        ranked = sorted(zip(places, range(len(lines)), strict=True))
        if [number for _, number in ranked] != list(range(len(lines))):
            write_atomically(self._table, (header, *(lines[number] for _, number in ranked)))

    def _append(self, rows: list[Row], lines: list[bytes]) -> None:
        if not rows:
            return
        if lines:
            _extend(self._histories, b"".join(lines))
        # last: what is in the table is finished, what is not is done again
        _extend(self._table, _as_csv(rows, header=not self._table.exists() or not self._table.stat().st_size))
        self.finished |= {key_of(row) for row in rows}

    def _fail(self, failures: list[Row]) -> None:
        self.failures += failures
        if self.failures:
            write_atomically(self.folder / "failures.json", json.dumps(self.failures, indent=2) + "\n")

    def _opened_table(self) -> set[Key]:
        """Cuts off half a row, and brings a table of an earlier version into the shape of today's."""
        if not self._table.exists():
            return set()
        _cut_torn_line(self._table)
        finished = {key_of(row) for row in iter_rows(self._table)}
        with self._table.open(encoding="utf-8", newline="") as file:
            header = file.readline().rstrip("\r\n")
        if header not in ("", ",".join(COLUMNS)):
            write_atomically(self._table, _as_csv(iter_rows(self._table), header=True))
        return finished

    def _repair_histories(self) -> None:
        """Drops lines of reconstructions that were being recorded when the run was killed."""
        wanted = functools.partial(_first_lines, self._histories, self.finished)
        if self._histories.exists() and self._histories.stat().st_size != sum(len(line) for _, line in wanted()):
            write_atomically(self._histories, (line for _, line in wanted()))


def iter_rows(path: Path) -> Iterator[Row]:
    """Rows of a results.csv one by one, all values text; none where there is no file.

    Raises:
        UserError: the file is not such a table.
    """
    if not path.exists():
        return
    damaged = f"{path}: is damaged: not a table with the columns {', '.join(COLUMNS)}"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(line for line in file if line.endswith(("\n", "\r"))):
                complete = NEW | row
                if not all(isinstance(complete.get(column), str) for column in COLUMNS):
                    raise UserError(damaged)
                yield complete
    except (UnicodeDecodeError, csv.Error):
        raise UserError(damaged) from None


def read_rows(path: Path) -> list[Row]:
    """All of `iter_rows`."""
    return list(iter_rows(path))


def _history_lines(path: Path) -> Iterator[tuple[Key | None, bytes]]:
    """Lines of a history.jsonl, and what each belongs to; None where that cannot be read."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            yield (_key_in(line) if line.endswith(b"\n") else None), line


def _key_in(line: bytes) -> Key | None:
    """The key of a line of history.jsonl; the numbers behind it take ten times as long to read."""
    head = line.partition(b": [")[0].rpartition(b", ")[0] + b"}"
    for text in (head, line):
        with contextlib.suppress(ValueError, AttributeError, KeyError):
            record = json.loads(text)
            return key_of({name: record[name] for name in KEY if name not in NEW} | record)
    return None


def _first_lines(path: Path, keys: Collection[Key]) -> Iterator[tuple[Key, bytes]]:
    """The first line of each of some reconstructions."""
    seen: set[Key] = set()
    for key, line in _history_lines(path):
        if key is not None and key in keys and key not in seen:
            seen.add(key)
            yield key, line


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(itertools.islice(iterator, CHUNK)):
        yield some


def _as_csv(rows: Iterable[Row], header: bool) -> bytes:
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows({name: _cell(row[name]) for name in COLUMNS} for row in rows)
    return table.getvalue().encode()


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


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{float(value):.7g}"
    return str(value)


def _numbers(values: np.ndarray) -> list[float | int | None]:
    """JSON knows no NaN."""
    return [
        value if isinstance(value, int) else float(f"{value:.6g}") if math.isfinite(value) else None
        for value in values.tolist()
    ]
