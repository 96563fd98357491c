"""How the rows of a job are inverted, behind one protocol: by a descent, or by the dictionary of HOGgles."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from invjax import descent, inversion, losses, memory, recipes
from invjax.runs import movie
from invjax.runs.checkpoint import Saved

if TYPE_CHECKING:
    from invjax.hoggles import Dictionary
    from invjax.runs.plan import Batch, Job, Reconstruction

MOVIE_FRAMES = 40  # at most, about
MOVIE_BATCH = 16  # frames of more reconstructions, and checkpoints of them, would be hundreds of megabytes


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
    frames: np.ndarray | None = None


class Running(Protocol):
    """A batch on its way."""

    def points(self) -> Iterator[inversion.Progress]:
        """Computes the points of its history that are new, from where it starts or goes on."""

    def state(self) -> Saved:
        """What to go on from, after a point."""

    def result(self) -> Solved:
        """The finished batch, after all points."""


class Inverter(Protocol):
    """What inverts features; compares and hashes by value, since jobs of equal inverters are one job."""

    @property
    def steps(self) -> int:
        """Gradient steps of a reconstruction; 0 where there is no descent."""

    @property
    def structure(self) -> jax.tree_util.PyTreeDef | None:
        """Of the states that a checkpoint holds; None where there is nothing to go on from."""

    def batch_size(self, job: Job, rows: Sequence[Reconstruction], config: ConfigDict) -> memory.BatchSize:
        """Reconstructions to be computed at once, and why: as the config says, or as many as fit into memory."""

    def begin(self, batch: Batch, every: int, saved: Saved | None = None, film: bool = False) -> Running:
        """Starts a batch, or goes on with it.

        Args:
            batch: what to compute.
            every: steps between two points of its history.
            saved: of an earlier start, to go on from; None: from the start.
            film: whether to keep frames for a movie.
        """


def largest(count: int, config: ConfigDict) -> int:
    """Of so many reconstructions those that would be computed at once if memory had no end."""
    size = config.batch_size or memory.largest(count)
    return min(size, MOVIE_BATCH) if config.movie else size


def asked_for(count: int, config: ConfigDict) -> memory.BatchSize | None:
    """The batches of so many reconstructions that the config asks for, if it does."""
    field = "movie" if config.movie else "batch_size" if config.batch_size else ""
    size = largest(count, config)
    return memory.BatchSize(size, f"batches of {size}, as config.{field} asks for") if field else None


@dataclasses.dataclass(frozen=True)
class Descent:
    """Gradient descent by a method."""

    method: recipes.Method
    steps: int

    @property
    def structure(self) -> jax.tree_util.PyTreeDef | None:
        """As `Inverter`."""
        return descent.state_structure(self.method)

    def batch_size(self, job: Job, rows: Sequence[Reconstruction], config: ConfigDict) -> memory.BatchSize:
        """As `Inverter`."""
        if asked := asked_for(len(rows), config):
            return asked
        blank = job.problems(rows[:1], job.blank())
        return memory.batch_size(self.method, job.phi, blank, len(rows), min(config.every, self.steps))

    def begin(self, batch: Batch, every: int, saved: Saved | None = None, film: bool = False) -> Running:
        """As `Inverter`."""
        return _Descending(self, batch, every, saved, film)


class _Descending:
    """A batch on its way down, and what is kept of it."""

    def __init__(self, by: Descent, batch: Batch, every: int, saved: Saved | None, film: bool) -> None:
        self._descent, self._batch, self._every, self._saved = by, batch, every, saved
        self._problems = batch.job.problems(batch.rows, batch.targets)
        self._started = time.monotonic() - (saved.seconds if saved else 0.0)
        self._frames = list(saved.frames) if film and saved and saved.frames is not None else []
        self._spacing = max(1, round(by.steps / every / MOVIE_FRAMES)) if film else 0
        self._progress: inversion.Progress | None = None

    def points(self) -> Iterator[inversion.Progress]:
        """As `Running`."""
        by, job, resume = self._descent, self._batch.job, self._saved.progress if self._saved else None
        points = inversion.solve(by.method, job.phi, self._problems, by.steps, self._every, resume)
        if resume is not None:
            self._progress = next(points)  # where an earlier start has been already
        return map(self._taken_in, points)

    def _taken_in(self, progress: inversion.Progress) -> inversion.Progress:
        """The same point, kept, with a frame where it is time for one."""
        self._progress, method = progress, self._descent.method
        number, last = progress.step // self._every, progress.step == self._descent.steps
        if self._spacing and (number % self._spacing == 0 or last):
            pictures, spec = inversion.pictures(method, self._batch.job.phi, progress), self._batch.job.phi.input
            self._frames.append(np.stack([movie.frame(u, method.objective.scale, spec) for u in pictures]))
        return progress

    def state(self) -> Saved:
        """As `Running`."""
        assert self._progress is not None
        return Saved(inversion.detached(self._progress), time.monotonic() - self._started, self._film())

    def result(self) -> Solved:
        """As `Running`."""
        assert self._progress is not None
        found = inversion.finish(self._descent.method, self._batch.job.phi, self._problems, self._progress)
        return Solved(found, time.monotonic() - self._started, self._film())

    def _film(self) -> np.ndarray | None:
        return np.stack(self._frames) if self._frames else None


@dataclasses.dataclass(frozen=True)
class Hoggles:
    """A dictionary of `invjax hoggles train`: no steps, no noise, no weights.

    Attributes:
        path: its file.
        dictionary: what is in it.
    """

    path: str
    dictionary: Dictionary = dataclasses.field(compare=False)
    steps = 0
    structure = None

    def batch_size(self, job: Job, rows: Sequence[Reconstruction], config: ConfigDict) -> memory.BatchSize:
        """As `Inverter`."""
        size = largest(len(rows), config)
        return asked_for(len(rows), config) or memory.BatchSize(size, f"batches of {size}, more are not faster")

    def begin(self, batch: Batch, every: int, saved: Saved | None = None, film: bool = False) -> Running:
        """As `Inverter`."""
        return _LookingUp(self.dictionary, batch)


class _LookingUp:
    """Features that are looked up in a dictionary, one after the other: one point of history."""

    def __init__(self, dictionary: Dictionary, batch: Batch) -> None:
        self._dictionary, self._batch = dictionary, batch

    def points(self) -> Iterator[inversion.Progress]:
        """As `Running`."""
        return iter(())

    def state(self) -> Saved:
        """As `Running`; there is never anything to go on from."""
        raise NotImplementedError

    def result(self) -> Solved:
        """As `Running`."""
        from invjax import hoggles  # with scikit-learn, which descents do not need

        batch, started = self._batch, time.monotonic()
        phi, targets = batch.job.phi, [batch.targets.of(row.picture) for row in batch.rows]
        found = [hoggles.invert(self._dictionary, phi, target, batch.job.image_shape) for target in targets]
        measure = jax.jit(lambda phi, image, target: losses.euclidean(phi(image), target))
        errors = np.array([measure(phi, image, target) for image, target in zip(found, targets, strict=True)])
        history = {"step": np.array([0]), "data": errors[:, None], "total": errors[:, None]}
        result = inversion.Inversion(np.stack(found), errors, np.full(len(found), "ok"), history)
        return Solved(result, time.monotonic() - started)
