"""A batch: reconstructions that are computed at once, from a checkpoint or from noise."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from invjax import inversion, losses, memory
from invjax.runs import movie
from invjax.runs.checkpoint import Saved
from invjax.runs.plan import Job, Reconstruction, Targets
from invjax.runs.store import Key

MOVIE_FRAMES = 40  # at most, about
MOVIE_BATCH = 16  # frames of more reconstructions, and checkpoints of them, would be hundreds of megabytes


@dataclasses.dataclass(frozen=True)
class Batch:
    """Reconstructions of one job, computed at once.

    Attributes:
        job: what they belong to.
        targets: the job's features.
        rows: the reconstructions.
    """

    job: Job
    targets: Targets
    rows: tuple[Reconstruction, ...]

    @property
    def keys(self) -> list[Key]:
        """What tells each reconstruction from all others of the run."""
        return [self.job.key(row) for row in self.rows]

    def cut(self, size: int) -> Iterator[Batch]:
        """Batches of at most that size, in order."""
        for first in range(0, len(self.rows), size):
            yield dataclasses.replace(self, rows=self.rows[first : first + size])


@dataclasses.dataclass(frozen=True)
class Solved:
    """A finished batch.

    Attributes:
        inversion: its reconstructions.
        seconds: that it took, over all starts.
        frames: how they came about, uint8 [points, batch, H, W, C]; None where no movie is wanted.
    """

    inversion: inversion.Inversion
    seconds: float
    frames: np.ndarray | None


def batch_size(job: Job, rows: Sequence[Reconstruction], config: ConfigDict) -> memory.BatchSize:
    """Reconstructions of a job to be computed at once, and why: so many as the config says, or as fit into memory.

    Args:
        job: what they belong to.
        rows: some of them, at least one.
        config: of the run.
    """
    if config.batch_size or config.movie or job.dictionary is not None:
        size = largest(rows, config)
        field = "movie" if config.movie else "batch_size" if config.batch_size else ""
        why = f"as config.{field} asks for" if field else "more are not faster"
        return memory.BatchSize(size, f"batches of {size}, {why}")
    every = min(config.every, job.steps)
    blank = job.problems(rows[:1], job.blank())
    return memory.batch_size(job.method, job.phi, blank, len(rows), every)


def largest(rows: Sequence[Reconstruction], config: ConfigDict) -> int:
    """Reconstructions that would be computed at once if memory had no end; what `batch_size` finds is at most that."""
    size = config.batch_size or memory.largest(len(rows))
    return min(size, MOVIE_BATCH) if config.movie else size


class Descent:
    """A batch on its way, and what is kept of it.

    Args:
        batch: what to compute.
        every: steps between two points.
        saved: of an earlier start, to go on from; None: from noise.
        film: whether to keep frames for a movie.
    """

    def __init__(self, batch: Batch, every: int, saved: Saved | None = None, film: bool = False) -> None:
        self._batch, self._every, self._saved = batch, every, saved
        self._problems = batch.job.problems(batch.rows, batch.targets)
        self._started = time.monotonic() - (saved.seconds if saved else 0.0)
        self._frames = list(saved.frames) if film and saved and saved.frames is not None else []
        self._spacing = max(1, round(batch.job.steps / every / MOVIE_FRAMES)) if film else 0
        self.progress: inversion.Progress | None = None

    def points(self) -> Iterator[inversion.Progress]:
        """Computes the points of its history, from where it starts or goes on; each is to be added."""
        job, resume = self._batch.job, self._saved.progress if self._saved else None
        return inversion.solve(job.method, job.phi, self._problems, job.steps, self._every, resume)

    def add(self, progress: inversion.Progress) -> bool:
        """Takes in a point; False where an earlier start has been there already."""
        self.progress = progress
        if self._saved and progress.step == self._saved.progress.step:
            return False
        job, number = self._batch.job, progress.step // self._every
        if self._spacing and (number % self._spacing == 0 or progress.step == job.steps):
            pictures = inversion.pictures(job.method, job.phi, progress)
            frames = [movie.frame(u, job.method.objective.scale, job.phi.input) for u in pictures]
            self._frames.append(np.stack(frames))
        return True

    def state(self) -> Saved:
        """What to go on from, between two points."""
        assert self.progress is not None
        return Saved(inversion.detached(self.progress), time.monotonic() - self._started, self._film())

    def result(self) -> Solved:
        """The finished batch."""
        assert self.progress is not None
        found = inversion.finish(self._batch.job.method, self._batch.job.phi, self._problems, self.progress)
        return Solved(found, time.monotonic() - self._started, self._film())

    def _film(self) -> np.ndarray | None:
        return np.stack(self._frames) if self._frames else None


def by_dictionary(batch: Batch) -> Solved:
    """HOGgles: no descent, so one point of history."""
    from invjax import hoggles

    job, started = batch.job, time.monotonic()
    assert job.dictionary is not None
    targets = [batch.targets.of(row.picture) for row in batch.rows]
    found = [hoggles.invert(job.dictionary, job.phi, target, job.image_shape) for target in targets]
    measure = jax.jit(lambda phi, image, target: losses.euclidean(phi(image), target))
    errors = np.array([measure(job.phi, image, target) for image, target in zip(found, targets, strict=True)])
    history = {"step": np.array([0]), "data": errors[:, None], "total": errors[:, None]}
    result = inversion.Inversion(np.stack(found), errors, np.full(len(found), "ok"), history)
    return Solved(result, time.monotonic() - started, None)
