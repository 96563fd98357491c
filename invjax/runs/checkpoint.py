"""Checkpoints of a batch on its way, with Orbax: whole or not there, the newest one only."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from invjax.errors import first_line
from invjax.files import write_atomically
from invjax.inversion import Progress
from invjax.runs.store import Key


@dataclasses.dataclass(frozen=True)
class Saved:
    """A batch on its way.

    Attributes:
        progress: of `inversion.solve`, between two stretches.
        seconds: spent on it so far.
        frames: for a movie, uint8 [points, batch, H, W, C], or None.
    """

    progress: Progress
    seconds: float
    frames: np.ndarray | None = None


class Checkpoint:
    """Where one batch is kept while it is being computed.

    Args:
        path: folder of its own.
        keys: what tells its reconstructions from others, to be found by `saved_batches`.
    """

    def __init__(self, path: Path, keys: Sequence[Key] = ()) -> None:
        self._path, self._keys = path.absolute(), keys

    def save(self, saved: Saved) -> None:
        """Writes a batch between two stretches, then forgets the one before.

        Raises:
            OSError: it cannot be written; an earlier checkpoint is untouched.
        """
        progress = saved.progress
        tree = {
            "states": jax.tree.leaves(progress.states),
            "history": progress.history,
            "seconds": np.array(saved.seconds),
        }
        if saved.frames is not None:
            tree["frames"] = saved.frames
        _need_space(self._path, sum(leaf.nbytes for leaf in jax.tree.leaves(tree)))
        try:
            if not self._path.with_suffix(".json").exists():
                write_atomically(self._path.with_suffix(".json"), json.dumps(self._keys))
            with _quiet(), self._manager() as manager:
                manager.save(progress.step, args=ocp.args.StandardSave(tree))
        except Exception as error:  # of Orbax and the storage libraries below it, each with its own class
            raise OSError(f"{self._path}: the checkpoint cannot be written: {first_line(error)}") from error

    def load(self, structure: Any) -> Saved | None:
        """The newest checkpoint, or None where there is none.

        Args:
            structure: of the states, `descent.state_structure`.

        Raises:
            Exception: it is damaged; whatever Orbax and the storage libraries raise.
        """
        if not self._path.is_dir():
            return None
        with _quiet(), self._manager() as manager:
            step = manager.latest_step()
            if step is None:
                return None
            tree = manager.restore(step, args=ocp.args.StandardRestore())
        states = jax.tree.unflatten(structure, [jax.numpy.asarray(leaf) for leaf in tree["states"]])
        history = {name: np.asarray(value) for name, value in tree["history"].items()}
        return Saved(Progress(states, step, history), float(tree["seconds"]), tree.get("frames"))

    def clear(self) -> None:
        """Removes it."""
        self._path.with_suffix(".json").unlink(missing_ok=True)
        shutil.rmtree(self._path, ignore_errors=True)

    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(max_to_keep=1, create=True, enable_async_checkpointing=False)
        return ocp.CheckpointManager(self._path, options=options)


def saved_batches(folder: Path) -> list[list[Key]]:
    """Keys of the batches that have a checkpoint below a folder, in an order that depends on nothing else.

    Where the list of a batch is damaged, its reconstructions start again.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            if any(step.name.isdigit() for step in path.with_suffix("").iterdir()):
                found.append([Key(*key) for key in json.loads(path.read_text(encoding="utf-8"))])
    return found


def _need_space(path: Path, size: int) -> None:
    """Refuses to begin what a full disk would cut short: Orbax's threads would fill the screen with tracebacks."""
    path.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(path).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Orbax warns of a checkpoint that a kill cut short, which it then replaces: nothing to worry a user with."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
