"""An empty cache, and the tiny network among those that have names."""

import pytest

from invjax import networks
from tests.weights.common import TINY


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache of this test, still missing."""
    monkeypatch.setenv("INVJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(networks, "get", lambda name, get=networks.get: TINY if name == "tiny" else get(name))


@pytest.fixture
def write(tmp_path):
    """Writes a file and returns its path."""

    def write(data, name="file"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write
