"""The table at the end of a run: means and deviations as NumPy has them, as wide as the terminal."""

import itertools
import re

import numpy as np
from rich.console import Console

from invjax.analysis import terminal
from invjax.runs.store import Ledger

from ..conftest import row_of

RESTARTS = itertools.count()


def row(**fields):
    defaults = {"restart": next(RESTARTS), "representation": "squeezenet", "layer": "fire4/concat", "status": "ok"}
    measures = {"relative_error": 0.25, "normalized_error": 0.5, "psnr": 13.25, "ssim": 0.5}
    return row_of(**(defaults | measures | fields))


def printed(capsys, folder, rows):
    Ledger(folder).add(rows, [{}] * len(rows))
    terminal.show(folder)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_table(capsys, tmp_path):
    errors = [0.1, 0.2, 0.6]
    rows = [row(relative_error=error) for error in errors]
    rows += [row(lambda_tv=5.0), row(layer="fire9/concat", lambda_tv=5.0), row(representation="hog", layer="")]
    heading, *lines = printed(capsys, tmp_path, rows)
    assert heading.split() == ["λ_TV", "n", "relative", "error", "normalized", "error,", "%", "PSNR,", "dB", "SSIM"]
    spread = f"{np.mean(errors):.3f} ± {np.std(errors, ddof=1):.3f}"
    assert [line.split("  ", 1)[0] for line in lines if not line.startswith(" ")] == ["squeezenet", "hog"]
    assert re.fullmatch(rf"  fire4/concat +0.5 +3 +{spread} +50.0 ± 0.0 +13.2 ± 0.0 +0.50 ± 0.00", lines[1])
    assert re.fullmatch(r" +5 +1 +0.250 +50.0 +13.2 +0.50", lines[2])
    assert lines[3].split()[:3] == ["fire9/concat", "5", "1"]


def test_table_has_columns_for_what_there_is(capsys, tmp_path):
    nan = float("nan")
    nothing = {"normalized_error": nan, "psnr": nan, "ssim": nan}
    rows = [row(variant=variant, **nothing) for variant in ("beta=1", "mask=centre 5x5")]
    heading, *lines = printed(capsys, tmp_path, [*rows, row(variant="beta=1", **nothing, status="diverged")])
    assert heading.split() == ["λ_TV", "variant", "n", "relative", "error", "status"]
    assert lines[1].endswith("1 diverged")
    assert lines[2].split() == ["0.5", "mask=centre", "5x5", "1", "0.250"]


def test_long_names_are_not_wrapped(capsys, monkeypatch, tmp_path):
    name = "0.25*fire2/relu_expand3x3+fire4/concat"
    rows = [row(layer=name), row(layer=name)]
    assert any(
        line.startswith(f"  {name}  ") and line.endswith("0.50 ± 0.00") for line in printed(capsys, tmp_path, rows)
    )
    monkeypatch.setattr(terminal, "Console", lambda **_: Console(width=70, _environ={}))
    heading, _, line = printed(capsys, tmp_path, rows)
    assert "SSIM" not in heading
    assert line.split() == [name, "0.5", "0.250", "±", "0.000"]
