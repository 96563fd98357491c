"""What a run keeps of what it has shown, against the pictures of its jobs."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from invjax import UserError
from invjax.runs import config as configs
from invjax.runs import originals, plan

from ..conftest import blobs


@pytest.fixture
def jobs(tmp_path):
    """Of three colour pictures, one of another size, and two variants of size."""
    for name, side in (("a", 50), ("b", 50), ("c", 61)):
        colours = np.stack([blobs(side, seed) for seed in range(3)], axis=-1)
        Image.fromarray(colours).save(tmp_path / f"{name}.png")
    config = configs.default()
    config.images, config.sweep = (str(tmp_path / "[abc].png"),), {"size": (0, 40)}
    return plan.make_jobs(config)


def test_every_picture_is_kept_as_it_was_shown(jobs, tmp_path):
    originals.save_originals(jobs[:1], tmp_path / "out")
    originals.save_originals(jobs, tmp_path / "out")  # which asks for more sizes
    assert len(jobs) == 3
    for job in jobs:
        for name, shown in zip(job.pictures, job.originals, strict=True):
            read = originals.read_original(tmp_path / "out", name, job.phi.input, job.image_shape)
            np.testing.assert_array_equal(read, shown)
            assert read.dtype == np.float32 and (read % 1).any()
    other = dataclasses.replace(jobs[0].phi.input, mean=(100.0,))
    for spec, shape in ((other, (50, 50, 1)), (jobs[0].phi.input, (41, 41, 1))):
        with pytest.raises(UserError, match=r"original\.npz: no picture .* command that made this run"):
            originals.read_original(tmp_path / "out", "a", spec, shape)


def test_what_is_there_is_not_written_again(jobs, tmp_path):
    originals.save_originals(jobs, tmp_path / "out")
    path = tmp_path / "out" / "images" / "a" / "original.npz"
    before = path.stat().st_mtime_ns
    originals.save_originals(jobs, tmp_path / "out")
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"PK\x03\x04 broken")
    originals.save_originals(jobs, tmp_path / "out")
    assert originals.read_original(tmp_path / "out", "a", jobs[0].phi.input, (40, 40, 1)).shape == (40, 40, 1)


def test_the_pictures_that_are_compared_are_those_of_the_job(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "MEASURED", 2)
    originals.save_originals(jobs, tmp_path / "out")
    read = {
        (variant, side): originals.read_compared(tmp_path / "out", variant, "hog", (side, side, 1))
        for variant, side in (("size=0", 50), ("size=0", 61), ("size=40", 40))
    }
    assert read == {("size=0", 50): ["a", "b"], ("size=0", 61): ["c"], ("size=40", 40): ["a", "b"]}
    for variant, name in (("size=1", "hog"), ("size=0", "hogb")):
        with pytest.raises(UserError, match=r"compared\.json: says nothing of"):
            originals.read_compared(tmp_path / "out", variant, name, (50, 50, 1))
