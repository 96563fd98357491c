"""A grid of reconstructions beside the pictures that they are of, as a paper shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

from invjax import features
from invjax.analysis.figures import tiles
from invjax.analysis.figures.arrange import Grid, arrange, bands
from invjax.analysis.figures.field import box, masks_of
from invjax.analysis.figures.tiles import Band, Frame, Pictures, Tile
from invjax.analysis.frame import frame_of, measure_of
from invjax.analysis.words import measured
from invjax.errors import UserError
from invjax.runs import rundir
from invjax.runs.store import MEASURES
from invjax.types import Layer

FIGURE = "figures/pictures"


def write(workdir: Path, rows: str = "", columns: str = "", field: bool = False) -> list[str]:
    """Writes figures/pictures.png and .pdf into a run directory: reconstructions, the original first.

    Each picture is stretched to the full range of grey levels, as the paper shows them, all its channels alike, which
    keeps its colours. What is stretched is the PNG with the true values, where outliers are clipped already. Below each
    is its error: normalized in %, or the relative one of a single picture. A picture that cannot be read is a cross.

    Args:
        workdir: the run directory.
        rows, columns: fields of the results, see `arrange`. What there is no room for, such as some of many pictures,
            is left out, and the figure says so.
        field: frame what the centre of a layer sees, where only that was inverted (`config.mask`), in the
            reconstruction and in the original.

    Returns:
        What the figure lacks, a line each.

    Raises:
        UserError: not a run directory, or rows or columns are no such fields.
        OSError: it cannot be written.
    """
    run = rundir.read(workdir)
    frame, given = frame_of([run]), bool(run.config.get("features"))  # given features have no originals
    grid = arrange(frame, rows, columns, named=given)
    shown = [row for line in grid.lines for row in line.cells if row]
    originals = [] if given else [_original(image) for image in dict.fromkeys(row.image for row in shown)]
    pictures, notes = load(Path(workdir), [*originals, *(row.picture for row in shown)])
    measure, masks = measure_of(frame), masks_of(run.config) if field else {}
    known = {(name, layer.name): layer for name, origin in run.origins.items() for layer in origin.layers}
    frames = {
        row.picture: _frames(row, known.get((row.representation, row.layer)), masks.get(row.variant, ""))
        for row in shown
        if field and pictures[row.picture] is not None
    }

    def tile(row: Any) -> Tile:
        return Tile(row.picture, measured(measure, getattr(row, measure)), frames.get(row.picture, ()))

    def original(image: str) -> Tile:
        seen = [frame for row in shown if row.image == image for frame in frames.get(row.picture, ())]
        return Tile(_original(image), frames=tuple(dict.fromkeys(seen)))

    facts = [
        ", ".join(grid.common),
        f"Below each its {MEASURES[measure].title}",
        "Framed what was seen" if any(frames.values()) else "",
        "Contrast stretched",
        *grid.omitted,
    ]
    footer = " ".join(f"{fact}." for fact in facts if fact)
    tiles.draw(Path(workdir) / FIGURE, compose(grid, tile, None if given else original), pictures, footer)
    return [f"{FIGURE} shows {what}" for what in grid.omitted] + notes


def _original(image: str) -> str:
    return f"images/{image}/original.png"


def load(workdir: Path, names: Iterable[str]) -> tuple[Pictures, list[str]]:
    """Reads pictures and stretches them.

    Args:
        workdir: the run directory.
        names: of the files in it.

    Returns:
        (pictures by name, a line for each that is missing or damaged).
    """
    pictures: dict[str, np.ndarray | None] = {}
    notes = []
    for name in dict.fromkeys(names):
        try:
            with pillow.open(workdir / name) as file:
                pictures[name] = stretched(np.asarray(file.convert("RGB")))
        except Exception as error:  # decoders raise whatever they like on a broken file
            pictures[name] = None
            problem = "missing" if isinstance(error, FileNotFoundError) else "damaged"
            notes.append(f"{name} is {problem}: {FIGURE} has a cross in its place")
    return pictures, notes


def stretched(pixels: np.ndarray) -> np.ndarray:
    """The darkest value of all channels becomes 0, the brightest 255; uint8 [H, W, 3]."""
    low, high = float(pixels.min()), float(pixels.max())
    return pixels if low == high else np.round((pixels - low) * (255 / (high - low))).astype(np.uint8)


def _frames(row: Any, layer: Layer | None, mask: str) -> tuple[Frame, ...]:
    """What a reconstruction's feature saw, if only a part of the picture."""
    arrays = _exact(Path(row.arrays))
    if layer is None or "error_map" not in arrays:
        return ()
    height, width = arrays["image"].shape[:2]
    seen = box(layer, mask, arrays["error_map"].shape, width, height)
    return ((seen.left / width, seen.top / height, seen.right / width, seen.bottom / height),) if seen else ()


def _exact(path: Path) -> dict[str, np.ndarray]:
    """The exact numbers of a reconstruction; nothing where they cannot be read."""
    try:
        return features.read_features(path)
    except UserError:
        return {}


def compose(grid: Grid, tile: Callable[[Any], Tile], original: Callable[[str], Tile] | None) -> list[Band]:
    """Makes tiles of a grid, originals first: above columns that are of one picture, else left of its first line.

    Args:
        grid: of rows of the results.
        tile: of such a row.
        original: tile of a picture's name; None where there are no originals.
    """
    composed = []
    images = [line.image for line in grid.lines]
    firsts = [image if image not in images[:number] else "" for number, image in enumerate(images)]
    for part in bands(len(grid.columns)):
        titles = grid.columns[part]
        lines = [(line.name, [tile(row) if row else None for row in line.cells[part]]) for line in grid.lines]
        if original and grid.images:
            lines.insert(0, ("original", [original(image) for image in grid.images[part]]))
        elif original:
            titles = ["original", *titles]
            lines = [
                (name, [original(first) if first else None, *cells])
                for (name, cells), first in zip(lines, firsts, strict=True)
            ]
        composed.append(Band(titles, lines))
    return composed
