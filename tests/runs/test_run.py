"""Whole runs: what is written, that a second start adds nothing, that a kill at any moment loses nothing."""

import contextlib
import csv
import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from invjax import InputSpec, UserError, cli, files, images, inversion, representations
from invjax.errors import Incomplete

from ..conftest import blobs, run


def rows_of(workdir):
    with (workdir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(workdir):
    """Every byte that must not depend on how often a run was stopped."""
    return {path.relative_to(workdir): path.read_bytes() for path in sorted((workdir / "images").rglob("*.*"))}


def test_a_run_directory_is_complete(config, tmp_path, figures):
    config.representations = ("hog", "dsift")
    config.stretch = True
    run(config, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [(row["representation"], row["restart"]) for row in rows] == [
        ("hog", "0"),
        ("hog", "1"),
        ("dsift", "0"),
        ("dsift", "1"),
    ]
    for row in rows:
        picture = tmp_path / "out" / row["picture"]
        exact = np.load(picture.with_suffix(".npz"))
        seen = np.asarray(Image.open(picture))
        np.testing.assert_array_equal(seen, np.clip(np.round(exact["image"][..., 0] + 128), 0, 255))
        assert picture.with_name(f"{picture.stem}_stretched.png").is_file()
        assert np.isfinite(exact["error_map"]).all()
    assert len((tmp_path / "out" / "history.jsonl").read_text().splitlines()) == 4
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {
        "config.json",
        "environment.json",
        "compared.json",
        "results.csv",
        "history.jsonl",
        "images",
        "report.html",
        "figures",
        "tables",
    }
    assert not list((tmp_path / "out" / "checkpoints").glob("*"))


def test_a_finished_run_is_stretched_afterwards(config, tmp_path):
    run(config, tmp_path / "out")
    before = pixels_of(tmp_path / "out")
    assert not any(path.stem.endswith("_stretched") for path in before)
    config.stretch = True
    run(config, tmp_path / "out")
    after = pixels_of(tmp_path / "out")
    added = [path for path in after if path not in before]
    assert {path: after[path] for path in before} == before and len(added) == len(rows_of(tmp_path / "out")) == 2
    for path in added:
        seen = np.asarray(Image.open(tmp_path / "out" / path))
        assert path.stem.endswith("_stretched") and (seen.min(), seen.max()) == (0, 255)


def test_a_damaged_picture_is_told_and_the_others_are_stretched(config, tmp_path, capsys):
    run(config, tmp_path / "out")
    first, second = (tmp_path / "out" / row["picture"] for row in rows_of(tmp_path / "out"))
    first.with_suffix(".npz").write_bytes(b"damaged")
    config.stretch = True
    run(config, tmp_path / "out")
    assert f"{first.stem}.npz" in capsys.readouterr().err
    assert [path.with_name(f"{path.stem}_stretched.png").exists() for path in (first, second)] == [False, True]


def test_errors_are_of_the_true_representation(config, tmp_path, picture):
    config.images = (str(picture), str(tmp_path / "other.png"))
    Image.fromarray(blobs(40, seed=9)).save(tmp_path / "other.png")
    run(config, tmp_path / "out")
    phi = representations.get("hog")
    targets = [np.asarray(phi(images.load_image(path, phi.input)), np.float64) for path in config.images]
    distance = np.linalg.norm(targets[0] - targets[1])
    for row, target in zip(rows_of(tmp_path / "out"), np.repeat(targets, 2, axis=0), strict=True):
        found = np.load((tmp_path / "out" / row["picture"]).with_suffix(".npz"))["image"]
        difference = np.linalg.norm(np.asarray(phi(found)) - target)
        np.testing.assert_allclose(float(row["relative_error"]), (difference / np.linalg.norm(target)) ** 2, rtol=1e-3)
        np.testing.assert_allclose(float(row["normalized_error"]), difference / distance, rtol=1e-3)


def test_a_second_start_computes_nothing(config, tmp_path, monkeypatch):
    run(config, tmp_path / "out")
    before = rows_of(tmp_path / "out"), pixels_of(tmp_path / "out")
    monkeypatch.setattr(inversion, "solve", lambda *_: pytest.fail("computed again"))
    run(config, tmp_path / "out")
    assert (rows_of(tmp_path / "out"), pixels_of(tmp_path / "out")) == before


def test_batches_do_not_change_the_pixels(config, tmp_path):
    run(config, tmp_path / "whole")
    config.batch_size = 1
    run(config, tmp_path / "split")
    assert pixels_of(tmp_path / "split") == pixels_of(tmp_path / "whole")


def test_the_same_picture_twice_has_no_normalized_error(config, tmp_path, picture):
    twin = tmp_path / "twin.png"
    shutil.copy(picture, twin)
    config.images = (str(picture), str(twin))
    run(config, tmp_path / "out")
    assert [row["normalized_error"] for row in rows_of(tmp_path / "out")] == [""] * 4


def test_a_damaged_checkpoint_starts_the_batch_again(config, tmp_path, monkeypatch, capsys):
    config.checkpoint_seconds = 0.0
    run(config, tmp_path / "whole")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inversion, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "out")
    monkeypatch.undo()
    for file in (tmp_path / "out" / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    run(config, tmp_path / "out")
    assert "damaged" in capsys.readouterr().err
    assert pixels_of(tmp_path / "out") == pixels_of(tmp_path / "whole")


def test_another_config_is_refused_before_computing(config, tmp_path, monkeypatch):
    run(config, tmp_path / "out")
    config.seed = 5
    monkeypatch.setattr(inversion, "solve", lambda *_: pytest.fail("computed"))
    with pytest.raises(UserError, match=r"seed \(there 0, here 5\)"):
        run(config, tmp_path / "out")


def test_a_full_disk_keeps_what_was_finished(config, tmp_path, monkeypatch):
    config.batch_size = 1
    write, written = files.write_atomically, []

    def full(path, data):
        written.append(path)
        if "_r1" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(images, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        run(config, tmp_path / "out")
    assert [row["restart"] for row in rows_of(tmp_path / "out")] == ["0"]
    monkeypatch.setattr(images, "write_atomically", write)
    run(config, tmp_path / "out")
    assert [row["restart"] for row in rows_of(tmp_path / "out")] == ["0", "1"]


def command(workdir, picture, *more):
    return [
        *(sys.executable, "-m", "experiments.run", "--config", "configs/demo.py", "--workdir", str(workdir)),
        *(f"--config.images={picture}", "--config.size=0", "--config.restarts=2", "--config.representations=hogb,hog"),
        *("--config.steps=120", "--config.every=5", "--config.checkpoint_seconds=0.0", "--config.batch_size=1", *more),
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(picture, run directory) of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("run")
    picture = folder / "blob.png"
    Image.fromarray(blobs(40)).save(picture)
    done = subprocess.run(command(folder / "out", picture), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "relative error" in done.stdout and "report.html" in done.stdout
    return picture, folder / "out"


def wait_for(condition, process):
    """Polls until the condition holds; fails when the process ends before."""
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, "the run ended before it could be stopped"
        time.sleep(0.05)
    pytest.fail("the run never got there")


def saved_steps(workdir):
    """Steps of the checkpoints that are there, newest batch last."""
    steps = []
    for path in workdir.glob("checkpoints/*.checkpoint"):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            steps.append(json.loads(file.readline())["step"])
    return sorted(steps)


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_bytes(uninterrupted, tmp_path):
    picture, expected = uninterrupted
    workdir = tmp_path / "out"
    for moment in (
        lambda: max(saved_steps(workdir), default=0) >= 20,  # in the middle of a batch
        lambda: (workdir / "results.csv").exists() and saved_steps(workdir),  # in the middle of a later one
    ):
        process = subprocess.Popen(command(workdir, picture), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(moment, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert subprocess.run(command(workdir, picture), capture_output=True, check=False).returncode == 0
    assert pixels_of(workdir) == pixels_of(expected)
    same = [column for column in rows_of(expected)[0] if column != "seconds"]
    assert [[row[name] for name in same] for row in rows_of(workdir)] == [
        [row[name] for name in same] for row in rows_of(expected)
    ]
    assert (workdir / "history.jsonl").read_bytes() == (expected / "history.jsonl").read_bytes()


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_goes_on(uninterrupted, tmp_path):
    picture, expected = uninterrupted
    workdir = tmp_path / "out"
    process = subprocess.Popen(
        command(workdir, picture, "--config.checkpoint_seconds=1000.0"), stderr=subprocess.PIPE, text=True
    )
    wait_for((workdir / "history.jsonl").exists, process)  # the first batch is done
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in text and "Traceback" not in text
    done = command(workdir, picture, "--config.checkpoint_seconds=1000.0")
    assert subprocess.run(done, capture_output=True, check=False).returncode == 0
    assert pixels_of(workdir) == pixels_of(expected)


def test_the_report_of_a_finished_run_can_be_written_again(uninterrupted, tmp_path):
    _, workdir = uninterrupted
    copy = Path(shutil.copytree(workdir, tmp_path / workdir.name))  # the page names its folder
    (copy / "report.html").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "invjax", "report", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(copy / "report.html"))
    assert (copy / "report.html").read_bytes() == (workdir / "report.html").read_bytes()


def test_the_environment_says_how_it_was_run(uninterrupted):
    _, workdir = uninterrupted
    environment = json.loads((workdir / "environment.json").read_text())
    assert "--config.restarts=2" in environment["command"]
    assert json.loads((workdir / "config.json").read_text())["restarts"] == 2


@jax.custom_vjp
def without_gradient(params, image):
    """The picture itself."""
    return image


def backwards(*_):
    raise TypeError("no gradient of this\nand more")


without_gradient.defvjp(lambda params, image: (image, None), backwards)


def no_gradient():
    """The picture itself, which cannot be derived."""
    return representations.from_function(without_gradient, {}, InputSpec(minimum=1), "no-gradient")


def test_the_traceback_of_an_error_in_a_users_function_is_kept(picture, tmp_path, capsys):
    """One line on the terminal, which says where the rest is; what else the run asks for is done."""
    representations.register("no-gradient", no_gradient)
    out = tmp_path / "out"
    overrides = [f"--config.images={picture}", "--config.size=0", "--config.steps=2", "--config.restarts=2"]
    overrides += ["--config.representations=('no-gradient', 'hog')", "--config.batch_size=2"]
    assert cli.main(["run", "base", "--workdir", str(out), *overrides]) == 3
    lines = capsys.readouterr().err.splitlines()
    [told] = [line for line in lines if line.startswith("invjax: error:")]
    assert f"TypeError: no gradient of this (traceback in {out / 'errors.log'})" in told
    assert not any("Traceback" in line for line in lines)
    log = (out / "errors.log").read_text()
    assert "blob from no-gradient, λ_TV 0.5, restart 0 and 1 more\nTraceback" in log
    assert "in backwards" in log and "TypeError: no gradient of this\nand more" in log
    assert [row["representation"] for row in rows_of(out)] == ["hog", "hog"]


def test_mistakes_of_the_users_leave_no_traceback(config, tmp_path):
    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(tmp_path / "flat.png")
    config.images = (str(tmp_path / "flat.png"),)
    with pytest.raises(Incomplete, match="all zero"):
        run(config, tmp_path / "out")
    assert not (tmp_path / "out" / "errors.log").exists()
