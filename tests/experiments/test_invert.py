"""The loop that people copy works from its command line."""

import re
import sys

import numpy as np
from PIL import Image

from experiments import invert


def test_the_readable_loop(picture, tmp_path, monkeypatch, capsys):
    out = tmp_path / "sheet.png"
    arguments = ["--representation", "hogb", "--size", "32", "--restarts", "2", "--steps", "60", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["invert", str(picture), *arguments])
    invert.main()
    errors = [float(error) for error in re.findall(r"\d\.\d+", capsys.readouterr().out)]
    assert len(errors) == 2 and max(errors) < 0.3  # noise has more than 1
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (32, 96) and np.abs(np.diff(sheet.astype(int)[:, 32:], axis=1)).mean() < 30
