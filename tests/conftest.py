"""What several tests share: small pictures and small configs."""

import math
import os
import typing

# the command line keeps compiled programs in the user's cache; tests neither read nor write there, nor do the
# processes that they start
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
# to pretend to be accelerators, where a test does
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")

import numpy as np
import pytest
from PIL import Image

from invjax import devices
from invjax.analysis import conclude
from invjax.runs import config as configs
from invjax.runs import run as runner
from invjax.runs.store import Row


def as_accelerators(monkeypatch):
    """Lets devices compute their parts at once, as accelerators do."""
    monkeypatch.setattr(devices, "sequential", lambda: False)


def run(config, workdir):
    """Runs a config as the command does."""
    runner.run(config, workdir, conclude)


def row_of(**fields):
    """A row of results.csv of a reconstruction of which only these fields matter."""
    blank = {str: "x", int: 0, float: math.nan}
    defaults = {name: blank[kind] for name, kind in typing.get_type_hints(Row).items()}
    return Row(**defaults | {"variant": "", "lambda_tv": 0.5} | fields)


def blobs(side, seed=0):
    """A smooth, non-flat uint8 grey picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture
def picture(tmp_path):
    """A 40×40 picture file."""
    path = tmp_path / "pictures" / "blob.png"
    path.parent.mkdir()
    Image.fromarray(blobs(40)).save(path)
    return path


@pytest.fixture
def config(picture):
    """A config that takes a second or two: one picture, HOG, two restarts, 12 steps."""
    config = configs.default()
    config.images = (str(picture),)
    config.size = 0
    config.restarts = 2
    config.steps = 12
    config.every = 4
    return config
