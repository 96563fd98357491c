"""The command line: every mistake is one line on stderr and exit code 2, before anything is computed."""

import os
import stat
import subprocess
import sys

import pytest

from invjax import cli, representations


def refused(capsys, *arguments):
    """The one line that a mistake gives."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("invjax: error: ") and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["invert"], "--representation, --out"),
        (["invert", "--representation", "hog", "--out", "x"], "one of the arguments PHOTO --features is required"),
        (["invert", "a.png", "--representation", "hog", "--out", "x", "--restarts", "many"], "many"),
        (["invert", "a.png", "--representation", "hog", "--out", "x", "--bogus", "1"], "bogus"),
        (["run", "nowhere.py", "--workdir", "x"], "nowhere.py: no such config file"),
        (["run", "demo"], "--workdir"),
        (["run", "demo", "--workdir", "x", "--config.restart=2"], 'Did you mean "restarts"'),
        (["run", "demo", "--workdir", "x", "--config.beta=0.0"], "config.beta must be greater than 0"),
        (["report", "nowhere"], "nowhere: not a run directory"),
        (["representations", "hgo"], "Did you mean hog?"),
    ],
)
def test_wrong_words(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--representation", "hgo"], "unknown representation 'hgo'. Did you mean hog?"),
        (["--representation", "hog", "--layer", "conv1"], "hog has no layers, got 'conv1'"),
        (["--representation", "hog", "--restarts", "0"], "config.restarts must be at least 1"),
        (["--representation", "hog", "--lambda-tv", "-1"], "config.lambda_tv must be"),
        (["--representation", "dsift", "--size", "20"], "at least 27×27 pixels"),
        (["--representation", "hog", "--size", "4000"], "too few to be shown at 4000"),
    ],
)
def test_wrong_values(capsys, picture, tmp_path, options, message):
    assert message in refused(capsys, "invert", picture, *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_a_run_directory_is_left_alone(capsys, picture, tmp_path):
    text = refused(capsys, "invert", picture, "--representation", "hog", "--size", "0", "--out", picture.parent)
    assert "not a run directory" in text
    assert list(picture.parent.iterdir()) == [picture]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(capsys, picture, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    arguments = ["invert", str(picture), "--representation", "hog", "--size", "0", "--out", str(locked / "out")]
    assert cli.main(arguments) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_path_below_a_file_cannot_be_written(capsys, picture):
    arguments = ["invert", str(picture), "--representation", "hog", "--size", "0", "--out", str(picture / "out")]
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert "Not a directory" in error and error.count("\n") == 1


def test_representations_are_listed_and_described(capsys):
    assert cli.main(["representations"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == representations.names()
    assert cli.main(["representations", "dsift"]) == 0
    text = capsys.readouterr().out
    assert "cell: int = 5" in text and "L2-normalised" in text


def test_the_command_is_installed_and_says_its_version():
    done = subprocess.run([sys.executable, "-m", "invjax", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("invjax 0.")
