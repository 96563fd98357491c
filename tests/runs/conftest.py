"""Runs without figures, which take a second each and have tests of their own; `figures` asks for them."""

import pytest

from invjax.analysis import figures as publish


@pytest.fixture
def figures():
    """Asks for figures and tables after a run."""


@pytest.fixture(autouse=True)
def _without_figures(request, monkeypatch):
    if "figures" not in request.fixturenames:
        monkeypatch.setattr(publish, "write", lambda workdir: [])
