"""What Φ was shown, as a run directory keeps it: to look at, exact, and between which pictures distances are compared.

images/NAME/original.png   to look at, rounded to 8 bits
images/NAME/original.npz   exact: float32 [H, W, C] minus the mean, for each size and mean that representations ask for
compared.json              between which pictures the mean distance of normalized_error is taken
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from invjax import features, images
from invjax.errors import UserError
from invjax.files import reading, write_atomically
from invjax.runs.plan import Job
from invjax.runs.sources import Shape
from invjax.types import InputSpec

AGAIN = "the command that made this run writes it again"


def save_originals(jobs: Sequence[Job], workdir: Path) -> None:
    """Writes what was shown to the representations of all jobs, as far as it is not there yet.

    Args:
        jobs: of the run; those of given features have shown nothing.
        workdir: the run directory.

    Raises:
        OSError: it cannot be written.
    """
    shown: dict[str, list[tuple[Job, int]]] = {}
    for job in jobs:
        for place, name in enumerate(job.pictures if job.originals is not None else ()):
            shown.setdefault(name, []).append((job, place))
    for name, places in shown.items():
        with contextlib.suppress(UserError):  # of a file that has changed, which is told when it is its turn
            _save_visible(workdir / "images" / name / "original.png", places)
            _save_exact(workdir / "images" / name / "original.npz", places)
    if shown:
        write_atomically(workdir / "compared.json", json.dumps(_compared(jobs), indent=1) + "\n")


def _save_visible(path: Path, places: Iterable[tuple[Job, int]]) -> None:
    """In colour and large, where jobs differ."""
    job, place = max(places, key=lambda shown: shown[0].image_shape[::-1])
    if job.originals is not None and not _is_there(path, job.image_shape):
        images.save_image(path, job.originals[place], job.phi.input)


def _is_there(path: Path, shape: Shape) -> bool:
    """Whether an earlier start has written a picture of that shape."""
    try:
        with Image.open(path) as file:
            return (file.height, file.width, len(file.getbands())) == shape
    except OSError:
        return False


def _save_exact(path: Path, places: Iterable[tuple[Job, int]]) -> None:
    wanted = {_name(job.phi.input, job.image_shape): (job, place) for job, place in places}
    if wanted.keys() <= _names(path):
        return
    exact = io.BytesIO()
    arrays = {name: job.originals[place] for name, (job, place) in wanted.items() if job.originals is not None}
    np.savez(exact, allow_pickle=False, **arrays)
    write_atomically(path, exact.getvalue())


def _name(spec: InputSpec, shape: Shape) -> str:
    """What pictures that are shown in the same way have in common."""
    return f"{'x'.join(map(str, shape))} minus {' '.join(map(str, spec.mean))}"


def _names(path: Path) -> set[str]:
    try:
        with np.load(path) as file:
            return set(file.files)
    except (OSError, ValueError, zipfile.BadZipFile):
        return set()


def _compared(jobs: Iterable[Job]) -> list[dict[str, object]]:
    """Pictures of which the mean distance is taken, and for which variants, representations and sizes."""
    found: dict[tuple[str, ...], dict[tuple[str, str, Shape], None]] = {}
    for job in jobs:
        if job.originals is not None:
            chosen = tuple(job.pictures[place] for place in job.compared)
            variants = dict.fromkeys(row.variant for row in job.rows)
            same = {(variant, job.phi.name, job.image_shape): None for variant in variants}
            found.setdefault(chosen, {}).update(same)
    return [{"of": list(same), "pictures": list(chosen)} for chosen, same in found.items()]


def read_original(workdir: Path, image: str, spec: InputSpec, shape: Shape) -> np.ndarray:
    """What Φ was shown, exactly.

    Args:
        workdir: the run directory.
        image: name of the picture.
        spec: of the representation.
        shape: of what it was shown, [H, W, C].

    Returns:
        float32 [H, W, C] in Φ's units.

    Raises:
        UserError: it is not there, or damaged.
    """
    path = workdir / "images" / image / "original.npz"
    if not path.exists():
        raise UserError(f"{path}: no such file: {AGAIN}")
    original = features.read_features(path).get(_name(spec, shape))
    if original is None or original.shape != shape or not np.isfinite(original).all():
        raise UserError(f"{path}: no picture {list(shape)} of this representation in it: {AGAIN}")
    return original


def read_compared(workdir: Path, variant: str, representation: str, shape: Shape) -> list[str]:
    """Names of the pictures between which the mean distance of normalized_error is taken, `Job.compared`.

    Args:
        workdir: the run directory.
        variant: of the sweep, empty without one.
        representation: its name.
        shape: of what it was shown, [H, W, C].

    Raises:
        UserError: they are not told.
    """
    path, wanted = workdir / "compared.json", [variant, representation, list(shape)]
    if not path.exists():
        raise UserError(f"{path}: no such file: {AGAIN}")
    with reading(path):
        for group in json.loads(path.read_text(encoding="utf-8")):
            if wanted in group["of"]:
                return [str(name) for name in group["pictures"]]
    raise UserError(f"{path}: says nothing of {representation} {list(shape)} {variant}".rstrip() + f": {AGAIN}")
