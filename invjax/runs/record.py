"""What is kept of a finished batch: its numbers, its pictures, exact and to look at, and its movies."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from invjax import devices, features, images, metrics
from invjax.errors import UserError, first_line
from invjax.files import write_atomically
from invjax.runs import movie
from invjax.runs.directory import RunDirectory
from invjax.runs.inverters import Solved
from invjax.runs.plan import Batch, Job, compute_features, stem
from invjax.runs.store import Row
from invjax.types import Feature


def record(batch: Batch, solved: Solved, directory: RunDirectory) -> None:
    """Measures a batch, and writes its pictures and then its rows.

    Args:
        batch: what was asked for.
        solved: what was found.
        directory: where it belongs.
    """
    job, history = batch.job, solved.inversion.history
    features = compute_features(job.phi, solved.inversion.images)
    # compressing and comparing pictures takes long, and other cores can do it too
    with ThreadPoolExecutor(devices.CORES) as pool:
        rows = list(pool.map(lambda i: _row(batch, solved, i, features[i], directory.path), range(len(batch.rows))))
    histories = [{k: v if k == "step" else v[i] for k, v in history.items()} for i in range(len(rows))]
    directory.add(rows, histories)


def _row(batch: Batch, solved: Solved, index: int, feature: Feature, workdir: Path) -> Row:
    """Writes the files of one reconstruction, and measures it."""
    job, reconstruction, result = batch.job, batch.rows[index], solved.inversion
    target, image = batch.targets.of(reconstruction.picture), result.images[index]
    place = stem(job, reconstruction)
    _save_pictures(workdir / place, image, feature, target, job)
    if solved.frames is not None:
        write_atomically(workdir / f"{place}.webp", movie.frames_to_webp(solved.frames[:, index]))
    shown = metrics.row(target)
    norm = metrics.distance(shown)
    error = (metrics.distance(metrics.row(feature), shown) / norm) ** 2  # of the picture that is kept
    return Row(
        image=reconstruction.image,
        representation=job.phi.name,
        layer=job.phi.layer,
        weights=job.phi.origin.source,
        variant=reconstruction.variant,
        recipe=job.recipe,
        lambda_tv=reconstruction.lambda_tv,
        lambda_alpha=reconstruction.weights.get("alpha", 0.0),
        seed=str(reconstruction.seed),
        restart=reconstruction.restart,
        steps=job.steps,
        status=str(result.status[index]),
        relative_error=error,
        normalized_error=metrics.normalized_error(error, norm, batch.targets.pairwise_distance),
        **_likeness(job, batch.targets.originals.get(reconstruction.picture), image),
        seconds=solved.seconds / len(batch.rows),
        picture=f"{place}.png",
    )


def _likeness(job: Job, original: np.ndarray | None, image: np.ndarray) -> dict[str, float]:
    """Measures in pixels, which need an original."""
    if original is None:
        return {"psnr": math.nan, "ssim": math.nan}
    return {measure.__name__: measure(image, original, job.phi.input) for measure in (metrics.psnr, metrics.ssim)}


def _save_pictures(place: Path, image: np.ndarray, feature: Feature, target: Feature, job: Job) -> None:
    """The picture to look at, and beside it the exact numbers."""
    images.save_image(place.with_name(f"{place.name}.png"), image, job.phi.input)
    exact, arrays = io.BytesIO(), {"image": image}
    error_map = metrics.error_map(feature, target)
    if error_map is not None:
        arrays["error_map"] = error_map
    np.savez(exact, allow_pickle=False, **arrays)
    write_atomically(place.with_name(f"{place.name}.npz"), exact.getvalue())


def save_stretched(jobs: Iterable[Job], directory: RunDirectory) -> None:
    """Writes all finished pictures stretched to the full range, those of earlier starts too, as far as they are not
    there yet."""
    finished = directory.finished()
    for job in jobs:
        for row in job.rows:
            place = directory.path / stem(job, row)
            path, exact = (place.with_name(f"{place.name}{suffix}") for suffix in ("_stretched.png", ".npz"))
            if job.key(row) in finished and exact.exists() and not path.exists():
                try:
                    images.save_image(path, features.read_features(exact)["image"], job.phi.input, stretch=True)
                except (UserError, KeyError) as error:
                    print(f"invjax: {first_line(error)}: not stretched", file=sys.stderr)
