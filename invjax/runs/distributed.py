"""Several machines: which share of a run each process computes, how they meet, and how what they find comes together.

processes/<i>-of-<n>/  what process i of n has found, its part of the ledger (store.py), which it locks meanwhile
.lock                  shared by all that compute; whoever computes alone, or brings together, has it alone
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import jax
import numpy as np
from jax.experimental import multihost_utils

from invjax.errors import UserError, first_line
from invjax.files import lock, write_atomically
from invjax.runs.store import Key, Ledger, Row, iter_rows, key_of

if TYPE_CHECKING:
    from invjax.runs.plan import Job, Reconstruction

MANY = 32  # reconstructions for each process, for which a job is worth a compilation in all of them
PATIENCE = 300.0  # seconds

Rows: TypeAlias = "tuple[Reconstruction, ...]"


@dataclasses.dataclass(frozen=True)
class Share:
    """What one process computes of a plan: part `index`, from 0, of `count`; `meets`: the others, by JAX's runtime."""

    index: int = 0
    count: int = 1
    meets: bool = False

    @property
    def name(self) -> str:
        """What to call the process; nothing where it is alone."""
        return f"process {self.index} of {self.count}" if self.count > 1 else ""

    def folder(self, workdir: Path) -> Path:
        """Where its ledger belongs."""
        return workdir / "processes" / f"{self.index}-of-{self.count}" if self.count > 1 else workdir

    def agree(self, plan: str) -> None:
        """Raises UserError in all processes that meet where one of them has another digest of its plan."""
        if self.meets:
            plans = multihost_utils.process_allgather(np.frombuffer(bytes.fromhex(plan), np.uint8))
            if (plans != plans[0]).any():
                raise UserError("the processes have other pictures, features, weights or fields: give all the same")

    def claim(self, workdir: Path) -> list[IO[str]]:
        """Locks what the process works with, where nobody works already; whoever is alone brings together before."""
        busy = f"{workdir}: another process is running here; wait for it, or choose another folder"
        held = [lock(workdir / ".lock", busy, shared=self.count > 1)]
        if self.count > 1:
            twin = f"{workdir}: another {self.name} is running here; each needs a number of its own"
            return [*held, lock(self.folder(workdir) / ".lock", twin)]
        if (workdir / "processes").is_dir():
            bring_together(workdir)
        return held

    def last(self, workdir: Path, planned: Iterable[Key]) -> IO[str] | None:
        """Waits for the others if they meet, with nothing locked any more.

        Returns:
            The run directory's lock, in the process that is to bring together: 0, or the last one; None in the others.
        """
        if self.meets:
            lock(workdir / ".lock").close()  # until all have let go: on a CPU, JAX's barrier takes half an hour at most
            multihost_utils.sync_global_devices("the shares are done")
            jax.distributed.shutdown()
        missing = 0 if self.meets else unfinished(workdir, planned)
        if not missing and not (self.meets and self.index):
            with contextlib.suppress(UserError):  # somebody else is at work, and will be the last one
                return lock(workdir / ".lock", "busy")
        what = f"{missing} reconstructions of other shares are missing" if missing else "another one brings together"
        print(f"invjax: {self.name} has done its share; {what}", file=sys.stderr)
        return None


ALONE = Share()


def shard(text: str) -> Share:
    """The share that a text like "0/3" names; UserError for another one."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or int(found[1]) >= int(found[2]):
        raise UserError(f"--shard must be I/N, I from 0 to N-1: 0/3, 1/3 and 2/3 are all of three; got '{text}'")
    return Share(int(found[1]), int(found[2]))


def meet(coordinator: str | None, count: int | None, index: int | None, patience: float = PATIENCE) -> Share:
    """Initialises JAX's runtime with the other processes of a run; call it before anything that touches a device.

    Args:
        coordinator: HOST:PORT of process 0, PORT any free one; None, with the two others: as JAX finds them.
        count: number of processes.
        index: of this one, from 0.
        patience: seconds to wait for the others, and of silence after which JAX takes one for dead.

    Raises:
        UserError: impossible numbers or address, or no cluster. Where the others do not come, the process ends, with a
            line and exit code 2: XLA can be waited for, but not be interrupted.
    """
    given = {"coordinator": coordinator, "num_processes": count, "process_id": index}
    absent = [f"--{name}" for name, value in given.items() if value is None]
    if not 0 < patience < math.inf:
        raise UserError(f"--patience must be a positive number of seconds, got {patience:g}")
    if 0 < len(absent) < len(given):
        raise UserError(f"{' and '.join(absent)} missing: give all of --coordinator, --num_processes and --process_id")
    if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise UserError(f"--coordinator must be HOST:PORT, got '{coordinator}'")
    if count is not None and index is not None and not 0 <= index < count:
        raise UserError(f"--process_id must be from 0 to {count - 1} (--num_processes {count}), got {index}")
    where = f" at {coordinator}" if coordinator else ""

    def give_up() -> None:
        print(
            f"invjax: error: after {patience:g} s not all processes have met{where}: are all of them running, with the "
            "address of process 0, the same --num_processes, and a --process_id each?", file=sys.stderr, flush=True
        )  # fmt: skip
        os._exit(2)

    watch = threading.Timer(patience, give_up)
    watch.start()
    try:
        if coordinator:
            socket.getaddrinfo(coordinator.rpartition(":")[0].strip("[]"), None)
        seconds = math.ceil(patience)  # XLA's own is longer: it would end the process with a page of stack
        jax.distributed.initialize(
            coordinator, count, index, initialization_timeout=2 * seconds + 60, heartbeat_timeout_seconds=seconds
        )
        multihost_utils.sync_global_devices("all are here")  # and have been told the same number of them
        return Share(jax.process_index(), jax.process_count(), jax.process_count() > 1)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"the processes of the run cannot meet{where}: {first_line(error)}") from None
    finally:
        watch.cancel()


def left(
    jobs: Sequence[Job], share: Share, finished: Container[Key], saved: Iterable[Sequence[Row]]
) -> list[list[Rows]]:
    """What a share has left to compute of each job: batches that an earlier start has begun, then all other rows.

    A batch that is begun belongs wholly to whoever owns its first row.

    Args:
        jobs: the plan.
        share: which of it.
        finished: `key_of` what is done.
        saved: keys of the batches that have a checkpoint.
    """
    batches = [tuple(map(key_of, keys)) for keys in saved]
    begun = {batch[0]: batch for batch in sorted(batches, reverse=True) if batch}  # of halves, the first one
    return [_left(job, own, finished, begun) for job, own in zip(jobs, owned(jobs, share), strict=True)]


def _left(job: Job, own: Rows, finished: Container[Key], begun: dict[Key, tuple[Key, ...]]) -> list[Rows]:
    mine = {key_of(job.key(row)) for row in own}
    rows = {key: row for row in job.rows if (key := key_of(job.key(row))) not in finished}
    batches = []
    for first in list(rows):
        batch = begun.get(first, ())
        if batch and all(key in rows for key in batch):  # and none is done, or part of another batch
            found = tuple(rows.pop(key) for key in batch)
            batches += [found] if first in mine else []
    return [*batches, tuple(row for key, row in rows.items() if key in mine)]


def owned(jobs: Sequence[Job], share: Share) -> list[Rows]:
    """The rows of each job that belong to a share: of the whole plan, not of what is left of it, so that processes that
    start at different times agree.

    A job of many rows is divided evenly, however wrong the estimate of its work is. The others, in the order of the
    plan, are cut into stretches of equal work: each process has few jobs to compile.
    """
    index, count, before = share.index, share.count, 0.0
    small = [len(job.rows) < count * MANY for job in jobs]
    total = sum(job.work * len(job.rows) for job in itertools.compress(jobs, small))
    own = []
    for job, is_small in zip(jobs, small, strict=True):
        size, work = len(job.rows), job.work
        owner = [row * count // size for row in range(size)]
        if is_small:
            owner = [min(int((before + (row + 0.5) * work) * count / total), count - 1) for row in range(size)]
            before += work * size
        own.append(tuple(row for row, one in zip(job.rows, owner, strict=True) if one == index))
    return own


def tables(workdir: Path) -> list[Path]:
    """The tables of a run: its own, and the parts that are not yet brought together."""
    return [workdir / "results.csv", *sorted(workdir.glob("processes/*/results.csv"))]


def unfinished(workdir: Path, planned: Iterable[Key]) -> int:
    """How many reconstructions are neither in a table nor among the failures of a part."""
    known = {key_of(row) for table in tables(workdir) for row in iter_rows(table)}
    known |= {key_of(row) for part in workdir.glob("processes/*") for row in _failures(part)}
    return sum(key not in known for key in planned)


def bring_together(workdir: Path) -> Ledger:
    """The ledger of a run whose lock one has alone, with all parts: a kill at any moment loses nothing."""
    ledger = Ledger(workdir)
    ledger.failures = _failures(workdir)
    for part in sorted((workdir / "processes").glob("*/")):
        ledger.absorb(part)
        shutil.rmtree(part)
    with contextlib.suppress(OSError):  # there is none
        (workdir / "processes").rmdir()
    failures = {key_of(row): row for row in ledger.failures if key_of(row) not in ledger.finished}
    ledger.failures = list(failures.values())
    write_atomically(workdir / "failures.json", json.dumps(ledger.failures, indent=2) + "\n")
    if not failures:
        (workdir / "failures.json").unlink()
    return ledger


def gather(workdir: Path) -> None:
    """Brings together the parts of a run that nobody is at work on."""
    if (workdir / "processes").is_dir():
        with contextlib.suppress(UserError), lock(workdir / ".lock", "busy"):
            bring_together(workdir)


def _failures(folder: Path) -> list[Row]:
    path = folder / "failures.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
