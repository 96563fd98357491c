"""Checkpoints: what comes back is what was saved, bit for bit."""

import shutil
from types import SimpleNamespace

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from invjax import descent, inversion, recipes, representations
from invjax.runs.checkpoint import Checkpoint, Saved

SHAPE = (24, 24, 1)
FRAMES = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2, 1)


@pytest.fixture
def batch():
    phi = representations.get("hogb")
    target = phi(np.random.default_rng(0).normal(0, 40, SHAPE).astype(np.float32))
    method, weights, _ = recipes.prepare(phi, SHAPE, "fast", steps=6)
    problems = inversion.batch_of(target, [jax.random.key(0), jax.random.key(1)], weights)
    return method, phi, problems


def bits(result):
    return [np.asarray(leaf).tobytes() for leaf in (result.images, result.relative_error, result.history["total"])]


def test_a_resumed_batch_ends_in_the_same_bits(tmp_path, batch):
    method, phi, problems = batch
    checkpoint = Checkpoint(tmp_path / "c")
    for progress in inversion.solve(method, phi, problems, 6, every=2):
        if progress.step == 4:
            checkpoint.save(Saved(progress, 1.5, FRAMES))
    expected = inversion.finish(method, phi, problems, progress)
    structure = descent.state_structure(method)
    saved = checkpoint.load(structure)
    assert (saved.progress.step, saved.seconds) == (4, 1.5)
    np.testing.assert_array_equal(saved.frames, FRAMES)
    *_, progress = inversion.solve(method, phi, problems, 6, every=2, resume=saved.progress)
    assert bits(inversion.finish(method, phi, problems, progress)) == bits(expected)


def test_only_the_newest_is_kept_and_clear_removes_it(tmp_path, batch):
    method, phi, problems = batch
    checkpoint = Checkpoint(tmp_path / "c")
    for progress in inversion.solve(method, phi, problems, 6, every=2):
        checkpoint.save(Saved(progress, 0.0))
    structure = descent.state_structure(method)
    assert checkpoint.load(structure).progress.step == 6
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["6"]
    checkpoint.clear()
    assert checkpoint.load(structure) is None


def test_half_a_checkpoint_is_none(tmp_path, batch):
    method, phi, problems = batch
    checkpoint = Checkpoint(tmp_path / "c")
    progress = next(inversion.solve(method, phi, problems, 6))
    checkpoint.save(Saved(progress, 0.0))
    (tmp_path / "c" / "0").rename(tmp_path / "c" / "0.orbax-checkpoint-tmp")
    structure = descent.state_structure(method)
    assert checkpoint.load(structure) is None


def test_a_full_disk_is_an_oserror_with_the_place(tmp_path, batch, monkeypatch):
    method, phi, problems = batch
    progress = next(inversion.solve(method, phi, problems, 6))
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(progress.states))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed // 2))
    with pytest.raises(OSError, match="No space left") as caught:
        Checkpoint(tmp_path / "c").save(Saved(progress, 0.0))
    assert caught.value.filename == str(tmp_path / "c")


def test_what_the_storage_library_raises_is_an_oserror(tmp_path, batch, monkeypatch):
    def fail(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: of some kind\nand a page of details")

    method, phi, problems = batch
    progress = next(inversion.solve(method, phi, problems, 6))
    monkeypatch.setattr(ocp.CheckpointManager, "save", fail)
    with pytest.raises(OSError, match=r"checkpoint cannot be written: RESOURCE_EXHAUSTED: of some kind$"):
        Checkpoint(tmp_path / "c").save(Saved(progress, 0.0))
