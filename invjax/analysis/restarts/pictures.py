"""The reconstructions of a run directory, exact, and maps of where restarts differ."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as pillow

from invjax import features
from invjax.analysis.restarts.measures import deviation_map
from invjax.analysis.restarts.scope import Shape
from invjax.analysis.restarts.tables import Group, group_of
from invjax.errors import UserError
from invjax.files import write_atomically
from invjax.runs.rundir import Run
from invjax.runs.store import Row

BRIGHTEST = 64.0  # grey levels: the last colour of the maps

Warn = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Restarts:
    """The restarts of a group, as far as they can be read.

    Attributes:
        rows: of the results, at least one.
        pictures: float32 [restarts, H, W, C].
    """

    rows: list[Row]
    pictures: np.ndarray

    @property
    def group(self) -> Group:
        """Which they are of."""
        return group_of(self.rows[0])

    @property
    def shape(self) -> Shape:
        """Of each picture."""
        height, width, channels = self.pictures.shape[1:]
        return height, width, channels


def read_restarts(run: Run, rows: Sequence[Row], warn: Warn) -> Restarts | None:
    """The exact pictures of a group; what cannot be read is told and left out. None where nothing is left."""
    found: list[tuple[Row, np.ndarray]] = []
    for row in rows:
        try:
            picture = _read_exact(run, row)
            if found and picture.shape != found[0][1].shape:
                raise UserError(f"{row.picture}: not of the same size as the other restarts")
            found.append((row, picture))
        except UserError as error:
            warn(f"{error}: studied without this restart")
    return Restarts([row for row, _ in found], np.stack([picture for _, picture in found])) if found else None


def _read_exact(run: Run, row: Row) -> np.ndarray:
    name = f"{row.picture.removesuffix('.png')}.npz"
    path = run.locate(name)
    if path is None:
        raise UserError(f"{name} is missing")
    image = features.read_features(path).get("image")
    if image is None or image.ndim != 3 or not np.isfinite(image).all():
        raise UserError(f"{path}: holds no picture")
    return image


def write_deviation(run: Run, restarts: Restarts) -> list[Path]:
    """Writes where restarts differ, exact and to look at: [.npz, .png]; none for a single restart."""
    if len(restarts.rows) < 2:
        return []
    import matplotlib  # takes long

    deviation = deviation_map(restarts.pictures)
    exact, seen = io.BytesIO(), io.BytesIO()
    np.savez(exact, allow_pickle=False, deviation=deviation)
    colours = matplotlib.colormaps["magma"](deviation / BRIGHTEST, bytes=True)
    pillow.fromarray(colours[..., :3]).save(seen, "PNG")
    first = restarts.rows[0]
    stem = run.workdir / first.picture.removesuffix(".png").removesuffix(f"_r{first.restart}")
    files = {stem.with_name(f"{stem.name}_deviation{kind}"): data for kind, data in ((".npz", exact), (".png", seen))}
    for path, data in files.items():
        write_atomically(path, data.getvalue())
    return list(files)
