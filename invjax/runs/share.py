"""The share: which of the unfinished reconstructions this process computes, and which of them are begun already."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TypeAlias

from invjax.runs.plan import Job, Reconstruction
from invjax.runs.store import Key

MANY = 32  # reconstructions for each process, for which a job is worth a compilation in all of them

Rows: TypeAlias = tuple[Reconstruction, ...]


@dataclasses.dataclass(frozen=True)
class Portion:
    """What is to be computed of a job.

    Attributes:
        begun: batches of which there is a checkpoint, to go on as they were.
        fresh: the others, in order.
    """

    begun: tuple[Rows, ...]
    fresh: Rows

    @property
    def rows(self) -> Rows:
        """All of them."""
        return tuple(row for batch in self.begun for row in batch) + self.fresh


def left(jobs: Sequence[Job], finished: Container[Key], saved: Iterable[Sequence[Key]]) -> list[Portion]:
    """What is to be computed of each job.

    Args:
        jobs: the plan.
        finished: keys of what is done.
        saved: keys of the batches that have a checkpoint.
    """
    batches = [tuple(keys) for keys in saved]
    first = {batch[0]: batch for batch in sorted(batches, reverse=True) if batch}  # of halves, the first one
    return [_left(job, finished, first) for job in jobs]


def _left(job: Job, finished: Container[Key], saved: dict[Key, tuple[Key, ...]]) -> Portion:
    rows = {key: row for row in job.rows if (key := job.key(row)) not in finished}
    begun = []
    for key in list(rows):
        batch = saved.get(key, ())
        if batch and all(other in rows for other in batch):  # and none is part of another batch
            begun.append(tuple(rows.pop(other) for other in batch))
    return Portion(tuple(begun), tuple(rows.values()))


def share(jobs: Sequence[Job], portions: Sequence[Portion], index: int, count: int) -> list[Portion]:
    """What one of several processes computes of each job: shares are disjoint, together everything, and cost about the
    same.

    A job of many reconstructions is divided among all, so that the shares are even however wrong the estimate of its
    work is. What is left over, in the order of the plan, is cut into stretches of equal work: each process has few
    jobs to compile.

    Args:
        jobs: the plan.
        portions: of `left`, the same in all processes.
        index: of the process.
        count: of processes.
    """
    even = [len(portion.fresh) // (count * MANY) * MANY for portion in portions]  # for each process
    units = [
        _Unit(number, rows, begun)
        for number, portion in enumerate(portions)
        for begun, several in (
            (True, portion.begun),
            (False, ((row,) for row in portion.fresh[even[number] * count :])),
        )
        for rows in several
    ]
    own = list(_stretch(units, [jobs[unit.job].work * len(unit.rows) for unit in units], index, count))
    shares = []
    for number, (portion, size) in enumerate(zip(portions, even, strict=True)):
        begun = tuple(unit.rows for unit in own if unit.job == number and unit.begun)
        rest = tuple(row for unit in own if unit.job == number and not unit.begun for row in unit.rows)
        shares.append(Portion(begun, portion.fresh[index * size : (index + 1) * size] + rest))
    return shares


@dataclasses.dataclass(frozen=True)
class _Unit:
    """What stays together: a batch that is begun, or one reconstruction."""

    job: int
    rows: Rows
    begun: bool


def _stretch(units: Sequence[_Unit], work: Sequence[float], index: int, count: int) -> Iterator[_Unit]:
    """The units whose middle lies in one of `count` equal parts of all work."""
    total, before = sum(work), 0.0
    for unit, cost in zip(units, work, strict=True):
        if min(int((before + cost / 2) * count / total), count - 1) == index:
            yield unit
        before += cost
