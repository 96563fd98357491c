"""Many runs as one table."""

import csv
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

import invjax
from invjax import UserError

from .figures.common import make_run


@pytest.fixture
def runs(tmp_path):
    """Two runs of the same name in two folders, and a third one."""
    here, there, other = tmp_path / "a" / "table", tmp_path / "b" / "table", tmp_path / "b" / "one"
    make_run(here, lambdas=(0.5, 5.0), recipe="fast", steps=None, options={"cell": 8}, layers=[])
    make_run(there, restarts=3, recipe="paper", steps=200, options={"cell": 6}, layers=["conv1", "relu1"])
    make_run(other, images=("bird",), recipe="fast", steps=None, options={"cell": 8}, layers=[])
    return here, there, other


def read(workdir):
    with (workdir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_those_of_the_files_in_order(runs):
    frame = invjax.read_results(*runs)
    expected = [row for run in runs for row in read(run)]
    assert len(frame) == len(expected) == 4 + 6 + 1
    for row, texts in zip(frame.to_dict("records"), expected, strict=True):
        for name, text in texts.items():
            if isinstance(row[name], str):
                assert row[name] == text
            elif text == "":
                assert math.isnan(row[name])
            else:
                assert row[name] == float(text)


def test_columns_have_types(runs):
    frame = invjax.read_results(*runs)
    assert frame.columns[0] == "run"
    for name in ("seed", "restart", "steps"):
        assert frame[name].dtype == np.int64, name
    for name in ("lambda_tv", "lambda_alpha", "relative_error", "normalized_error", "psnr", "ssim", "seconds"):
        assert frame[name].dtype == np.float64, name
    assert list(frame.index) == list(range(len(frame)))
    assert not invjax.read_results(runs[2]).normalized_error.notna().any()


def test_runs_have_short_names_of_their_own(runs):
    assert set(invjax.read_results(runs[0]).run) == {"table"}
    assert list(dict.fromkeys(invjax.read_results(*runs).run)) == ["a/table", "b/table", "b/one"]


def test_pictures_are_found_from_anywhere(runs, monkeypatch, tmp_path):
    run = runs[0]
    np.savez(run / "images" / "cat" / "0.npz", image=np.full((4, 5, 1), 7, np.float32))
    monkeypatch.chdir(run.parent)
    frame = invjax.read_results("table")
    monkeypatch.chdir(tmp_path)
    assert frame.path[0] == str(run / "images" / "cat" / "0.png")
    assert np.load(frame.arrays[0])["image"].shape == (4, 5, 1)


def test_fields_of_the_config_in_which_runs_differ(runs):
    frame = invjax.read_results(*runs)
    assert sorted(name for name in frame if name.startswith("config.")) == [
        *("config.layers", "config.options.cell", "config.recipe", "config.steps")
    ]
    first = frame.drop_duplicates("run").set_index("run")
    assert list(first["config.options.cell"]) == [8, 6, 8]
    assert list(first["config.layers"]) == ["[]", '["conv1", "relu1"]', "[]"]
    assert list(first["config.steps"].fillna(0)) == [0, 200, 0]
    assert not any(name.startswith("config.") for name in invjax.read_results(runs[0]))


def test_a_field_that_an_earlier_version_did_not_know_has_its_default(runs):
    here, there, _ = runs
    for run, beta in ((here, {}), (there, {"beta": 2.0})):
        (run / "config.json").write_text(json.dumps({"recipe": "fast"} | beta))
    assert not any(name.startswith("config.") for name in invjax.read_results(here, there))
    (there / "config.json").write_text(json.dumps({"recipe": "fast", "beta": 1.0}))
    assert set(invjax.read_results(here, there)["config.beta"]) == {1.0, 2.0}


def test_folders_of_runs_and_runs_that_are_named_twice(runs, tmp_path):
    folder = invjax.read_results(tmp_path / "b")
    assert list(dict.fromkeys(folder.run)) == ["one", "table"]
    assert len(invjax.read_results(runs[1], tmp_path / "b", runs[1])) == len(folder)


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_damaged_config_is_told_and_the_rest_read(runs, content):
    (runs[0] / "config.json").unlink()
    if content:
        (runs[0] / "config.json").write_text(content)
    with pytest.warns(UserWarning, match=r"config\.json: missing or damaged"):
        frame = invjax.read_results(*runs)
    assert len(frame) == 11
    assert pd.isna(frame["config.recipe"][0]) and frame["config.recipe"][4] == "paper"


def test_what_is_no_run_is_refused_in_one_line(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    shutil.copytree(runs[0], damaged)
    (damaged / "results.csv").write_bytes(b"\xff\xfe\x00")
    for directories, message in (
        ((), "no run directory given"),
        ((tmp_path / "nowhere",), "no such folder"),
        ((tmp_path / "empty",), "there is no results.csv in it"),
        ((runs[0], damaged), "damaged"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            invjax.read_results(*directories)
        assert "\n" not in str(caught.value)


def test_fields_that_a_sweep_varies_have_columns(runs):
    swept, _, other = runs
    config = json.loads((swept / "config.json").read_text())
    (swept / "config.json").write_text(
        json.dumps(config | {"sweep": {"options.cell": [6, 8], "lambda_tv": [0.5, 5.0]}})
    )
    rows = read(swept)
    with (swept / "results.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(row | {"variant": f"options.cell={6 + 2 * (number % 2)}"} for number, row in enumerate(rows))
    frame = invjax.read_results(swept, other)
    assert list(frame["config.options.cell"]) == [6, 8, 6, 8, 8]
    assert not [name for name in frame.columns if "sweep" in name or name == "config.lambda_tv"]
