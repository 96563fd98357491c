"""Figures without fonts to be embedded, which takes longest."""

import pytest

from invjax.analysis.figures import canvas


@pytest.fixture
def png_only(monkeypatch):
    monkeypatch.delitem(canvas.FORMATS, "pdf")
