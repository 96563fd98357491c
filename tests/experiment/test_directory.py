"""The run directory: refuses what is not its own, survives a kill at any moment."""

import csv
import json

import numpy as np
import pytest

from invjax import UserError
from invjax.experiment.directory import COLUMNS, KEY, RunDirectory, environment, read_rows

CONFIG = {"restarts": 2, "images": ["a.png"]}


def row(restart, **values):
    filled = dict.fromkeys(COLUMNS, "x") | {"lambda_tv": 0.5, "restart": restart, "relative_error": 0.25}
    return filled | values


HISTORY = {"step": np.array([0, 10]), "total": np.array([1.0, np.inf], np.float32)}


def test_rows_and_history_are_read_back(tmp_path):
    directory = RunDirectory(tmp_path / "run", CONFIG, "command")
    directory.add([row(0), row(1, relative_error=float("nan"))], [HISTORY, HISTORY])
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["restart"] for r in rows] == ["0", "1"]
    assert [r["relative_error"] for r in rows] == ["0.25", ""]
    line = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[1])
    assert line["restart"] == 1 and line["step"] == [0, 10] and line["total"] == [1.0, None]


def test_finished_rows_are_known_to_a_later_start(tmp_path):
    RunDirectory(tmp_path, CONFIG, "").add([row(0)], [HISTORY])
    later = RunDirectory(tmp_path, CONFIG, "")
    assert later.done([row(0)]) and not later.done([row(0), row(1)])
    later.add([row(1)], [HISTORY])
    assert [r["restart"] for r in read_rows(tmp_path / "results.csv")] == ["0", "1"]


def test_history_of_unfinished_rows_is_dropped(tmp_path):
    RunDirectory(tmp_path, CONFIG, "").add([row(0)], [HISTORY])
    file = tmp_path / "history.jsonl"
    good = file.read_text()
    unfinished = json.dumps({name: row(1)[name] for name in KEY} | {"step": [0]})
    file.write_text(good + unfinished + "\n" + '{"image": "cut of')
    RunDirectory(tmp_path, CONFIG, "")
    assert file.read_text() == good


def test_another_config_is_refused_by_name(tmp_path):
    RunDirectory(tmp_path, CONFIG, "")
    with pytest.raises(UserError, match=r"restarts \(there 2, here 3\)") as caught:
        RunDirectory(tmp_path, CONFIG | {"restarts": 3}, "")
    assert "images" not in str(caught.value)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a run directory"):
        RunDirectory(tmp_path, CONFIG, "")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="is a file"):
        RunDirectory(tmp_path / "thesis.tex", CONFIG, "")


@pytest.mark.parametrize(("name", "content"), [("config.json", "{"), ("results.csv", "a,b\n1,2\n")])
def test_a_damaged_file_is_named(tmp_path, name, content):
    RunDirectory(tmp_path, CONFIG, "")
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name}: is damaged"):
        RunDirectory(tmp_path, CONFIG, "")


def test_environment_names_versions_device_and_command():
    import jax

    found = environment("invjax run demo")
    assert found["command"] == "invjax run demo"
    assert found["jax"] == jax.__version__
    assert found["device"].startswith(jax.default_backend())
