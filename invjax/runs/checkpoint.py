"""Checkpoints of a batch on its way: a file for each, whole or not there, the newest one only.

The first line of a file is JSON, to be read without the rest: the keys of the batch, the step, and the checksum of what
follows: the state of the descent, its history and frames, as Flax packs arrays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from invjax.errors import UserError
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
        path: a file of its own.
        keys: what tells its reconstructions from others, to be found by `saved_batches`.
    """

    def __init__(self, path: Path, keys: Sequence[Key] = ()) -> None:
        self._path, self._keys = path, keys

    def save(self, saved: Saved) -> None:
        """Writes a batch between two stretches, in place of the one before.

        Raises:
            OSError: it cannot be written; an earlier checkpoint is untouched.
        """
        from flax import serialization  # as elsewhere, when it is needed

        states = [np.asarray(leaf) for leaf in jax.tree.leaves(saved.progress.states)]
        tree = {"states": states, "history": saved.progress.history, "seconds": saved.seconds, "frames": saved.frames}
        packed = serialization.msgpack_serialize(tree)
        head = {"keys": self._keys, "step": saved.progress.step, "checksum": zlib.crc32(packed)}
        write_atomically(self._path, (json.dumps(head).encode() + b"\n", packed))

    def load(self, structure: Any) -> Saved | None:
        """The checkpoint, or None where there is none.

        Args:
            structure: of the states, `descent.state_structure`.

        Raises:
            UserError: it is damaged.
            Exception: it is of another version of the program; whatever Flax or JAX raise.
        """
        from flax import serialization

        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            head, packed = json.loads(file.readline()), file.read()
        if zlib.crc32(packed) != head["checksum"]:
            raise UserError("its checksum is another one")
        tree = serialization.msgpack_restore(packed)
        states = jax.tree.unflatten(structure, [jax.numpy.asarray(leaf) for leaf in tree["states"]])
        return Saved(Progress(states, head["step"], tree["history"]), tree["seconds"], tree["frames"])

    def clear(self) -> None:
        """Removes it."""
        self._path.unlink(missing_ok=True)


def saved_batches(folder: Path) -> list[tuple[Key, ...]]:
    """Keys of the batches that have a checkpoint in a folder, in an order that depends on nothing else.

    Where the list of a batch is damaged, its reconstructions start again.
    """
    found = []
    for path in sorted(folder.glob("*.checkpoint")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError), path.open("rb") as file:
            found.append(tuple(Key(*key) for key in json.loads(file.readline())["keys"]))
    return found
