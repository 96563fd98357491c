"""The processes of a run, without processes: pulses, verdicts, locks and numbers."""

import json
import threading
import time

import pytest

from invjax import UserError, cli, distributed
from invjax.distributed import Seat
from invjax.runs.store import Ledger
from invjax.runs.team import Team, claim, collect, join

PATIENCE = 1.0


@pytest.fixture
def said():
    return []


def team(folder, index, count, said=None, patience=PATIENCE):
    return Team(folder, Seat(index, count), None, patience, (said if said is not None else []).append)


def pulse(folder, index, **changes):
    path = folder / "processes" / str(index) / "pulse"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"state": "running", "reason": "", "plan": "", "beat": 1} | changes))


def test_alone_there_is_nothing_to_wait_for(tmp_path):
    with Team(tmp_path) as alone:
        assert alone.wait() == [] and alone.leads and alone.saved() == []
    assert not list(tmp_path.iterdir())


def test_two_that_finish_agree_on_who_concludes(tmp_path):
    found = {}

    def work(index):
        with team(tmp_path, index, 2) as one:
            one.agree("the plan")
            found[index] = one.wait(), one.leads

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {0: ([], True), 1: ([], False)}


def test_one_that_falls_silent_is_named_and_the_next_one_concludes(tmp_path, said):
    pulse(tmp_path, 0, plan="p")
    with team(tmp_path, 1, 2, said) as one:
        one.agree("p")
        assert [(lost.index, lost.fate) for lost in one.wait()] == [(0, "process 0 of 2 has died")]
        assert one.leads
    assert sum("process 0 of 2 has died" in line for line in said) == 1


def test_one_that_had_finished_and_dies_waiting_does_not_leave_the_run_without_an_end(tmp_path, said):
    pulse(tmp_path, 0, state="finished", plan="p")
    with team(tmp_path, 1, 2, said) as one:
        assert [lost.fate for lost in one.wait()] == ["process 0 of 2 has died"]
        assert one.leads


def test_nobody_leaves_before_the_one_who_concludes_is_known_to_live(tmp_path):
    pulse(tmp_path, 0, state="finished", plan="p")
    with team(tmp_path, 1, 2, patience=100.0) as one:
        found = []
        waiting = threading.Thread(target=lambda: found.append(one.wait()))
        waiting.start()
        waiting.join(1.5)
        assert waiting.is_alive()
        pulse(tmp_path, 0, state="finished", plan="p", beat=2)
        waiting.join(30)
        assert found == [[]] and not one.leads


def test_the_others_hear_of_one_that_is_stopped_while_it_waits(tmp_path, monkeypatch):
    def stop(seconds):
        raise KeyboardInterrupt

    pulse(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt), team(tmp_path, 0, 2) as one:
        monkeypatch.setattr(time, "sleep", stop)
        one.wait()
    assert json.loads((tmp_path / "processes" / "0" / "pulse").read_text())["state"] == "stopped"


def test_slow_is_not_dead(tmp_path):
    with team(tmp_path, 0, 2) as one:
        found = []
        waiting = threading.Thread(target=lambda: found.append(one.wait()))
        waiting.start()
        for beat in range(15):
            pulse(tmp_path, 1, beat=beat)
            time.sleep(PATIENCE / 10)
        assert not found
        pulse(tmp_path, 1, state="left", beat=99)
        waiting.join(30)
    assert found == [[]]


@pytest.mark.parametrize(("state", "fate"), [("stopped", "was stopped"), ("failed", "has failed: the disk is full")])
def test_what_became_of_one_that_ended_early_is_told(tmp_path, said, state, fate):
    pulse(tmp_path, 1, state=state, reason="the disk is full")
    with team(tmp_path, 0, 2, said, patience=100.0) as one:
        assert [lost.fate for lost in one.wait()] == [f"process 1 of 2 {fate}"]
    assert any(f"process 1 of 2 {fate}" in line for line in said)


def test_the_others_hear_why_a_process_failed(tmp_path):
    with pytest.raises(UserError), team(tmp_path, 1, 2):
        raise UserError("no such picture")
    with pytest.raises(KeyboardInterrupt), team(tmp_path, 2, 3):
        raise KeyboardInterrupt
    states = [json.loads((tmp_path / "processes" / name / "pulse").read_text()) for name in "12"]
    assert [(state["state"], state["reason"]) for state in states] == [("failed", "no such picture"), ("stopped", "")]


def test_another_plan_is_refused(tmp_path):
    pulse(tmp_path, 0, plan="of other pictures")
    with (
        pytest.raises(UserError, match="other pictures, features, weights or fields"),
        team(tmp_path, 1, 2) as one,
    ):
        one.agree("mine")
    pulse(tmp_path, 0, state="failed", reason="the folder is in use", beat=2)
    with pytest.raises(UserError, match="process 0 of 2 has failed: the folder is in use"), team(tmp_path, 1, 2) as one:
        one.agree("mine")


def test_a_folder_where_a_process_is_alive_cannot_be_claimed(tmp_path):
    with team(tmp_path, 1, 2):
        with pytest.raises(UserError, match="another process is running here"):
            claim(tmp_path)
        assert collect(tmp_path) is None and (tmp_path / "processes" / "1").is_dir()
    claim(tmp_path).close()
    assert not (tmp_path / "processes").exists()


def test_a_claim_brings_left_overs_together(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    Ledger(tmp_path / "processes" / "3").fail(
        [dict.fromkeys(("image", "representation", "layer", "variant", "lambda_tv", "restart"), "x")], "it was late"
    )
    claim(tmp_path).close()
    assert "it was late" in (tmp_path / "failures.json").read_text()


def test_no_ledger_is_removed_that_was_not_taken_over(tmp_path, monkeypatch):
    """Another host's file system may not list it yet."""
    (tmp_path / "config.json").write_text("{}")
    key = dict.fromkeys(("image", "representation", "layer", "variant", "lambda_tv", "restart"), "x")
    Ledger(tmp_path / "processes" / "1").fail([key], "it was late")
    monkeypatch.setattr(type(tmp_path), "glob", lambda *_: iter(()))
    assert collect(tmp_path) is None and (tmp_path / "processes" / "1" / "failures.json").exists()
    assert collect(tmp_path, count=2).failures and not (tmp_path / "processes").exists()


def test_of_one_process_nothing_is_left_behind(tmp_path, monkeypatch):
    def meet(coordinator, count, index, prepare, seconds):
        prepare()
        return Seat(0, 1)

    monkeypatch.setattr(distributed, "meet", meet)
    with join(tmp_path, None, None, None) as alone:
        assert alone.alone and alone.saved() == []
        with pytest.raises(UserError, match="another process is running here"):
            claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("patience", [0.0, -1.0, float("nan"), float("inf")])
def test_a_patience_that_cannot_be_is_refused(tmp_path, patience):
    with pytest.raises(UserError, match="--patience must be a positive number of seconds"):
        join(tmp_path / "new", "host:1", 2, 0, patience)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_not_claimed(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a run directory"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((None, 2, 0), "--coordinator missing"),
        (("host:1", None, None), "--num_processes and --process_id missing"),
        (("host", 2, 0), "must be HOST:PORT, got 'host'"),
        (("host:1", 0, 0), "--num_processes must be at least 1"),
        (("host:1", 2, 2), r"--process_id must be from 0 to 1 \(--num_processes 2\), got 2"),
    ],
)
def test_numbers_that_cannot_be_are_refused(numbers, message):
    with pytest.raises(UserError, match=message):
        distributed.check(*numbers)


def test_a_host_of_a_pod_computes_by_itself():
    assert distributed.host_alone(0) == {}
    assert distributed.host_alone(4)["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "2,2,1"


def test_mistakes_are_one_line_and_exit_code_2(tmp_path, capsys):
    assert cli.main(["run", "demo", "--workdir", str(tmp_path / "out"), "--num_processes", "2"]) == 2
    assert capsys.readouterr().err.startswith("invjax: error: --coordinator and --process_id missing")
    assert not (tmp_path / "out").exists()
