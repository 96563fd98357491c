"""Several machines: which share of a run each process computes, how they meet, and how what they find comes together.

processes/<i>-of-<n>/  what process i of n has found, its part of the ledger (store.py), which it locks meanwhile
.lock                  shared by all that compute; whoever computes alone, or brings together, has it alone
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import shutil
import sys
import threading
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import jax
import numpy as np
from jax.experimental import multihost_utils

from invjax.errors import UserError, first_line
from invjax.files import lock
from invjax.runs.store import FAILURES, PARTS, TABLE, Key, Ledger, files, known_failures, read_rows

if TYPE_CHECKING:
    from invjax.runs.plan import Job, Reconstruction

MANY = 32  # reconstructions for each process, for which a job is worth a compilation in all of them
PATIENCE = 300.0  # seconds
BUSY = "{}: {} is running here; wait for it, or choose another folder or number"
LATE = "the others have not come in {} s {}: do all run, with the address of process 0, and numbers of their own?"

Rows: TypeAlias = "tuple[Reconstruction, ...]"


@dataclasses.dataclass(frozen=True)
class Share:
    """What one process computes of a plan.

    Attributes:
        index: which part, from 0.
        count: of how many.
        meets: whether the processes of the others are there as well, in JAX's runtime.
        held: locks that it has taken already.
    """

    index: int = 0
    count: int = 1
    meets: bool = False
    held: tuple[IO[str], ...] = ()

    @property
    def name(self) -> str:
        """What to call the process; nothing where it is alone."""
        return f"process {self.index} of {self.count}" if self.count > 1 else ""

    def folder(self, workdir: Path) -> Path:
        """Where its ledger belongs."""
        return workdir / PARTS / f"{self.index}-of-{self.count}" if self.count > 1 else workdir

    def claim(self, workdir: Path) -> tuple[IO[str], ...]:
        """Locks what the process works with.

        Raises:
            UserError: another process has the same part, or works with other parts.
        """
        if self.held:
            return self.held
        whole = lock(workdir / ".lock", BUSY.format(workdir, "another process"), shared=self.count > 1)
        if self.count == 1:
            return (whole,)
        own = lock(self.folder(workdir) / ".lock", BUSY.format(workdir, f"another {self.name}"))
        for other in (workdir / PARTS).glob("*/.lock"):
            if not other.parent.name.endswith(f"-of-{self.count}"):
                lock(other, BUSY.format(workdir, f"process {other.parent.name}")).close()
        return whole, own

    def last(self, workdir: Path, planned: Iterable[Key]) -> IO[str] | None:
        """Waits for the others if they meet, with nothing locked any more.

        Returns:
            The run directory's lock for the process that brings together: 0, or the last one; None for the others.
        """
        if self.meets:
            lock(workdir / ".lock").close()  # until all have let go: on a CPU, JAX's barrier takes half an hour at most
            multihost_utils.sync_global_devices("the shares are done")
            jax.distributed.shutdown()
        missing = 0 if self.meets else unfinished(workdir, planned)
        if missing:
            print(f"invjax: {self.name} has done its share; {missing} reconstructions of other shares are missing")
        elif not (self.meets and self.index):
            with contextlib.suppress(UserError):  # somebody else is at work, and will be the last one
                return lock(workdir / ".lock", "busy")
        return None


ALONE = Share()


def shard(text: str) -> Share:
    """The share that a text like "0/3" names; UserError for another one."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or int(found[1]) >= int(found[2]):
        raise UserError(f"--shard must be I/N, I from 0 to N-1: 0/3, 1/3 and 2/3 are all of three; got '{text}'")
    return Share(int(found[1]), int(found[2]))


def meet(
    workdir: Path, coordinator: str | None, count: int | None, index: int | None, patience: float = PATIENCE
) -> Share:
    """Initialises JAX's runtime with the other processes of a run; call it before anything that touches a device.

    Args:
        workdir: the run directory.
        coordinator: HOST:PORT of process 0, PORT any free one; None, with the two others: as JAX finds them.
        count: number of processes.
        index: of this one, from 0.
        patience: seconds to wait for the others, and of silence after which JAX takes one for dead.

    Raises:
        UserError: impossible numbers or address, or no cluster. Where the others do not come, the process ends, with a
            line and exit code 2: nothing can be raised while XLA waits.
    """
    if not 0 < patience < math.inf:
        raise UserError(f"--patience must be a positive number of seconds, got {patience:g}")
    if len({value is None for value in (coordinator, count, index)}) > 1:
        raise UserError("give all of --coordinator, --num_processes and --process_id, or none of them")
    if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise UserError(f"--coordinator must be HOST:PORT, got '{coordinator}'")
    if count is not None and index is not None and not 0 <= index < count:
        raise UserError(f"--process_id must be from 0 to {count - 1} (--num_processes {count}), got {index}")
    # before they meet: JAX's runtime would end all processes for a number that is there twice
    held = Share(index, count).claim(workdir) if count is not None and index is not None else ()
    where, seconds = f"at {coordinator}" if coordinator else "without --coordinator", math.ceil(patience)

    def give_up() -> None:
        print(f"invjax: error: {LATE.format(seconds, where)}", file=sys.stderr, flush=True)
        os._exit(2)

    watch = threading.Timer(seconds, give_up)
    watch.start()
    try:
        # XLA is given more time than it will get: when it is over, it ends the process with a page of stack
        jax.distributed.initialize(
            coordinator, count, index, initialization_timeout=2 * seconds + 60, heartbeat_timeout_seconds=seconds
        )
        multihost_utils.sync_global_devices("all are here")
        return Share(jax.process_index(), jax.process_count(), jax.process_count() > 1, held)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the processes of the run cannot meet {where}: {first_line(error)}") from None
    finally:
        watch.cancel()


def agree(plan: str) -> None:
    """Raises UserError in all processes that meet where one of them has another digest of its plan."""
    plans = multihost_utils.process_allgather(np.frombuffer(bytes.fromhex(plan), np.uint8))
    if (plans != plans[0]).any():
        raise UserError("the processes have different pictures, features, weights or fields: start them alike")


def owned(jobs: Sequence[Job], share: Share) -> list[Rows]:
    """The rows of each job that belong to a share: of the whole plan, not of what is left of it, so that processes that
    start at different times agree.

    A job of many rows is divided evenly, however wrong the estimate of its work is. The others, in the order of the
    plan, are cut into stretches of equal work: each process has few jobs to compile.
    """
    few = [len(job.rows) < share.count * MANY for job in jobs]
    total = sum(job.work * len(job.rows) for job, is_few in zip(jobs, few, strict=True) if is_few)
    own, before = [], 0.0  # of all work of jobs with few rows, 1
    for job, is_few in zip(jobs, few, strict=True):
        first, step = (before, job.work / (total or 1.0)) if is_few else (0.0, 1 / len(job.rows))
        before += step * len(job.rows) if is_few else 0.0
        middles = first + step * (np.arange(len(job.rows)) + 0.5)
        owners = np.minimum(middles * share.count, share.count - 1).astype(int)
        own.append(tuple(row for row, owner in zip(job.rows, owners, strict=True) if owner == share.index))
    return own


def left(
    jobs: Sequence[Job], share: Share, finished: Container[Key], saved: Iterable[tuple[Key, ...]]
) -> list[list[Rows]]:
    """What a share has left to compute of each job: batches that an earlier start has begun, then all other rows.

    A batch that is begun belongs wholly to whoever owns its first row.

    Args:
        jobs: the plan.
        share: which of it.
        finished: keys of what is done.
        saved: keys of the batches that have a checkpoint.
    """
    begun = {batch[0]: batch for batch in sorted(saved, reverse=True) if batch}  # of halves, the first one
    found = []
    for job, own in zip(jobs, owned(jobs, share), strict=True):
        mine = {job.key(row) for row in own}
        rows = {key: row for row in job.rows if (key := job.key(row)) not in finished}
        whole = []
        for first in list(rows):
            if (batch := begun.get(first)) and all(key in rows for key in batch):  # and none is part of another batch
                taken = tuple(rows.pop(key) for key in batch)
                whole += [taken] if first in mine else []
        found.append([*whole, tuple(row for key, row in rows.items() if key in mine)])
    return found


def unfinished(workdir: Path, planned: Iterable[Key]) -> int:
    """How many reconstructions are neither in a table nor among the failures of a part."""
    known = {row.key for table in files(workdir, TABLE) for row in read_rows(table)}
    known |= {key for part in (workdir / PARTS).glob("*") for key, _ in known_failures(part / FAILURES)}
    return sum(key not in known for key in planned)


def bring_together(workdir: Path) -> Ledger:
    """The ledger of a run whose lock one has alone, with all parts: a kill at any moment loses nothing."""
    ledger = Ledger(workdir)
    ledger.failures = known_failures(workdir / FAILURES)
    for part in sorted((workdir / PARTS).glob("*/")):
        ledger.absorb(part)
        shutil.rmtree(part)
    with contextlib.suppress(OSError):  # there is none
        (workdir / PARTS).rmdir()
    ledger.forgive()
    return ledger


def gather(workdir: Path) -> None:
    """Brings together the parts of a run, if there are any and nobody is at work on it."""
    if (workdir / PARTS).is_dir():
        with contextlib.suppress(UserError), lock(workdir / ".lock", "busy"):
            bring_together(workdir)
