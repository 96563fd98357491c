"""Tiles: pictures in lines and columns with titles, drawn pixel by pixel."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image as pillow

from invjax.analysis.figures import canvas
from invjax.analysis.figures.canvas import DPI, GREY, TEXT_HEIGHT, TEXT_WIDTH

# Lengths are in pixels of the PNG, so that a picture's edges lie between pixels
MOST_SIDE, LEAST_SIDE = round(1.3 * DPI), round(0.25 * DPI)
GAP, TEXT, LETTER = DPI // 25, DPI // 9, DPI // 18  # between pictures; a line of text; a letter
NAME = 11  # letters of a line's name that are next to each other
SMALL = 6  # points
STROKES = (("black", 1.2), ("white", 0.6))  # points; a white line that is seen on white, too

Frame = tuple[float, float, float, float]  # left, top, right, bottom in parts of a picture's width and height
Pictures = Mapping[str, np.ndarray | None]  # uint8 [H, W, 3] by name, None for what cannot be shown


@dataclasses.dataclass(frozen=True)
class Tile:
    """The name of a picture, what is written below it, and frames drawn on it."""

    name: str
    caption: str = ""
    frames: tuple[Frame, ...] = ()


@dataclasses.dataclass(frozen=True)
class Band:
    """Lines below common titles: of each its name and, for each title, a tile or none."""

    titles: list[str]
    lines: list[tuple[str, list[Tile | None]]]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A picture's width and height at most, and the room left of a line and below it."""

    side: int
    tall: int
    left: int
    below: int


def draw(stem: Path, bands: Sequence[Band], pictures: Pictures, footer: str) -> None:
    """Writes a figure, as wide as the text of a page or less.

    Args:
        stem: of the files, without suffix.
        bands: what is below each other.
        pictures: of the tiles.
        footer: what is said at the bottom.

    Raises:
        OSError: it cannot be written.
    """
    layout = _layout(bands, pictures)
    width = layout.left + max(len(band.titles) for band in bands) * (layout.side + GAP)
    footer = textwrap.fill(footer, max(30, width * 7 // (SMALL * LETTER)))
    heights = [_above(band, layout) + len(band.lines) * (layout.tall + layout.below) for band in bands]
    height = sum(heights) + TEXT * (footer.count("\n") + 1)
    with canvas.sheet(stem, width / DPI, height / DPI) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
        axes.set_axis_off()
        for number, band in enumerate(bands):
            _draw_band(axes, band, pictures, layout, sum(heights[:number]))
        axes.text(2, sum(heights), canvas.text(footer), size=SMALL, color=GREY, va="top", linespacing=1.1)


def _layout(bands: Sequence[Band], pictures: Pictures) -> Layout:
    """All pictures equally large, as large as the page allows."""
    lines = [line for band in bands for line in band.lines]
    tiles = [tile for _, line in lines for tile in line if tile]
    shown = [picture for picture in (pictures[tile.name] for tile in tiles) if picture is not None]
    aspect = max((picture.shape[0] / picture.shape[1] for picture in shown), default=1.0)
    names = [row for name, _ in lines for row in canvas.wrapped(name, NAME)]
    left = max(map(canvas.extent, filter(None, names))) + 2 * GAP if any(names) else 0
    below = GAP + TEXT * any(tile.caption for tile in tiles)
    across = (TEXT_WIDTH * DPI - left) / max(len(band.titles) for band in bands) - GAP
    down = (TEXT_HEIGHT * DPI - 4 * TEXT * len(bands)) / len(lines) - below
    side = int(min(MOST_SIDE, across, max(LEAST_SIDE, down / aspect)))
    return Layout(side, round(side * aspect), left, below)


def _above(band: Band, layout: Layout) -> int:
    """The room of a band's titles."""
    return GAP + TEXT * max((len(_title(title, layout.side)) for title in band.titles if title), default=0)


def _title(text: str, side: int) -> list[str]:
    return canvas.wrapped(text, side // LETTER, lines=3)


def _draw_band(axes: Axes, band: Band, pictures: Pictures, layout: Layout, top: int) -> None:
    lefts = [layout.left + column * (layout.side + GAP) for column in range(len(band.titles))]
    middle, top = layout.side / 2, top + _above(band, layout)
    for left, title in zip(lefts, band.titles, strict=True):
        for number, row in enumerate(reversed(_title(title, layout.side))):
            axes.text(left + middle, top - GAP - number * TEXT, canvas.text(row), ha="center")
    for name, tiles in band.lines:
        rows = canvas.wrapped(name, NAME, 1 + layout.tall // TEXT)
        for number, row in enumerate(rows):
            height = top + layout.tall / 2 + (number - (len(rows) - 1) / 2) * TEXT
            axes.text(layout.left - GAP, height, canvas.text(row), ha="right", va="center")
        for left, tile in zip(lefts, tiles, strict=True):
            if tile:
                _draw_tile(axes, tile, pictures[tile.name], layout, left, top)
        top += layout.tall + layout.below


def _draw_tile(axes: Axes, tile: Tile, picture: np.ndarray | None, layout: Layout, left: int, top: int) -> None:
    caption = (left + layout.side / 2, top + layout.tall + GAP / 3)
    axes.text(*caption, tile.caption, size=SMALL, ha="center", va="top")
    if picture is None:
        _cross(axes, left, top, layout.side, layout.tall)
        return
    scale = min(layout.side / picture.shape[1], layout.tall / picture.shape[0])
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    left, top = left + (layout.side - width) // 2, top + (layout.tall - height) // 2
    pixels = pillow.fromarray(picture).resize((width, height), pillow.Resampling.LANCZOS)
    extent = (left, left + width, top + height, top)
    axes.imshow(np.asarray(pixels), extent=extent, aspect="auto", interpolation="none")
    for frame in tile.frames:
        x, y, right, bottom = (part * length for part, length in zip(frame, (width, height) * 2, strict=True))
        for color, stroke in STROKES:
            line: dict[str, Any] = {"fill": False, "edgecolor": color, "linewidth": stroke, "snap": False}
            axes.add_patch(Rectangle((left + x, top + y), right - x, bottom - y, **line))


def _cross(axes: Axes, left: int, top: int, width: int, height: int) -> None:
    """What stands for a picture that cannot be shown."""
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=GREY, linewidth=0.5))
    for ends in ((top, top + height), (top + height, top)):
        axes.plot((left, left + width), ends, color=GREY, linewidth=0.5)
