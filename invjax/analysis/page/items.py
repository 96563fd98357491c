"""The reconstructions of one or several runs with all that the page holds of their files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from invjax.analysis.page import pictures
from invjax.runs.rundir import Run
from invjax.runs.store import Row

WHOLE_BYTES = 2 << 20  # pictures of more than that in all are thumbnails, linked to their files
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Embedded:
    """A picture on the page; the rest is None when its file is missing or damaged.

    Attributes:
        id: its place on the page.
        shown: what the page holds of it.
        link: URL of its file, relative to the page.
    """

    id: str
    shown: pictures.Picture | None = None
    link: str | None = None


@dataclasses.dataclass(frozen=True)
class Item:
    """One reconstruction.

    Attributes:
        run: where it is from.
        row: its line in results.csv.
        picture: its picture.
        original: None where the feature came without a picture.
        deviation: per pixel over the restarts; None without a study of restarts.
        error_map: of `pictures.error_map`; None for features without positions, or damaged files.
        arrays: URL of the exact numbers, None when missing.
        movie: URL of the movie of the descent, if there is one.
    """

    run: Run
    row: Row
    picture: Embedded
    original: Embedded | None
    deviation: Embedded | None
    error_map: dict[str, Any] | None
    arrays: str | None
    movie: str | None


class Items:
    """All pictures of a page, each embedded once.

    Args:
        runs: of `rundir.read`, with different names.
        folder: where the page will be.
    """

    def __init__(self, runs: Sequence[Run], folder: Path) -> None:
        self._folder = folder.resolve()
        self.thumbnails = sum(map(_picture_bytes, runs)) > WHOLE_BYTES
        self._embedded: dict[tuple[str, str], Embedded] = {}
        self._originals: dict[tuple[str, str], Embedded] = {}
        self.items = [self._item(run, row) for run in runs for row in run.rows]

    def _item(self, run: Run, row: Row) -> Item:
        stem = row.picture.removesuffix(".png")
        return Item(
            run,
            row,
            self._embed(run, row.picture),
            self._original(run, row.image) if run.has_originals else None,
            self._deviation(run, f"{stem.removesuffix(f'_r{row.restart}')}_deviation.png"),
            _decoded(run, f"{stem}.npz", "its error map is not shown", pictures.error_map),
            self.link(run, f"{stem}.npz"),
            self.link(run, f"{stem}.webp"),
        )

    def link(self, run: Run, name: str) -> str | None:
        """URL of a file of a run, relative to the page; None when there is none."""
        path = run.locate(name)
        return None if path is None else quote(Path(os.path.relpath(path, self._folder)).as_posix())

    def _embed(self, run: Run, name: str) -> Embedded:
        if (run.name, name) not in self._embedded:
            shown = _decoded(run, name, "it is not shown", self._picture)
            link = self.link(run, name) if shown else None
            self._embedded[run.name, name] = Embedded(f"picture-{len(self._embedded)}", shown, link)
        return self._embedded[run.name, name]

    def _picture(self, path: Path) -> pictures.Picture:
        return pictures.picture(path.read_bytes(), self.thumbnails)

    def _deviation(self, run: Run, name: str) -> Embedded | None:
        if run.locate(name) is None:
            return None
        embedded = self._embed(run, name)  # its colours mean something, and are shown as they are
        return dataclasses.replace(embedded, shown=embedded.shown and dataclasses.replace(embedded.shown, stretch=""))

    def _original(self, run: Run, image: str) -> Embedded:
        """Runs that are compared have most originals in common."""
        embedded = self._embed(run, _original_path(image))
        return self._originals.setdefault((image, embedded.shown.uri if embedded.shown else ""), embedded)


def _original_path(image: str) -> str:
    return f"images/{image}/original.png"


def _picture_bytes(run: Run) -> int:
    """Size of all pictures of a run."""
    names = {row.picture for row in run.rows} | {_original_path(row.image) for row in run.rows}
    return sum(path.stat().st_size for path in map(run.locate, names) if path)


def _decoded(run: Run, name: str, loss: str, decode: Callable[[Path], T]) -> T | None:
    """What a file says; when it is missing or damaged, a warning that says what the page lacks for it, `loss`."""
    path = run.locate(name)
    if path is None:
        run.warn(f"{name} is missing: {loss}")
        return None
    try:
        return decode(path)
    except PermissionError as error:
        run.warn(f"{name} cannot be read ({error.strerror}): {loss}")
    except Exception:  # decoders raise whatever they like on a broken file
        run.warn(f"{name} is damaged: {loss}")
    return None
