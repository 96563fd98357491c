"""Checkpoints of a batch on its way, with Orbax: whole or not there, the newest one only."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from invjax.inversion import Progress


class Checkpoint:
    """Where one batch is kept while it is being computed.

    Args:
        path: folder of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    def save(self, progress: Progress, seconds: float) -> None:
        """Writes a batch between two stretches, then forgets the one before.

        Args:
            progress: of `inversion.solve`.
            seconds: spent on it so far.

        Raises:
            OSError: it cannot be written; an earlier checkpoint is untouched.
        """
        tree = {"states": jax.tree.leaves(progress.states), "history": progress.history, "seconds": np.array(seconds)}
        try:
            with self._manager() as manager:
                manager.save(progress.step, args=ocp.args.StandardSave(tree))
        except Exception as error:  # of Orbax and the storage libraries below it, each with its own class
            raise OSError(f"{self._path}: the checkpoint cannot be written ({error})") from error

    def load(self, structure: Any) -> tuple[Progress, float] | None:
        """The newest checkpoint, or None where there is none.

        Args:
            structure: of the states, `inversion.state_structure`.

        Returns:
            (progress, seconds).
        """
        if not self._path.is_dir():
            return None
        with self._manager() as manager:
            step = manager.latest_step()
            if step is None:
                return None
            tree = manager.restore(step, args=ocp.args.StandardRestore())
        states = jax.tree.unflatten(structure, [jax.numpy.asarray(leaf) for leaf in tree["states"]])
        history = {name: np.asarray(value) for name, value in tree["history"].items()}
        return Progress(states, step, history), float(tree["seconds"])

    def clear(self) -> None:
        """Removes it."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(max_to_keep=1, create=True, enable_async_checkpointing=False)
        return ocp.CheckpointManager(self._path, options=options)
