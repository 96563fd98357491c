"""The ledger: appended to, cut short by kills, brought together; what is in it is there once."""

import csv
import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from invjax import UserError
from invjax.runs import store as ledgers
from invjax.runs.distributed import bring_together
from invjax.runs.store import COLUMNS, Ledger, read_rows

from ..conftest import row_of

HISTORY = {"step": np.array([0, 10]), "total": np.array([1.0, 0.5], np.float32)}


def row(restart, image="a"):
    return row_of(image=image, restart=restart)


def keys(*restarts):
    return {row(restart).key for restart in restarts}


def filled(folder, *restarts):
    ledger = Ledger(folder)
    for restart in restarts:
        ledger.add([row(restart)], [HISTORY])
    return ledger


def restarts_in(folder):
    """Of the table and of the histories, as plain CSV and JSON read them."""
    with (folder / "results.csv").open(newline="") as file:
        table = [int(found["restart"]) for found in csv.DictReader(file)]
    lines = (folder / "history.jsonl").read_text().splitlines()
    return table, [json.loads(line)["restart"] for line in lines]


def test_rows_are_appended_below_one_header(tmp_path):
    filled(tmp_path, 0)
    first = (tmp_path / "results.csv").read_bytes()
    filled(tmp_path, 1, 2)
    after = (tmp_path / "results.csv").read_bytes()
    assert after.startswith(first) and after.count(b"image") == 1
    assert restarts_in(tmp_path) == ([0, 1, 2], [0, 1, 2])


def test_a_kill_anywhere_in_the_table_loses_the_rows_being_written_only(tmp_path):
    filled(tmp_path / "whole", 0, 1, 2)
    table = (tmp_path / "whole" / "results.csv").read_bytes()
    for end in range(len(table) + 1):
        folder = tmp_path / str(end)
        shutil.copytree(tmp_path / "whole", folder)
        (folder / "results.csv").write_bytes(table[:end])
        whole = max(table[:end].count(b"\n") - 1, 0)
        assert len(list(read_rows(folder / "results.csv"))) == whole  # before it is opened
        ledger = Ledger(folder)
        assert ledger.finished == keys(*range(whole))
        for restart in range(whole, 3):
            ledger.add([row(restart)], [HISTORY])
        assert (folder / "results.csv").read_bytes() == table
        assert restarts_in(folder)[1] == [0, 1, 2]


def test_a_table_of_an_earlier_version_gets_its_new_columns(tmp_path):
    filled(tmp_path, 0)
    before = [name for name in COLUMNS if name != "variant"]
    with (tmp_path / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, before, extrasaction="ignore")
        writer.writeheader()
        writer.writerow(dataclasses.asdict(row(0)))
    filled(tmp_path, 1)
    assert restarts_in(tmp_path)[0] == [0, 1]
    assert (tmp_path / "results.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_picture_named_like_json_has_its_history(tmp_path):
    name = 'a": [1, 2], "b'
    ledger = Ledger(tmp_path)
    ledger.add([row(0, name)], [HISTORY])
    ledger.add([row(1, name)], [HISTORY])
    assert len(Ledger(tmp_path).finished) == 2
    assert restarts_in(tmp_path) == ([0, 1], [0, 1])


def test_sorting_follows_the_plan(tmp_path):
    filled(tmp_path, 2, 0, 1).sort([row(restart).key for restart in range(3)])
    assert restarts_in(tmp_path)[0] == [0, 1, 2]
    assert Ledger(tmp_path).finished == keys(0, 1, 2)


def test_what_is_already_there_is_not_taken_over_again(tmp_path):
    ledger = filled(tmp_path / "main", 0, 1)
    filled(tmp_path / "other", 1, 2)
    ledger.absorb(tmp_path / "other")
    ledger.absorb(tmp_path / "other")
    assert restarts_in(tmp_path / "main") == ([0, 1, 2], [0, 1, 2])


def test_a_damaged_table_is_refused(tmp_path):
    ledger = filled(tmp_path / "main", 0)
    filled(tmp_path / "other", 1)
    (tmp_path / "other" / "results.csv").write_text("no,table\n1,2\n")
    with pytest.raises(UserError, match=r"other/results\.csv: is damaged"):
        ledger.absorb(tmp_path / "other")
    assert restarts_in(tmp_path / "main") == ([0], [0])


class Killed(BaseException):
    """Nothing catches it, and nothing is written after it."""


def killed_after(count, monkeypatch):
    """Ends everything at the count-th write, replacement or removal, which is half done where it can be."""
    left, unlink = [count], Path.unlink

    def dying(function, half):
        def write(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                half(*arguments)
            if left[0] <= 0:
                raise Killed
            return function(*arguments, **options)

        return write

    def half_of_it(path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data[: len(data) // 2])

    def some_of_it(folder, *_):
        for path in sorted(Path(folder).iterdir())[:1]:
            unlink(path)

    monkeypatch.setattr(ledgers, "_extend", dying(ledgers._extend, half_of_it))
    monkeypatch.setattr(Path, "replace", dying(Path.replace, lambda *_: None))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink, lambda *_: None))
    monkeypatch.setattr(os, "fsync", dying(os.fsync, lambda *_: None))
    monkeypatch.setattr(shutil, "rmtree", dying(shutil.rmtree, some_of_it))


@pytest.fixture
def three_processes(tmp_path):
    filled(tmp_path / "run", 0)
    for index, restarts in enumerate([(1, 4), (2, 5, 8), (3,)]):
        filled(tmp_path / "run" / "processes" / str(index), *restarts)
    torn = tmp_path / "run" / "processes" / "1"
    for name in ("results.csv", "history.jsonl"):
        (torn / name).write_bytes((torn / name).read_bytes()[:-9])
    return tmp_path / "run"


@pytest.mark.parametrize("moment", range(1, 20))
def test_a_kill_at_any_moment_of_the_merge_loses_nothing(three_processes, moment):
    everything = [row(restart).key for restart in range(9)]
    with pytest.MonkeyPatch.context() as patch:
        killed_after(moment, patch)
        try:
            bring_together(three_processes).sort(everything)
        except Killed:
            pass
        else:
            assert moment > 17  # it had come to an end before
    ledger = bring_together(three_processes)
    ledger.sort(everything)
    table, histories = restarts_in(three_processes)
    assert table == [0, 1, 2, 3, 4, 5]
    assert sorted(histories) == table
    assert not (three_processes / "processes").exists()


def test_failures_of_all_parts_are_kept_until_they_are_finished(tmp_path):
    Ledger(tmp_path).fail([row(0).key, row(1).key], "long ago")
    for part, restarts in (("0-of-2", (1, 2)), ("1-of-2", (3,))):
        Ledger(tmp_path / "processes" / part).fail([row(restart).key for restart in restarts], part)
    filled(tmp_path / "processes" / "0-of-3", 3)
    for _ in range(2):
        assert [(key.restart, reason) for key, reason in bring_together(tmp_path).failures] == [
            (0, "long ago"),
            (1, "0-of-2"),
            (2, "0-of-2"),
        ]
    assert len(json.loads((tmp_path / "failures.json").read_text())) == 3
