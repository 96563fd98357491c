"""What a person sees of a run, on terminals of any width and in a log."""

import functools
import io
import re
import time
import types

import pytest
from rich.console import Console

from invjax.runs import progress as display
from invjax.runs.progress import Display


@pytest.fixture
def clock(monkeypatch):
    """The time, in seconds, to be set."""
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(display, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def next_line(capsys):
    """What the log says within half a second."""
    for _ in range(50):
        if text := capsys.readouterr().err:
            return text.splitlines()[-1]
        time.sleep(0.01)
    return ""


def test_a_log_tells_everything(capsys, clock, monkeypatch):
    monkeypatch.setattr(display, "LINE_SECONDS", 0.02)
    with Display(1000.0, 100.0, 50) as shown:
        assert next_line(capsys) == "10 % · compiling"
        shown.update("hog", 100.0, 2.0, 5)
        clock.now = 30.0  # of compilation and the first steps
        shown.update("hog", 110.0, 1.0, 5)
        clock.now = 40.0
        shown.update("squeezenet fire4/concat, 3 of 20", 210.0, 0.12344, 10)
        capsys.readouterr()
        # 10 units a second, 20 units a picture
        expected = "21 % · squeezenet fire4/concat, 3 of 20 · 10 of 50 pictures · loss 0.1234 · 1,800 pictures/hour"
        assert next_line(capsys) == f"{expected} · about 79 s left"
        clock.now = 100.0  # no news for a minute
        capsys.readouterr()
        assert next_line(capsys) == f"{expected} · about 19 s left"
        clock.now = 300.0
    assert capsys.readouterr().err.splitlines()[-1] == "21 % · 66 pictures/hour · took 5 min"


def test_work_of_an_earlier_start_is_no_speed(capsys, clock, monkeypatch):
    monkeypatch.setattr(display, "LINE_SECONDS", 0.02)
    with Display(1000.0, 0.0, 10) as shown:
        clock.now = 5.0
        shown.update("hog", 500.0, 1.0, 0)  # from a checkpoint
        clock.now = 15.0
        shown.update("hog", 600.0, 1.0, 0)
        capsys.readouterr()
        assert "about 40 s left" in next_line(capsys)


def test_a_log_begins_after_a_minute(capsys):
    assert display.LINE_SECONDS == 60
    with Display(10.0, 0.0, 1) as shown:
        shown.update("hog", 10.0, 1.0, 0)
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err == "100 % · 3,600 pictures/hour · took 0 s\n"


def test_nothing_to_do_is_nothing_to_tell(capsys):
    with Display(0.0, 0.0, 0):
        pass
    with Display(10.0, 10.0, 1):
        pass
    assert capsys.readouterr().err == ""


def test_a_message_is_one_line_in_a_log(capsys):
    text = "failed: [bold]" + "a very long reason, " * 20 + "and no more"
    with Display(1.0, 0.0, 1) as shown:
        shown.say(text)
    assert capsys.readouterr().err == text + "\n"


@pytest.mark.parametrize("width", [1, 10, 30, 60, 80, 120, 200])
def test_a_terminal_has_one_line_whatever_its_width(monkeypatch, clock, width):
    screen = io.StringIO()
    terminal = functools.partial(Console, file=screen, force_terminal=True, width=width, _environ={})
    monkeypatch.setattr(display, "Console", lambda **_: terminal())
    with Display(100.0, 0.0, 8) as shown:
        for done in (0.0, 10.0, 60.0):
            clock.now += 1000
            shown.update("squeezenet fire4/relu_expand3x3, 13 of 20", done, 0.5, 3)
    [*_, drawn, last] = [
        line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*\w", "", screen.getvalue())) if line
    ]
    assert len(drawn) <= width
    assert last == "60 % · 6 pictures/hour · took 50 min"
    wanted = {"60 %": 10, "about 13 min left": 30, "relu_expand3x3, 13 of 20": 80, "14 pictures/hour": 120, "━": 10}
    for part, least in wanted.items():
        assert (part in drawn) == (width >= least)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (85.4, "85 s"), (840, "14 min"), (11520, "3.2 h"), (216000, "60.0 h"), (1e6, "11.6 days")],
)
def test_durations(seconds, words):
    assert display.duration(seconds) == words
