"""Checkpoints: what comes back is what was saved, bit for bit."""

import errno
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from invjax import descent, inversion, recipes, representations
from invjax.runs.checkpoint import Checkpoint, Saved, saved_batches
from invjax.runs.store import Key

SHAPE = (24, 24, 1)
FRAMES = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2, 1)
KEYS = tuple(Key("cat", "hogb", "", "", "0.5", restart) for restart in range(2))


def batch_of(**options):
    phi = representations.get("hogb")
    target = phi(np.random.default_rng(0).normal(0, 40, SHAPE).astype(np.float32))
    method, weights, _ = recipes.prepare(phi, SHAPE, "fast", steps=6, **options)
    problems = inversion.batch_of(target, [jax.random.key(0), jax.random.key(1)], weights)
    return method, phi, problems


@pytest.fixture
def batch():
    return batch_of()


def bits(result):
    return [np.asarray(leaf).tobytes() for leaf in (result.images, result.relative_error, result.history["total"])]


@pytest.mark.parametrize("optimizer", [None, optax.adam(1.0, mu_dtype=jnp.bfloat16)])
def test_a_resumed_batch_ends_in_the_same_bits(tmp_path, optimizer):
    method, phi, problems = batch_of(**({"optimizer": optimizer} if optimizer else {}))
    checkpoint = Checkpoint(tmp_path / "a.checkpoint")
    for progress in inversion.solve(method, phi, problems, 6, every=2):
        if progress.step == 4:
            checkpoint.save(Saved(progress, 1.5, FRAMES))
    expected = inversion.finish(method, phi, problems, progress)
    saved = checkpoint.load(descent.state_structure(method))
    assert (saved.progress.step, saved.seconds) == (4, 1.5)
    np.testing.assert_array_equal(saved.frames, FRAMES)
    *_, progress = inversion.solve(method, phi, problems, 6, every=2, resume=saved.progress)
    assert bits(inversion.finish(method, phi, problems, progress)) == bits(expected)


def test_only_the_newest_is_kept_and_clear_removes_it(tmp_path, batch):
    method, phi, problems = batch
    checkpoint = Checkpoint(tmp_path / "c" / "a.checkpoint", KEYS)
    for progress in inversion.solve(method, phi, problems, 6, every=2):
        checkpoint.save(Saved(progress, 0.0))
    structure = descent.state_structure(method)
    assert checkpoint.load(structure).progress.step == 6
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["a.checkpoint"]
    assert saved_batches(tmp_path / "c") == [KEYS]
    checkpoint.clear()
    assert checkpoint.load(structure) is None and saved_batches(tmp_path / "c") == []


@pytest.mark.parametrize("place", [-1, -1000, 5])
def test_a_damaged_one_is_an_error(tmp_path, batch, place):
    method, phi, problems = batch
    path = tmp_path / "a.checkpoint"
    Checkpoint(path, KEYS).save(Saved(next(inversion.solve(method, phi, problems, 6)), 0.0))
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError):
        Checkpoint(path).load(descent.state_structure(method))
    path.write_bytes(data[:10])
    assert saved_batches(tmp_path) == []


def test_a_full_disk_leaves_the_one_before(tmp_path, batch, monkeypatch):
    method, phi, problems = batch
    checkpoint, points = Checkpoint(tmp_path / "a.checkpoint"), inversion.solve(method, phi, problems, 6, every=2)
    checkpoint.save(Saved(next(points), 0.0))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save(Saved(next(points), 0.0))
    assert caught.value.filename == str(tmp_path / "a.checkpoint")
    assert checkpoint.load(descent.state_structure(method)).progress.step == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]
