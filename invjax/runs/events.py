"""TensorBoard: loss curves and pictures of a run as event files, to be looked at while it goes on."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from invjax.errors import UserError

FLUSH_SECONDS = 10.0  # between two moments when what is written can be seen


class Writer:
    """Appends to the event files of a folder; a context manager.

    Each start writes a file of its own, as TensorBoard wants it. A descent that goes on from its checkpoint takes some
    steps again, to the very same values; of a curve that goes back, TensorBoard shows what was written last, once.
    (tensorboardX's `purge_step` would hide the later steps of all other descents as well.)

    Args:
        folder: of the event files, made when missing.
        writer: number of this one among those that write at once.

    Raises:
        UserError: tensorboardX is not installed.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, writer: int = 0) -> None:
        try:
            from tensorboardX import event_file_writer, proto
        except ImportError:
            raise UserError("config.tensorboard needs tensorboardX: pip install 'invjax[tensorboard]'") from None
        self._proto = proto
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        starts = len(list(folder.iterdir()))  # in the name: two starts within a second would write the same file
        self._file = event_file_writer.EventsWriter(str(folder / "events"), f".{starts}.{writer}")
        self._flushed = time.monotonic()

    def __enter__(self) -> Writer:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Writes what is left."""
        self._file.close()

    def scalars(self, tag_prefix: str, step: int, values: dict[str, float]) -> None:
        """Adds a point to some curves.

        Args:
            tag_prefix: what they belong to; curves are called "tag_prefix/name".
            step: of the descent.
            values: by name.
        """
        tags = {f"{tag_prefix}/{name}": float(value) for name, value in values.items()}
        self._add(step, {tag: {"simple_value": value} for tag, value in tags.items()})

    def picture(self, tag: str, step: int, pixels: np.ndarray) -> None:
        """Adds a picture.

        Args:
            tag: its name; TensorBoard has a slider for pictures of one name.
            step: of the descent.
            pixels: uint8 [H, W, C], C 1 or 3.
        """
        height, width, channels = pixels.shape
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "PNG")
        encoded = self._proto.summary_pb2.Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=file.getvalue()
        )
        self._add(step, {tag: {"image": encoded}})

    def _add(self, step: int, values: dict[str, dict[str, Any]]) -> None:
        """An event with the values, by tag."""
        summary = self._proto.summary_pb2.Summary()
        for tag, value in values.items():
            summary.value.add(tag=tag, **value)
        self._file.write_event(self._proto.event_pb2.Event(wall_time=time.time(), step=step, summary=summary))
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()
