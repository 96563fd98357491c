"""The estimate of a job's time: by its first steps, and of the right size."""

import time

import numpy as np
import pytest
from PIL import Image

from invjax.runs import config as configs
from invjax.runs import estimate, plan

from ..conftest import blobs, run


@pytest.fixture
def configured(tmp_path):
    """The config of a run of two pictures of 128 pixels, four restarts each."""
    for seed in range(2):
        Image.fromarray(blobs(128, seed)).save(tmp_path / f"{seed}.png")
    config = configs.default()
    config.images, config.size, config.restarts = (str(tmp_path),), 0, 4
    return config


def test_grows_with_steps_and_reconstructions(configured, monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(estimate.time, "monotonic", lambda: float(next(ticks)))  # each point takes a second
    configured.steps = 50
    [job] = plan.make_jobs(configured)
    taken = {count: estimate.seconds(job, job.rows[:count], 2) for count in (2, 8)}
    assert taken[8] - taken[2] == pytest.approx(50 * (8 - 2) / 2)


@pytest.mark.slow
def test_is_of_the_right_size(configured, tmp_path):
    configured.steps = 100
    [job] = plan.make_jobs(configured)
    expected = estimate.seconds(job, job.rows, 8)
    before = time.perf_counter()
    run(configured, tmp_path / "out")
    took = time.perf_counter() - before
    assert np.isfinite(expected) and took / 20 < expected < 6 * took  # which contains figures and the page
