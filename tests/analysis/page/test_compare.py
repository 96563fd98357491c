"""One page of several runs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from invjax.analysis import page as report
from invjax.analysis import tables
from invjax.cli import main
from invjax.errors import UserError
from invjax.runs import rundir
from tests.analysis.page.synthetic import HOSTILE, Page, decoded, local, make_run, pixels, write_rows


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs of one name, the second with smaller errors and another config, and a third of one representation."""
    first, second, third = tmp_path / "a/run", tmp_path / "b/run", tmp_path / HOSTILE
    rows = make_run(first)
    shutil.copytree(first, second)
    write_rows(second, [row | {"normalized_error": row["normalized_error"] / 2} for row in rows])
    (second / "config.json").write_text(json.dumps({"recipe": {"steps": 40}, "beta": 1.5}))
    make_run(third, representations=(("hog", ""),))
    return [first, second, third]


def compared(runs: list[Path], out: Path) -> Page:
    assert report.write(runs, out) == out
    return Page(out.read_text(encoding="utf-8"))


def test_runs_are_a_choice_and_columns_of_the_table(runs: list[Path], tmp_path: Path) -> None:
    shown = compared(runs, tmp_path / "pages/compared.html")
    names = ["a/run", "b/run", f"{tmp_path.name}/{HOSTILE}"]
    dimension = shown.data["dimensions"][0]
    assert (dimension["name"], dimension["values"], dimension["free"]) == ("run", names, True)
    links = [tag["href"] for tag in shown.all("a") if (tag["href"] or "").startswith("#")]
    assert links[:2] == ["#representation=hog&run=a%2Frun", "#representation=hog&run=b%2Frun"]
    assert len(links) == 5  # the third run has no network
    assert "3 runs × 2 pictures × 2 representations × 2 restarts: 20 reconstructions" in shown.text
    heat = shown.between("Errors by representation and run", "All measures")
    for run in (rundir.read(path) for path in runs):
        errors = [100 * row.normalized_error for row in run.rows if row.representation == "hog"]
        assert f"{np.mean(errors):.1f} ± " in heat or f"{np.mean(errors):.2f} ± " in heat
    assert not shown.all("evil")


def test_layers_are_in_the_order_of_their_network_in_the_page_and_in_tables(tmp_path: Path) -> None:
    layers = ("fc8", "conv1", "relu5", "norm1")  # as they may have been asked for
    make_run(tmp_path / "run", ("cat", "dog"), representations=tuple(("caffenet", layer) for layer in layers))
    dimension = compared([tmp_path / "run"], tmp_path / "page.html").data["dimensions"][2]
    inverted = ["caffenet conv1", "caffenet norm1", "caffenet relu5", "caffenet fc8"]
    assert (dimension["name"], dimension["values"]) == ("representation", inverted)
    tables.write(tmp_path / "run")
    lines = (tmp_path / "run" / "tables" / "errors.md").read_text().splitlines()[4:]
    assert [f"caffenet {line.split(' | ')[0].strip('| ')}" for line in lines] == inverted


def test_pictures_are_linked_from_where_the_page_is(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "pages/deep/compared.html"
    shown = compared(runs, out)
    for row in shown.data["rows"]:
        for link in (row["file"], row["arrays"]):
            assert (out.parent / local(link)).is_file()
    first = shown.data["rows"][0]["file"]
    assert first.startswith("../../a/run/images/")
    assert all(
        (out.parent / local(link["href"])).is_file() for link in shown.all("a") if not link["href"].startswith("#")
    )


def test_the_same_original_is_embedded_once(runs: list[Path], tmp_path: Path) -> None:
    shown = compared(runs, tmp_path / "compared.html")
    originals = {row["original"] for row in shown.data["rows"]}
    assert len(originals) == 2
    for row in shown.data["rows"]:
        image = ["cat", HOSTILE][row["at"][1]]
        np.testing.assert_array_equal(np.asarray(decoded(shown.image(row["original"])["src"])), pixels(image))


def test_what_tells_the_runs_apart(runs: list[Path], tmp_path: Path) -> None:
    shown = compared(runs[:2], tmp_path / "compared.html")
    about = shown.between("What tells the runs apart", "Files of")
    assert "recipe.steps 20 40" in about and "beta 1.5" in about and "reconstructions 8 8" in about
    assert "Configuration of a/run" in shown.text and "Environment of b/run" in shown.text


def test_what_is_missing_is_named_with_its_run(runs: list[Path], tmp_path: Path) -> None:
    (runs[1] / "history.jsonl").unlink()
    (runs[0] / "failures.json").write_text(
        json.dumps([{"image": "dog", "representation": "hog", "lambda_tv": 5, "restart": 0, "reason": "no memory"}])
    )
    shown = compared(runs[:2], tmp_path / "compared.html")
    assert "b/run: history.jsonl is missing: no loss curves" in shown.text
    assert "a/run: dog from" in shown.text and "no memory" in shown.text


def test_a_single_run_can_be_written_elsewhere(runs: list[Path], tmp_path: Path) -> None:
    shown = compared(runs[:1], tmp_path / "one.html")
    assert not (runs[0] / "report.html").exists()
    assert "run" not in [dimension["name"] for dimension in shown.data["dimensions"] if dimension["free"]]
    assert shown.data["rows"][0]["file"].startswith("a/run/images/")


def test_several_runs_need_a_place_and_are_different(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a place"):
        report.write(runs)
    with pytest.raises(UserError, match="given twice"):
        report.write([runs[0], Path(os.path.relpath(runs[0]))], tmp_path / "x.html")
    with pytest.raises(UserError, match="not a run directory"):
        report.write([runs[0], tmp_path], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_on_the_command_line(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ["report", *map(str, runs[:2])]
    assert main(both) == 2
    assert "add --out compared.html" in capsys.readouterr().err
    assert main([*both, "--out", str(tmp_path / "compared.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "compared.html")
    assert main(["report", str(runs[0])]) == 0
    assert (runs[0] / "report.html").is_file()


def test_short_names() -> None:
    assert rundir.short_names([Path("/x/a"), Path("/x/b")]) == ["a", "b"]
    assert rundir.short_names([Path("/x/a/run"), Path("/y/a/run"), Path("/y/b")]) == ["x/a/run", "y/a/run", "y/b"]
    assert rundir.short_names([Path("/")]) == ["/"]
