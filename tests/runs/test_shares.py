"""Shares of the work: disjoint, together everything, even, and the same whoever computes them."""

import dataclasses
from collections import Counter

import pytest

from invjax import UserError, cli
from invjax.runs.distributed import MANY, Share, left, owned, shard
from invjax.runs.store import Key


@dataclasses.dataclass(frozen=True)
class Row:
    job: str
    restart: int


@dataclasses.dataclass(frozen=True)
class Job:
    name: str
    rows: tuple
    work: float

    def key(self, row):
        names = {"representation": "hog", "layer": "", "variant": "", "lambda_tv": 0.5}
        return Key.of(names | {"image": row.job, "restart": row.restart})


def job(name, count, work=1.0):
    return Job(name, tuple(Row(name, restart) for restart in range(count)), work)


def keys(one, *restarts):
    return tuple(one.key(Row(one.name, restart)) for restart in restarts)


def restarts(batches):
    return [[row.restart for row in batch] for batch in batches]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("sizes", [(1,), (7, 1, 12), (1000, 5, 3000), (0, 4), (0,)])
def test_everything_is_computed_once(count, sizes):
    jobs = [job(f"j{number}", size, 1.0 + number) for number, size in enumerate(sizes)]
    begun = keys(jobs[-1], *range(min(3, sizes[-1])))
    shares = [left(jobs, Share(index, count), set(), [begun]) for index in range(count)]
    found = Counter(row for own in shares for batches in own for batch in batches for row in batch)
    assert found == Counter(row for one in jobs for row in one.rows)


def test_work_is_even_and_a_small_job_is_compiled_by_few():
    jobs = [job(f"layer{number}", 12, 1.0 + number) for number in range(20)]
    shares = [owned(jobs, Share(index, 4)) for index in range(4)]
    work = [sum(one.work * len(rows) for one, rows in zip(jobs, own, strict=True)) for own in shares]
    assert max(work) - min(work) <= 2 * 20.0  # a reconstruction of the largest job at either end
    assert sum(bool(rows) for own in shares for rows in own) <= 20 + 3


def test_a_large_job_is_divided_evenly_whatever_its_work_is_taken_for():
    jobs = [job("cheap", 3 * MANY + 1, 1e-9), job("dear", 6 * MANY + 2, 1e9)]
    for number, size in ((0, MANY), (1, 2 * MANY)):
        assert all(size <= len(owned(jobs, Share(index, 3))[number]) <= size + 1 for index in range(3))


def test_shares_do_not_depend_on_what_is_done():
    one = job("a", 12)
    finished = set(keys(one, 0, 1, 2, 5))
    assert [restarts(left([one], Share(index, 3), finished, [])[0]) for index in range(3)] == [
        [[3]],
        [[4, 6, 7]],
        [[8, 9, 10, 11]],
    ]


def test_a_batch_that_is_begun_belongs_to_the_owner_of_its_first_row():
    one = job("a", 12)
    saved = [keys(one, 3, 4, 5), keys(one, 10, 9)]
    assert [restarts(left([one], Share(index, 3), set(), saved)[0]) for index in range(3)] == [
        [[3, 4, 5], [0, 1, 2]],
        [[6, 7]],
        [[10, 9], [8, 11]],
    ]


def test_a_checkpoint_that_fits_no_more_is_not_gone_on_from():
    one = job("a", 4)
    saved = [keys(one, 0, 1), keys(one, 2, 3), keys(one, 2), keys(one, 7), ()]
    assert restarts(left([one], Share(), set(keys(one, 1)), saved)[0]) == [[2], [0, 3]]


@pytest.mark.parametrize("text", ["3/3", "3", "-1/3", "1/0", "a/b", "1/3/4"])
def test_a_shard_that_cannot_be_is_refused(text):
    assert shard("2/3") == Share(2, 3)
    with pytest.raises(UserError, match="--shard must be I/N"):
        shard(text)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--num_processes 2", "give all of --coordinator, --num_processes and --process_id"),
        ("--coordinator host --num_processes 2 --process_id 0", "must be HOST:PORT, got 'host'"),
        ("--coordinator h:1 --num_processes 2 --process_id 2", "--process_id must be from 0 to 1"),
        ("--coordinator h:1 --num_processes 0 --process_id 0", "--num_processes 0"),
        ("--distributed --patience nan", "--patience must be a positive number"),
        ("--patience 3", "--patience is for processes that meet"),
        ("--distributed --shard 0/2", "--shard is for processes that do not meet"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, capsys, flags, message):
    assert cli.main(["run", "demo", "--workdir", str(tmp_path / "out"), *flags.split()]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
