"""A small dictionary, learned once."""

import pytest

from invjax import hoggles, representations
from tests.hoggles.common import scene


@pytest.fixture(scope="session")
def phi():
    """The paper's HOG."""
    return representations.get("hog")


@pytest.fixture(scope="session")
def pictures():
    """What the dictionary has learned from."""
    return [scene(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def dictionary(pictures, phi):
    """150 atoms of windows of 3×3 cells."""
    return hoggles.train(pictures, phi, window=3, atoms=150, passes=1)
