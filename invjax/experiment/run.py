"""Running an experiment: every batch of every job, from where it was left to the report."""

from __future__ import annotations

import dataclasses
import io
import math
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import jax
import numpy as np
from ml_collections import ConfigDict

from invjax import images, inversion, memory, metrics, report
from invjax.experiment import config as configs
from invjax.experiment.checkpoint import Checkpoint
from invjax.experiment.directory import Row, RunDirectory, key_of
from invjax.experiment.display import Display, print_table
from invjax.experiment.plan import Job, Reconstruction, compute_features, fingerprints, make_jobs
from invjax.files import write_atomically


@dataclasses.dataclass(frozen=True)
class Batch:
    """Reconstructions computed at once.

    Attributes:
        job: what they belong to.
        rows: the reconstructions.
    """

    job: Job
    rows: tuple[Reconstruction, ...]

    @property
    def keys(self) -> list[Row]:
        """What tells each reconstruction from all others of the run."""
        return [_key(self.job, row) for row in self.rows]

    @property
    def work(self) -> int:
        """Reconstructions × steps."""
        return len(self.rows) * self.job.steps


def run(config: ConfigDict, workdir: Path) -> None:
    """Runs a config in a run directory, or goes on with it where it stopped.

    Args:
        config: of `config.load`, not yet checked.
        workdir: the run directory.

    Raises:
        UserError: a config, picture or directory that cannot be used; nothing was computed.
        OSError: the disk is full or the directory cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything is on disk and the same command goes on.
    """
    configs.check(config)
    jobs = make_jobs(config)
    with RunDirectory(workdir, configs.as_dict(config), fingerprints(jobs), shlex.join(sys.argv)) as directory:
        try:
            _run_jobs(jobs, directory, config)
            page = report.write(workdir)
        except OSError as error:
            kept = f"{error.strerror or error}; what was finished is kept, and the same command goes on"
            raise OSError(error.errno, kept, error.filename) from error
    print_table(directory.rows)
    print(f"{page}: open it in a browser")


def _run_jobs(jobs: list[Job], directory: RunDirectory, config: ConfigDict) -> None:
    """Every batch that is not finished."""
    for job in jobs:
        _save_originals(job, directory.path)
    finished = directory.finished()
    batches = [batch for job in jobs for batch in _batches(job, finished, config.batch_size)]
    total = sum(len(job.rows) * job.steps for job in jobs)
    done = total - sum(batch.work for batch in batches)
    if not batches:
        print(f"{directory.path}: finished already, nothing to compute")
    with Display(total, done) as display, _interruptible() as stop:
        for batch in batches:
            checkpoint = Checkpoint(directory.checkpoint_path(batch.keys))
            result, seconds = _solve(batch, checkpoint, config, display, done, stop)
            _record(batch, result, seconds, directory, config.stretch)
            checkpoint.clear()
            done += batch.work
    directory.clear_checkpoints()


def _batches(job: Job, finished: set[tuple[str, ...]], batch_size: int | None) -> list[Batch]:
    rows = [row for row in job.rows if key_of(_key(job, row)) not in finished]
    if batch_size is None:
        batch_size = memory.batch_size(job.method, job.phi, job.problems(job.rows[:1]), job.image_shape)
    return [Batch(job, tuple(rows[first : first + batch_size])) for first in range(0, len(rows), batch_size)]


def _resume(batch: Batch, checkpoint: Checkpoint, display: Display) -> tuple[inversion.Progress | None, float]:
    """The checkpoint of a batch, or (None, 0.0) where there is none that can be read."""
    try:
        return checkpoint.load(inversion.state_structure(batch.job.method, batch.job.image_shape)) or (None, 0.0)
    except Exception as error:  # of Orbax and the storage libraries below it, each with its own class
        display.say(f"the checkpoint is damaged, a batch starts again ({str(error).splitlines()[0]})")
        checkpoint.clear()
        return None, 0.0


def _solve(
    batch: Batch, checkpoint: Checkpoint, config: ConfigDict, display: Display, done: int, stop: list[int]
) -> tuple[inversion.Inversion, float]:
    """Computes one batch from its checkpoint or from noise.

    Returns:
        (result, seconds that it took, over all starts).
    """
    job, problems = batch.job, batch.job.problems(batch.rows)
    resume, seconds = _resume(batch, checkpoint, display)
    started, saved = time.monotonic() - seconds, time.monotonic()
    for progress in inversion.solve(job.method, job.phi, problems, job.image_shape, job.steps, config.every, resume):
        loss = progress.history["total"][:, -1]
        display.update(f"{job.phi.name} {job.phi.layer}".strip(), done + progress.step * len(batch.rows), loss.mean())
        if stop or time.monotonic() - saved >= config.checkpoint_seconds:
            checkpoint.save(progress, time.monotonic() - started)
            saved = time.monotonic()
        if stop:
            raise KeyboardInterrupt("stopped; what was done is kept, and the same command goes on")
    return inversion.finish(job.method, job.phi, problems, progress), time.monotonic() - started


def _record(batch: Batch, result: inversion.Inversion, seconds: float, directory: RunDirectory, stretch: bool) -> None:
    """Measures a batch, and writes its pictures and then its rows."""
    job, rows, histories = batch.job, [], []
    features, norms = compute_features(job.phi, result.images), np.linalg.norm(metrics.flat(job.targets), axis=1)
    for index, reconstruction in enumerate(batch.rows):
        image = result.images[index]
        target = jax.tree.map(lambda leaf, which=reconstruction.picture: leaf[which], job.targets)
        stem = _stem(job, reconstruction)
        _save_picture(directory.path / stem, image, metrics.error_map(features[index], target), job, stretch)
        relative_error = float(result.relative_error[index])
        norm = float(norms[reconstruction.picture])
        rows.append(
            _key(job, reconstruction)
            | {
                "weights": job.phi.source,
                "recipe": job.recipe,
                "lambda_alpha": job.weights["alpha"],
                "seed": job.seed,
                "steps": job.steps,
                "status": result.status[index],
                "relative_error": relative_error,
                "normalized_error": metrics.normalized_error(relative_error, norm, job.pairwise_distance),
                "seconds": seconds / len(batch.rows),
                "picture": f"{stem}.png",
            }
            | _likeness(job, reconstruction, image)
        )
        histories.append({k: v if k == "step" else v[index] for k, v in result.history.items()})
    directory.add(rows, histories)


def _likeness(job: Job, reconstruction: Reconstruction, image: np.ndarray) -> Row:
    """Measures in pixels, which need an original."""
    if job.originals is None:
        return {"psnr": math.nan, "ssim": math.nan}
    original = job.originals[reconstruction.picture]
    return {measure.__name__: measure(image, original, job.phi.input) for measure in (metrics.psnr, metrics.ssim)}


def _key(job: Job, reconstruction: Reconstruction) -> Row:
    return {
        "image": reconstruction.image,
        "representation": job.phi.name,
        "layer": job.phi.layer,
        "variant": "",
        "lambda_tv": reconstruction.lambda_tv,
        "restart": reconstruction.restart,
    }


def _stem(job: Job, row: Reconstruction) -> str:
    """Path of a reconstruction's files inside the run directory, without suffix."""
    what = "_".join(filter(None, (job.phi.name, job.phi.layer.replace("/", "-").replace("*", "x"))))
    return f"images/{row.image}/{what}_tv{row.lambda_tv:g}_r{row.restart}"


def _save_originals(job: Job, workdir: Path) -> None:
    if job.originals is None:
        return
    for index, name in job.names.items():
        images.save_image(workdir / "images" / name / "original.png", job.originals[index], job.phi.input)


def _save_picture(stem: Path, image: np.ndarray, error_map: np.ndarray | None, job: Job, stretch: bool) -> None:
    """The picture to look at, and beside it the exact numbers."""
    images.save_image(stem.with_name(f"{stem.name}.png"), image, job.phi.input)
    if stretch:
        images.save_image(stem.with_name(f"{stem.name}_stretched.png"), image, job.phi.input, stretch=True)
    exact, arrays = io.BytesIO(), {"image": image}
    if error_map is not None:
        arrays["error_map"] = error_map
    np.savez(exact, allow_pickle=False, **arrays)
    write_atomically(stem.with_name(f"{stem.name}.npz"), exact.getvalue())


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
