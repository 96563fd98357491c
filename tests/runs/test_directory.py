"""The run directory: refuses what is not its own, survives a kill at any moment."""

import csv
import importlib.metadata
import json

import numpy as np
import pytest

import invjax
from invjax import UserError
from invjax.runs import directory
from invjax.runs.directory import RunDirectory, environment
from invjax.runs.distributed import Share
from invjax.runs.store import COLUMNS, read_rows

from ..conftest import row_of

CONFIG = {"restarts": 2, "images": ["a.png"]}
PICTURES = {"a": "0123"}


def opened(path, config=CONFIG, pictures=PICTURES, planned=None):
    return RunDirectory(
        path, config, pictures, {}, {row(r).key for r in range(3)} if planned is None else planned, "command"
    )


def row(restart, **values):
    return row_of(restart=restart, **({"relative_error": 0.25} | values))


HISTORY = {"step": np.array([0, 10]), "total": np.array([1.0, np.inf], np.float32)}


def test_rows_and_history_are_read_back(tmp_path):
    directory = opened(tmp_path / "run")
    directory.add([row(0), row(1, relative_error=float("nan"))], [HISTORY, HISTORY])
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["restart"] for r in rows] == ["0", "1"]
    assert [r["relative_error"] for r in rows] == ["0.25", ""]
    line = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[1])
    assert line["restart"] == 1 and line["step"] == [0, 10] and line["total"] == [1.0, None]


def test_finished_rows_are_known_to_a_later_start(tmp_path):
    opened(tmp_path).add([row(0)], [HISTORY])
    later = opened(tmp_path)
    assert later.finished() == {row(0).key}
    later.add([row(1)], [HISTORY])
    assert [r.restart for r in read_rows(tmp_path / "results.csv")] == [0, 1]


def test_a_second_process_is_refused_until_the_first_ends(tmp_path):
    with opened(tmp_path), pytest.raises(UserError, match="another process is running here"):
        opened(tmp_path)
    opened(tmp_path)


def shared(path, index, count):
    planned = [row(r).key for r in range(3)]
    return RunDirectory(path, CONFIG, PICTURES, {}, planned, "command", Share(index, count))


def test_several_processes_have_parts_of_their_own_and_no_other_company(tmp_path):
    with shared(tmp_path, 0, 2) as first, shared(tmp_path, 1, 2):
        with pytest.raises(UserError, match="another process 1 of 2 is running here"):
            shared(tmp_path, 1, 2)
        with pytest.raises(UserError, match="-of-2 is running here"):
            shared(tmp_path, 2, 3)
        with pytest.raises(UserError, match="another process is running here"):
            opened(tmp_path)
        first.add([row(0)], [HISTORY])
        assert not (tmp_path / "results.csv").exists()
    with opened(tmp_path) as alone, pytest.raises(UserError, match="another process is running here"):
        assert alone.finished() == {row(0).key} and not (tmp_path / "processes").exists()
        shared(tmp_path, 0, 2)


def test_the_last_of_several_brings_together(tmp_path, capsys):
    with shared(tmp_path, 1, 2) as second, shared(tmp_path, 0, 2) as first:
        second.add([row(2)], [HISTORY])
        assert not second.unite() and "2 reconstructions of other shares are missing" in capsys.readouterr().out
        assert first.finished() == {row(2).key}
        first.add([row(0)], [HISTORY])
        first.fail([row(1).key], "it is flat")
        assert first.unite()
        assert [found.restart for found in read_rows(tmp_path / "results.csv")] == [0, 2]
        assert [reason for _, reason in first.failures] == ["it is flat"]
    assert not (tmp_path / "processes").exists() and (tmp_path / "failures.json").exists()


def test_who_is_still_at_work_brings_together(tmp_path):
    with shared(tmp_path, 0, 2) as first, shared(tmp_path, 1, 2) as second:
        first.add([row(0)], [HISTORY])
        second.add([row(1), row(2)], [HISTORY, HISTORY])
        assert not first.unite() and second.unite() and len(second.finished()) == 3


def test_other_pictures_are_refused_by_name(tmp_path):
    opened(tmp_path)
    with pytest.raises(UserError, match="other pictures, features or code: a, b differ"):
        opened(tmp_path, pictures={"a": "changed", "b": "new"})


def test_what_changes_no_result_may_change(tmp_path):
    opened(tmp_path)
    free = {"images": ["elsewhere/a.png"], "batch_size": 3, "checkpoint_seconds": 1.0, "study": True, "movie": True}
    opened(tmp_path, CONFIG | free)


def test_a_field_that_an_older_config_lacks_had_its_default(tmp_path):
    opened(tmp_path)
    opened(tmp_path, CONFIG | {"beta": 2.0})
    with pytest.raises(UserError, match=r"alpha \(there 6.0, here 4.0\)"):
        opened(tmp_path, CONFIG | {"beta": 2.0, "alpha": 4.0})


def test_a_kill_during_the_first_write_is_no_obstacle(tmp_path):
    (tmp_path / ".config.json.123.tmp").write_text("{")
    (tmp_path / "environment.json").write_text("{}")
    assert opened(tmp_path).finished() == set()


def test_history_of_unfinished_rows_is_dropped(tmp_path):
    opened(tmp_path).add([row(0)], [HISTORY])
    file = tmp_path / "history.jsonl"
    good = file.read_text()
    unfinished = json.dumps(row(1).key._asdict() | {"step": [0]})
    file.write_text(good + unfinished + "\n" + '{"image": "cut of')
    opened(tmp_path)
    assert file.read_text() == good


def test_another_config_is_refused_by_name(tmp_path):
    opened(tmp_path)
    with pytest.raises(UserError, match=r"seed \(there 0, here 3\)") as caught:
        opened(tmp_path, CONFIG | {"seed": 3})
    assert "images" not in str(caught.value)


def test_a_config_may_ask_for_more_but_not_for_less(tmp_path):
    opened(tmp_path).add([row(0), row(1)], [HISTORY, HISTORY])
    assert len(opened(tmp_path, CONFIG | {"restarts": 3}).finished()) == 2
    assert json.loads((tmp_path / "config.json").read_text())["restarts"] == 3
    with pytest.raises(UserError, match=r"another config: restarts \(there 3, here 1\)"):
        opened(tmp_path, CONFIG | {"restarts": 1}, planned={row(0).key})


def test_weights_of_more_networks_may_come(tmp_path):
    weights = {"weights of alexnet: a.npz": "sha256:1"}
    opened(tmp_path, pictures=PICTURES | weights)
    opened(tmp_path, pictures=PICTURES | weights | {"weights of vgg16: b.npz": "sha256:2"})
    with pytest.raises(UserError, match=r"weights of alexnet: a\.npz differ"):
        opened(tmp_path, pictures=PICTURES | {"weights of alexnet: a.npz": "sha256:3"})


def test_failures_are_kept_until_the_next_start(tmp_path):
    directory = opened(tmp_path)
    directory.fail([row(0).key], "it is flat")
    directory.fail([row(1).key], "no memory")
    found = json.loads((tmp_path / "failures.json").read_text())
    assert [(failure["restart"], failure["reason"]) for failure in found] == [(0, "it is flat"), (1, "no memory")]
    assert directory.finished() == set()
    directory.__exit__()
    assert opened(tmp_path).failures == [] and not (tmp_path / "failures.json").exists()


@pytest.mark.parametrize("content", ["{", "7", '[{"image": "a"}]', "\\ud800"])
def test_damaged_failures_stop_no_run(tmp_path, content):
    opened(tmp_path).add([row(0)], [HISTORY])
    part = tmp_path / "processes" / "0-of-2"
    part.mkdir(parents=True)
    for folder in (tmp_path, part):
        (folder / "failures.json").write_text(content)
    later = opened(tmp_path)
    assert later.finished() == {row(0).key} and later.failures == []
    assert not (tmp_path / "failures.json").exists() and not part.exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a run directory"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="is a file"):
        opened(tmp_path / "thesis.tex")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("pictures.json", b"\xff"),
        ("results.csv", b"a,b\n1,2\n"),
        ("results.csv", b"\xff\xfe,b\n"),
        ("results.csv", ",".join(COLUMNS).encode() + b"\nx,y\n"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    opened(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: is .*damaged"):
        opened(tmp_path)


def test_environment_names_versions_device_and_command():
    import jax

    found = environment("invjax run demo")
    assert found["command"] == "invjax run demo"
    assert found["jax"] == jax.__version__
    assert jax.default_backend() in found["device"].lower() or found["device"].startswith("1 × ")


def test_the_environment_of_an_installation_without_metadata(monkeypatch):
    """As when invjax, and what it needs, is only on the path."""

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(directory, "version", missing)
    found = environment("invjax run demo")
    assert found["invjax"] == invjax.__version__
    assert found["jax"] == found["optax"] == "unknown"


def test_tracebacks_are_appended_to_the_log(tmp_path):
    log = tmp_path / "out" / "errors.log"
    for start in range(2):
        with opened(tmp_path / "out") as run_directory:
            for number, what in enumerate(("cat from hog", "dog from hog", "cat from dsift")):
                try:
                    [][number + start]
                except IndexError as error:
                    assert run_directory.log(what, error) == log
    heads, ends = zip(*(entry.split("\n", 1) for entry in log.read_text().strip().split("\n\n")), strict=True)
    names = [head.partition(" ")[2] for head in heads]
    assert names == ["cat from hog", "dog from hog", "cat from dsift"] * 2
    assert ends[1] == "the same as before" and "IndexError: list index out of range" in ends[0]
    assert all("test_directory.py" in end for end in (ends[0], ends[3]))
