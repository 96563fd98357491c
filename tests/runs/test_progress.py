"""What a person sees of a run, on terminals of any width and in a log."""

import functools
import io
import re
import time
import types

import numpy as np
import pytest
from rich.console import Console

from invjax.runs import progress as display
from invjax.runs.progress import Display, print_table


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


def row(**fields):
    return {
        **{"representation": "squeezenet", "layer": "fire4/concat", "lambda_tv": "0.5", "variant": "", "status": "ok"},
        **{"relative_error": "0.25", "normalized_error": "0.5", "psnr": "13.25", "ssim": "0.5"},
        **fields,
    }


def printed(capsys, rows):
    print_table(rows)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_table(capsys):
    errors = [0.1, 0.2, 0.6]
    rows = [row(relative_error=f"{error}") for error in errors]
    rows += [row(lambda_tv="5"), row(layer="fire9/concat", lambda_tv="5"), row(representation="hog", layer="")]
    heading, *lines = printed(capsys, rows)
    assert heading.split() == ["λ_TV", "n", "relative", "error", "normalized,", "%", "PSNR", "SSIM"]
    spread = f"{np.mean(errors):.4f} ± {np.std(errors, ddof=1):.4f}"
    assert [line.split("  ", 1)[0] for line in lines if not line.startswith(" ")] == ["squeezenet", "hog"]
    assert re.fullmatch(rf"  fire4/concat +0.5 +3 +{spread} +50.0 ± 0.0 +13.2 +0.50", lines[1])
    assert re.fullmatch(r" +5 +1 +0.2500 +50.0 +13.2 +0.50", lines[2])
    assert lines[3].split()[:3] == ["fire9/concat", "5", "1"]


def test_table_has_columns_for_what_there_is(capsys):
    nothing = {"normalized_error": "", "psnr": "", "ssim": ""}
    rows = [row(variant=variant, **nothing) for variant in ("beta=1", "mask=centre 5x5")]
    heading, *lines = printed(capsys, [*rows, row(variant="beta=1", **nothing, status="diverged")])
    assert heading.split() == ["λ_TV", "variant", "n", "relative", "error", "status"]
    assert lines[1].endswith("1 diverged")
    assert lines[2].split() == ["0.5", "mask=centre", "5x5", "1", "0.2500"]


def test_long_names_are_not_wrapped(capsys, monkeypatch):
    name = "0.25*fire2/relu_expand3x3+fire4/concat"
    rows = [row(layer=name), row(layer=name)]
    assert any(line.startswith(f"  {name}  ") and line.endswith("0.50") for line in printed(capsys, rows))
    monkeypatch.setattr(display, "Console", lambda **_: Console(width=70, _environ={}))
    heading, _, line = printed(capsys, rows)
    assert "SSIM" not in heading
    assert line.split() == [name, "0.5", "0.2500", "±", "0.0000"]
