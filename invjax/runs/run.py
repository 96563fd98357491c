"""Running an experiment: every batch of every job, from where it was left to the report."""

from __future__ import annotations

import math
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TypeAlias

from ml_collections import ConfigDict

from invjax import images, inversion, memory
from invjax.errors import Incomplete, UserError, first_line
from invjax.runs import config as configs
from invjax.runs import origins
from invjax.runs.checkpoint import Checkpoint, Saved, saved_batches
from invjax.runs.directory import RunDirectory
from invjax.runs.distributed import ALONE, Rows, Share, left
from invjax.runs.events import Writer
from invjax.runs.inverters import Solved
from invjax.runs.originals import save_originals
from invjax.runs.plan import Batch, Job, fingerprints, make_jobs, stem
from invjax.runs.progress import Display
from invjax.runs.record import record, save_stretched

Conclude: TypeAlias = Callable[[Path, bool], None]  # of a run directory, and whether to study its restarts


def run(config: ConfigDict, workdir: Path, conclude: Conclude | None = None, share: Share = ALONE) -> None:
    """Runs a config in a run directory, or goes on with it where it stopped.

    Args:
        config: of `config.load`, not yet checked.
        workdir: the run directory.
        conclude: what to do with the results at the end: `analysis.conclude` studies and publishes them, and prints
            their means; None: nothing.
        share: what this process computes of it, where others call this with the same config; by default, everything.

    Raises:
        UserError: a config, picture or directory that cannot be used; nothing was computed.
        Incomplete: some reconstructions failed, all others are done.
        OSError: the disk is full or the directory cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything is on disk and the same command goes on.
    """
    jobs = make_jobs(config)
    planned = dict.fromkeys(job.key(row) for job in jobs for row in job.rows)
    record_of_config, command = configs.as_dict(config), shlex.join(sys.argv)
    made = origins.as_dict(job.phi for job in jobs)
    with RunDirectory(workdir, record_of_config, fingerprints(jobs), made, planned, command, share) as directory:
        try:
            if share.index == 0:
                save_originals(jobs, workdir)
            _run_jobs(jobs, directory, config, share)
            if directory.unite():
                directory.clear_checkpoints()
                _finish(jobs, directory, config, conclude)
        except OSError as error:
            kept = f"{error.strerror or error}; what was finished is kept, and the same command goes on"
            raise OSError(error.errno, kept, error.filename) from error
    _conclude(directory, len(planned))


def _finish(jobs: Sequence[Job], directory: RunDirectory, config: ConfigDict, conclude: Conclude | None) -> None:
    if config.stretch:
        save_stretched(jobs, directory)
    if conclude and directory.finished():
        conclude(directory.path, config.study)


def _run_jobs(jobs: list[Job], directory: RunDirectory, config: ConfigDict, share: Share) -> None:
    saved = saved_batches(directory.path / "checkpoints")
    own = left(jobs, share, directory.finished(), saved)
    ahead = [sum(map(len, batches)) for batches in own]
    if not sum(ahead):
        print(f"{share.name or directory.path}: finished already, nothing to compute")
    planned = [len(job.rows) for job in jobs] if share.count == 1 else ahead  # of several, the display is of the share
    done = _work(jobs, planned) - _work(jobs, ahead)
    quiet = share.meets and share.index > 0
    with (
        Display(_work(jobs, planned), done, sum(planned), share.name, quiet) as display,
        Writer(directory.path / "tensorboard", share.index) if config.tensorboard else nullcontext() as log,
        _interruptible() as stop,
    ):
        runner = _Runner(directory, config, display, log, stop, done, sum(planned) - sum(ahead))
        for number, (job, batches) in enumerate(zip(jobs, own, strict=True), start=1):
            runner.run(job, batches, f", {number} of {len(jobs)}" if len(jobs) > 1 else "")


def _work(jobs: Sequence[Job], counts: Sequence[int]) -> float:
    return sum(job.work * count for job, count in zip(jobs, counts, strict=True))


class _Runner:
    """Computes jobs one after the other; a failure is recorded, and the rest goes on."""

    def __init__(
        self,
        directory: RunDirectory,
        config: ConfigDict,
        display: Display,
        log: Writer | None,
        stop: list[int],
        done: float,
        finished: int,
    ) -> None:
        self._directory, self._config, self._display, self._log, self._stop = directory, config, display, log, stop
        self._done, self._finished = done, finished
        self._place, self._most = "", 0

    def run(self, job: Job, batches: Sequence[Rows], place: str) -> None:
        """Computes and records a job's rows, of `left`; `place` says which job it is of how many."""
        self._place = job.phi.title + place
        for whole in self._sound(job, batches):
            parts = [whole]
            while parts:
                batch = parts.pop(0)
                try:
                    self._record(batch, self._solve(batch))
                except OSError:
                    raise
                except Exception as error:  # of XLA, or of the user's: whatever it is, other batches can go on
                    parts = self._halves(batch, error) + parts

    def _sound(self, job: Job, batches: Sequence[Rows]) -> Iterator[Batch]:
        """What is computed at once, without rows whose features cannot be inverted."""
        for rows in self._groups(job, batches):
            sound: Rows = ()
            with self._recording_failure(job, rows):
                targets = job.targets(row.picture for row in rows)
                for picture, reason in targets.faults.items():
                    self._fail(job, tuple(row for row in rows if row.picture == picture), UserError(reason))
                sound = tuple(row for row in rows if row.picture not in targets.faults)
            if sound:
                yield Batch(job, targets, sound)

    def _groups(self, job: Job, batches: Sequence[Rows]) -> Iterator[Rows]:
        """Rows that are computed at once: those that an earlier start has begun, then others, as memory allows."""
        self._most = max(map(len, batches))
        *begun, rows = batches
        yield from begun
        chosen = None
        with self._recording_failure(job, rows):
            chosen = job.inverter.batch_size(job, rows, self._config) if rows else None
        if chosen is None:
            return
        if chosen.size < len(rows):
            self._display.say(f"{job.phi.title}: {chosen.reason}")
        self._most = min(self._most, chosen.size)
        while rows:
            now, rows = rows[: self._most], rows[self._most :]
            yield now

    def _halves(self, batch: Batch, error: Exception) -> list[Batch]:
        """What to try of a batch that has failed: halves, until it is clear which reconstructions do."""
        if len(batch.rows) == 1:
            self._fail(batch.job, batch.rows, error)
            return []
        size, reason = math.ceil(len(batch.rows) / 2), _summary(error)
        if memory.exhausted(error):  # the job's next batches would not fit either
            self._most = min(self._most, size)
        else:
            reason = self._reason(batch.job, batch.rows, error)
        self._display.say(f"a batch of {len(batch.rows)} failed and is halved ({reason})")
        self._checkpoint(batch).clear()
        return list(batch.cut(size))

    def _solve(self, batch: Batch) -> Solved:
        checkpoint, film = self._checkpoint(batch), self._config.movie
        running = batch.job.inverter.begin(batch, self._config.every, self._saved(batch, checkpoint), film)
        kept = time.monotonic()
        for progress in running.points():
            self._show(batch, progress)
            if self._stop or time.monotonic() - kept >= self._config.checkpoint_seconds:
                checkpoint.save(running.state())
                kept = time.monotonic()
            if self._stop:
                raise KeyboardInterrupt("stopped; what was done is kept, and the same command goes on")
        return running.result()

    def _record(self, batch: Batch, solved: Solved) -> None:
        record(batch, solved, self._directory)
        if self._log is not None:
            for row, image in zip(batch.rows, solved.inversion.images, strict=True):
                self._log.picture(stem(batch.job, row), batch.job.steps, images.to_pixels(image, batch.job.phi.input))
        self._done += batch.job.work * len(batch.rows)
        self._finished += len(batch.rows)
        loss = float(solved.inversion.history["total"][:, -1].mean())
        self._display.update(self._place, self._done, loss, self._finished)
        self._checkpoint(batch).clear()

    def _checkpoint(self, batch: Batch) -> Checkpoint:
        return Checkpoint(self._directory.checkpoint_path(batch.keys), batch.keys)

    def _show(self, batch: Batch, progress: inversion.Progress) -> None:
        done = self._done + batch.job.work * len(batch.rows) * progress.step / batch.job.steps
        loss = float(progress.history["total"][:, -1].mean())
        self._display.update(self._place, done, loss, self._finished)
        if self._log is None:
            return
        for index, row in enumerate(batch.rows):
            terms = {name: float(values[index, -1]) for name, values in progress.history.items() if name != "step"}
            self._log.scalars(stem(batch.job, row), progress.step, terms)

    def _saved(self, batch: Batch, checkpoint: Checkpoint) -> Saved | None:
        """The checkpoint of a batch, or None where there is none that can be read."""
        try:
            return checkpoint.load(batch.job.inverter.structure)
        except Exception as error:  # whatever reading it raises: of another version, for one
            self._display.say(f"the checkpoint is damaged, a batch starts again ({_summary(error)})")
            checkpoint.clear()
            return None

    @contextmanager
    def _recording_failure(self, job: Job, rows: Rows) -> Iterator[None]:
        """Where the block fails, so do these rows, and others can go on."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            self._fail(job, rows, error)

    def _fail(self, job: Job, rows: Rows, error: Exception) -> None:
        reason = self._reason(job, rows, error)
        self._display.say(f"failed: {_several(job, rows)}: {reason}")
        self._directory.fail([job.key(row) for row in rows], reason)
        self._done += job.work * len(rows)

    def _reason(self, job: Job, rows: Rows, error: Exception) -> str:
        """One line; of what is no user's mistake, with the place of the traceback."""
        if isinstance(error, UserError):
            return _summary(error)
        return f"{_summary(error)} (traceback in {self._directory.log(_several(job, rows), error)})"


def _several(job: Job, rows: Rows) -> str:
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"{job.key(rows[0])}{more}"


def _summary(error: Exception) -> str:
    """One line; the class of what is no user's mistake."""
    text = first_line(error)
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _conclude(directory: RunDirectory, planned: int) -> None:
    """Raises for what failed."""
    if failed := directory.failures:
        first, reason = failed[0]
        raise Incomplete(
            f"{len(failed)} of {planned} reconstructions failed, {first.image} from {first.feature} first: {reason}; "
            f"all reasons are in {directory.path}/failures.json, and the same command tries them again"
        )


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM in a list instead of stopping in the middle of something; the second one stops."""
    stop: list[int] = []

    def handler(number: int, _: FrameType | None) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.append(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
