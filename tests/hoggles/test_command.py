"""`invjax hoggles train` and `invert`."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from invjax import cli, hoggles
from tests.hoggles.common import feature_of, likeness, scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pictures to learn from, and another."""
    folder = tmp_path_factory.mktemp("hoggles")
    for name, seed in (("others/a", 0), ("others/b", 1), ("test/c", 2), ("test/d", 3)):
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.uint8(np.clip(scene(seed, 72, 72)[..., 0] + 128, 0, 255))).save(path)
    return folder


def call(*arguments):
    return cli.main([str(argument) for argument in ("hoggles", *arguments)])


def refused(capsys, *arguments):
    """The one line that a mistake gives."""
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("invjax: error: ") and captured.err.count("\n") == 1
    return captured.err


def test_end_to_end(folder, capsys):
    """A dictionary is learned, and pictures inverted by it in a run directory."""
    file, out = folder / "hoggles.npz", folder / "run"
    options = ("--size", 0, "--window", 3, "--atoms", 60, "--representation", "hogb", "--seed", 4)
    assert call("train", folder / "others", *options, "--out", file) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{file}: 60 atoms of hogb, windows of 3×3 cells, λ 0.2, of 2 pictures sha256:")
    assert "196 windows, seed 4, in " in line and line.endswith(" s\n") and line.count("\n") == 1

    arguments = ("invert", folder / "test", "--dictionary", file, "--size", 0, "--out", out)
    assert call(*arguments) == 0
    with (out / "results.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [(row["image"], row["representation"], row["recipe"], row["status"]) for row in rows] == [
        ("c", "hogb", "hoggles", "ok"),
        ("d", "hogb", "hoggles", "ok"),
    ]
    dictionary = hoggles.load(file)
    phi = dictionary.representation()
    for row, seed in zip(rows, (2, 3), strict=True):
        with Image.open(folder / "test" / f"{row['image']}.png") as picture:
            image = np.asarray(picture, np.float32)[..., None] - 128
        with np.load((out / row["picture"]).with_suffix(".npz")) as arrays:
            found = arrays["image"]
        np.testing.assert_array_equal(found, hoggles.invert(dictionary, phi, feature_of(phi, image), image.shape))
        assert likeness(found, scene(seed, 72, 72)) > 0.4
        error = np.sum((feature_of(phi, found) - feature_of(phi, image)) ** 2) / np.sum(feature_of(phi, image) ** 2)
        assert float(row["relative_error"]) == pytest.approx(float(error), rel=1e-4)
    assert json.loads((out / "config.json").read_text())["hoggles"] == str(file)
    assert call(*arguments) == 0  # nothing is left to do
    assert "nothing to compute" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "ACTION"),
        (["train", "--out", "a.npz"], "PHOTO"),
        (["train", "nowhere.png", "--out", "a.npz"], "nowhere.png: no such file"),
        (["train", "others", "--out", "a.npz", "--representation", "squeezenet"], "choose from 'hog', 'hogb'"),
        (["train", "others", "--out", "a.npz", "--size", "72", "--window", "3", "--atoms", "500"], "196 windows"),
        (["train", "others", "--out", "a.npz", "--size", "32"], "picture 1 of 2, 32×32 pixels, is smaller than"),
        (["invert", "others", "--out", "out"], "--dictionary"),
        (["invert", "others", "--dictionary", "nowhere.npz", "--out", "out"], "nowhere.npz: no such file"),
        (["invert", "others", "--dictionary", "others/a.png", "--out", "out"], "others/a.png: not a dictionary"),
    ],
)
def test_mistakes(folder, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    assert message in refused(capsys, *arguments)
    assert not (folder / "a.npz").exists() and not (folder / "out").exists()


def test_says_what_to_install(folder, dictionary, capsys, monkeypatch):
    """Before anything is computed or written."""
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    dictionary.save("own.npz")
    for arguments in (("train", "others"), ("invert", "test", "--dictionary", "own.npz", "--size", 0)):
        assert "pip install 'invjax[hoggles]'" in refused(capsys, *arguments, "--out", "none")
    assert not (folder / "none").exists()
