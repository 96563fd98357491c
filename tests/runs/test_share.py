"""Shares of the work: disjoint, together everything, even, and the same whoever computes them."""

import dataclasses
from collections import Counter

import pytest

from invjax.runs.share import MANY, Portion, left, share
from invjax.runs.store import key_of


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
        return {
            "image": row.job,
            "representation": "hog",
            "layer": "",
            "variant": "",
            "lambda_tv": 0.5,
            "restart": row.restart,
        }


def job(name, count, work=1.0):
    return Job(name, tuple(Row(name, restart) for restart in range(count)), work)


def keys(one, *restarts):
    return [one.key(Row(one.name, restart)) for restart in restarts]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("sizes", [(1,), (7, 1, 12), (1000, 5, 3000), (0, 4)])
def test_everything_is_computed_once(count, sizes):
    jobs = [job(f"j{number}", size, 1.0 + number) for number, size in enumerate(sizes)]
    begun = keys(jobs[-1], *range(min(3, sizes[-1])))
    portions = left(jobs, set(), [begun])
    shares = [share(jobs, portions, index, count) for index in range(count)]
    found = Counter(row for portions in shares for portion in portions for row in portion.rows)
    assert found == Counter(row for one in jobs for row in one.rows)


def test_work_is_even_and_a_small_job_is_compiled_by_few():
    jobs = [job(f"layer{number}", 12, 1.0 + number) for number in range(20)]
    shares = [share(jobs, left(jobs, set(), []), index, 4) for index in range(4)]
    work = [sum(one.work * len(portion.rows) for one, portion in zip(jobs, own, strict=True)) for own in shares]
    assert max(work) - min(work) <= 2 * 20.0  # a reconstruction of the largest job at either end
    assert max(sum(bool(portion.rows) for portion in own) for own in shares) < 14  # the first one has the small jobs
    assert sum(bool(portion.rows) for own in shares for portion in own) <= 20 + 3


def test_a_large_job_is_divided_evenly_whatever_its_work_is_taken_for():
    jobs = [job("cheap", 3 * MANY + 1, 1e-9), job("dear", 6 * MANY + 2, 1e9)]
    shares = [share(jobs, left(jobs, set(), []), index, 3) for index in range(3)]
    for number, size in ((0, MANY), (1, 2 * MANY)):
        assert all(size <= len(own[number].rows) <= size + 2 for own in shares)


def test_a_batch_that_is_begun_stays_together():
    jobs = [job("a", 6), job("b", 6)]
    portions = left(jobs, {key_of(jobs[0].key(Row("a", 0)))}, [keys(jobs[0], 2, 3, 4), keys(jobs[1], 5)])
    assert portions == [
        Portion(((Row("a", 2), Row("a", 3), Row("a", 4)),), (Row("a", 1), Row("a", 5))),
        Portion(((Row("b", 5),),), tuple(Row("b", restart) for restart in range(5))),
    ]
    shares = [share(jobs, portions, index, 3) for index in range(3)]
    assert sum((own[0].begun for own in shares), ()) == portions[0].begun


def test_a_checkpoint_that_fits_no_more_is_not_gone_on_from():
    one = job("a", 4)
    finished = {key_of(one.key(Row("a", 1)))}
    saved = [keys(one, 0, 1), keys(one, 2, 3), keys(one, 2), keys(one, 7), []]
    assert left([one], finished, saved) == [Portion(((Row("a", 2),),), (Row("a", 0), Row("a", 3)))]
