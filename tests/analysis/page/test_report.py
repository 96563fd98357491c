"""The page of a synthetic run: what it shows, what it embeds, and what it does when files are missing."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from invjax.analysis import page as report
from invjax.analysis.page import explorer, pictures
from invjax.analysis.page import items as album
from invjax.errors import UserError
from invjax.runs import rundir, store
from tests.analysis.page.synthetic import (
    HOSTILE,
    IMAGES,
    REPRESENTATIONS,
    RESTARTS,
    Page,
    add_study,
    decoded,
    local,
    make_run,
    pixels,
    write_rows,
    written,
)

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows]:
    workdir = tmp_path_factory.mktemp("run")
    return workdir, make_run(workdir)


@pytest.fixture(scope="module")
def whole_page(whole_run: tuple[Path, Rows]) -> Page:
    return written(whole_run[0])


@pytest.fixture
def workdir(whole_run: tuple[Path, Rows], tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(whole_run[0], tmp_path / "run"))


def label(row: dict[str, Any]) -> str:
    return f"{row['representation']} {row['layer']}".strip()


# --- a whole run ------------------------------------------------------------------------------------------------


def test_every_picture_is_embedded_once_and_whole(whole_run: tuple[Path, Rows], whole_page: Page) -> None:
    for row in whole_run[1]:
        alt = f"{row['image']} recovered from {label(row)}, restart {row['restart']}"
        [image] = whole_page.images(alt)
        np.testing.assert_array_equal(np.asarray(decoded(image["src"])), pixels(row["picture"].removesuffix(".png")))
        assert (image["width"], image["height"]) == ("16", "12")
    for name in IMAGES:
        [original] = whole_page.images(f"The original of {name}")
        np.testing.assert_array_equal(np.asarray(decoded(original["src"])), pixels(name))
    sources = [image["src"] for image in whole_page.all("img") if "src" in image]
    assert len(sources) == len(set(sources)) == len(whole_run[1]) + len(IMAGES)


def test_the_explorer_knows_every_reconstruction(whole_run: tuple[Path, Rows], whole_page: Page) -> None:
    dimensions = whole_page.data["dimensions"]
    free = {dimension["name"]: dimension["values"] for dimension in dimensions if dimension["free"]}
    assert free == {"image": list(IMAGES), "representation": ["hog", "net conv1"], "restart": ["0", "1"]}
    for row, told in zip(whole_run[1], whole_page.data["rows"], strict=True):
        values = {
            dimension["name"]: dimension["values"][at] for dimension, at in zip(dimensions, told["at"], strict=True)
        }
        assert (values["image"], values["representation"]) == (row["image"], label(row))
        assert (values["restart"], values["lambda_tv"]) == (str(row["restart"]), "0.5")
        stem = row["picture"].removesuffix(".png")
        assert (local(told["file"]), local(told["arrays"])) == (f"{stem}.png", f"{stem}.npz")
        assert told["movie"] is told["deviation"] is None
        np.testing.assert_array_equal(np.asarray(decoded(whole_page.image(told["picture"])["src"])), pixels(stem))
        np.testing.assert_array_equal(
            np.asarray(decoded(whole_page.image(told["original"])["src"])), pixels(row["image"])
        )
        assert (told["map"] is None) == (row["representation"] == "net")
        assert told["curves"]["total"] == [2, None, 0.3] and told["curves"]["step"] == [0, 10, 20]
        assert list(told["curves"]) == ["step", "total", "data", "alpha", "tv"]
        numbers = dict(told["numbers"])
        assert numbers["relative error"] == told["error"] == f"{row['relative_error']:.4f}"
        assert numbers["normalized error"] == f"{100 * row['normalized_error']:.1f} %"
        assert numbers["PSNR"] == f"{row['psnr']:.1f} dB"
        assert "SSIM" not in numbers  # empty in results.csv
        assert told["best"] == (row["restart"] == 0)


def test_choices_are_offered(whole_page: Page) -> None:
    groups = [field["data-dimension"] for field in whole_page.all("fieldset")]
    assert groups == [str(place) for place, dimension in enumerate(whole_page.data["dimensions"]) if dimension["free"]]
    radios = [tag for tag in whole_page.all("input") if tag["type"] == "radio"]
    assert len(radios) == len(IMAGES) + len(REPRESENTATIONS) + RESTARTS
    portraits = [image["alt"] for image in whole_page.all("img") if "data-of" in image]
    assert portraits == list(IMAGES)


def test_tables_have_mean_and_deviation_over_pictures_and_restarts(
    whole_run: tuple[Path, Rows], whole_page: Page
) -> None:
    heat = whole_page.between("A cell leads", "relative error ‖")
    for representation, _ in REPRESENTATIONS:
        rows = [row for row in whole_run[1] if row["representation"] == representation]
        relative = np.array([row["relative_error"] for row in rows])
        normalized = 100 * np.array([row["normalized_error"] for row in rows])
        for values, digits, text in ((relative, 4, whole_page.text), (normalized, 1, heat)):
            assert f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}" in text
    links = [tag["href"] for tag in whole_page.all("a") if (tag["href"] or "").startswith("#")]
    assert links == ["#representation=hog", "#representation=net%20conv1"]


def test_summary_config_environment(whole_page: Page) -> None:
    summary = "2 pictures × 2 representations × 2 restarts = 8 reconstructions"
    for shown in (summary, "What hog and net remember", "5 March 2026, 10:11 UTC", "Abacus <1>", "recipe.steps 20"):
        assert shown in whole_page.text
    assert f"images cat, {HOSTILE}" in whole_page.text
    assert "Missing or damaged" not in whole_page.text and "Failed" not in whole_page.text
    assert "Study" not in whole_page.text


def test_status_is_explained_and_ok_needs_no_badge(whole_run: tuple[Path, Rows], whole_page: Page) -> None:
    badges = [span["class"] for span in whole_page.all("span") if (span.get("class") or "").startswith("badge")]
    for status, places in (("ok", 1), ("recovered", 2), ("diverged", 2)):  # below the picture, and the full table
        count = sum(row["status"] == status for row in whole_run[1])
        in_summary = 0 if status == "ok" else 2  # one per representation
        assert badges.count(f"badge {status}") == places * count + in_summary
        assert explorer.STATUS[status] in whole_page.text


def test_hostile_names_are_escaped_everywhere(whole_page: Page) -> None:
    assert not whole_page.all("evil")
    assert not any("onload" in attributes for _, attributes in whole_page.tags)
    assert HOSTILE in whole_page.text
    assert len(whole_page.all("script")) == 2


def test_data_cannot_close_the_script() -> None:
    name = "</script><!--<script>alert(1)\u2028"
    text = explorer.as_script({"name": name})
    assert "<" not in text and json.loads(text) == {"name": name}


def test_page_needs_nothing_else(whole_run: tuple[Path, Rows], whole_page: Page) -> None:
    workdir, rows = whole_run
    for _, attributes in whole_page.tags:
        for name in ("src", "href", "xlink:href", "data-full", "srcset", "action", "poster"):
            value = attributes.get(name)
            if value and not value.startswith(("data:", "#")):
                assert name == "href" and (workdir / local(value)).is_file(), value
    text = (workdir / "report.html").read_text()
    for outside in ("https:", "@import", "<base", "fetch(", "XMLHttpRequest", "url(", str(workdir)):
        assert outside not in text
    assert re.findall("http:[^\"']*", text) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    links = [local(link["href"]) for link in whole_page.all("a")]
    assert {row["picture"] for row in rows} < set(links)


def test_the_browser_is_told_to_run_and_load_nothing_else(whole_page: Page) -> None:
    [policy] = [meta["content"] for meta in whole_page.all("meta") if "http-equiv" in meta]
    digest = base64.b64encode(hashlib.sha256(whole_page.scripts[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_page_is_sound_html(whole_page: Page) -> None:
    ids = [attributes["id"] for _, attributes in whole_page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(image["alt"] for image in whole_page.all("img") if "src" in image or "data-of" in image)
    assert {tag["aria-labelledby"] for _, tag in whole_page.tags if "aria-labelledby" in tag} <= set(ids)
    [html] = whole_page.all("html")
    assert html["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in whole_page.all("meta"))


def test_same_run_same_page(whole_run: tuple[Path, Rows]) -> None:
    path = whole_run[0] / "report.html"
    before = path.read_bytes()
    report.write(whole_run[0])
    assert path.read_bytes() == before


def test_the_page_is_the_same_in_any_folder(whole_run: tuple[Path, Rows], workdir: Path) -> None:
    assert report.write(workdir).read_bytes() == report.write(whole_run[0]).read_bytes()


def test_weights_are_choices_of_their_own(tmp_path: Path) -> None:
    make_run(tmp_path, ("cat",), lambdas=(20.0, 0.5))
    shown = written(tmp_path)
    free = {dimension["name"]: dimension["values"] for dimension in shown.data["dimensions"] if dimension["free"]}
    assert free["lambda_tv"] == ["0.5", "20"]
    assert "1 picture × 2 representations × 2 λ_TV × 2 restarts = 8 reconstructions" in shown.text
    assert shown.data["rows"][0]["title"] == "cat from hog, λ_TV 20, restart 0"
    links = [tag["href"] for tag in shown.all("a") if (tag["href"] or "").startswith("#")]
    assert links[:2] == ["#representation=hog&lambda_tv=0.5", "#representation=hog&lambda_tv=20"]


def test_swept_fields_are_choices_of_their_own(tmp_path: Path) -> None:
    variants = tuple(f"beta={beta}, options.cell={cell}" for beta in (1, 2) for cell in (6, 8))
    make_run(tmp_path, ("cat",), variants=variants)
    shown = written(tmp_path)
    free = {dimension["name"]: dimension["values"] for dimension in shown.data["dimensions"] if dimension["free"]}
    assert (free["beta"], free["options.cell"]) == (["1", "2"], ["6", "8"])
    assert shown.data["rows"][0]["title"] == "cat from hog, beta=1, options.cell=6, restart 0"
    assert "1 picture × 2 representations × 4 variants × 2 restarts = 16 reconstructions" in shown.text
    assert all(row["curves"] for row in shown.data["rows"])


def test_curves_are_found_when_the_table_has_fewer_digits(tmp_path: Path) -> None:
    rows = make_run(tmp_path, ("cat",), lambdas=(1 / 3,))
    write_rows(tmp_path, [row | {"lambda_tv": "0.3333333"} for row in rows])
    run = rundir.read(tmp_path)
    assert len(run.histories) == len(rows) and not run.warnings


def test_tables_of_earlier_versions_are_read(workdir: Path) -> None:
    lines = (workdir / "results.csv").read_text().splitlines()
    before = "image,representation,layer,weights,variant,"
    assert lines[0].startswith(before)
    header = lines[0].replace("weights,variant,", "")
    (workdir / "results.csv").write_text(
        f"{header}\ncat,hog,,fast,0.5,42,3,0,20,ok,0.01,,17,,1,images/cat/hog_tv0.5_r0.png\n"
    )
    assert written(workdir).data["rows"][0]["curves"]


def test_single_picture_has_no_normalized_error(workdir: Path) -> None:
    run = rundir.read(workdir)
    write_rows(workdir, [dataclasses.asdict(row) | {"normalized_error": ""} for row in run.rows if row.image == "cat"])
    shown = written(workdir)
    assert all("normalized error" not in dict(row["numbers"]) for row in shown.data["rows"])
    assert "Mean relative error ±" in shown.text
    assert "nan" not in re.sub(r"\w*nan\w+", "", shown.text)


def test_big_runs_embed_thumbnails_and_link_the_files(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "WHOLE_BYTES", 0)
    monkeypatch.setattr(pictures, "THUMBNAIL", 8)
    shown = written(workdir)
    assert shown.data["thumbnails"]
    for row in shown.data["rows"]:
        image = shown.image(row["picture"])
        small, full = decoded(image["src"]), Image.open(workdir / local(row["file"]))
        assert small.format == "WEBP" and small.size == (8, 6)
        assert (image["width"], image["height"]) == tuple(map(str, full.size))


def test_a_page_of_very_many_shows_some_pictures_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_run(tmp_path, ("a", "b", "c", "d", "e"))
    monkeypatch.setattr(report.document, "MOST", 2 * len(rows) // 5)
    shown = written(tmp_path)
    assert len(shown.data["rows"]) == 2 * len(rows) // 5
    assert {row["title"].partition(" ")[0] for row in shown.data["rows"]} == {"a", "c"}
    assert "2 pictures of 5, evenly spaced; tables and results.csv are of all" in shown.text
    assert all(row["curves"] for row in shown.data["rows"]) and "lacks" not in shown.text


def test_incomplete_run_is_called_so(workdir: Path) -> None:
    run = rundir.read(workdir)
    write_rows(workdir, [dataclasses.asdict(row) for row in run.rows[:-1]])
    assert "2 pictures × 2 representations × 2 restarts, 7 reconstructions of 8" in written(workdir).text


def test_features_without_a_picture_have_no_original(tmp_path: Path) -> None:
    make_run(tmp_path, ("pool5-0",))
    (tmp_path / "images/pool5-0/original.png").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"features": ["pool5.npy"]}))
    shown = written(tmp_path)
    assert "1 feature × 2 representations" in shown.text and "Missing or damaged" not in shown.text
    assert "no original" in shown.text
    assert all(row["original"] is None and not row["hasOriginal"] for row in shown.data["rows"])


# --- what a run may have besides --------------------------------------------------------------------------------


def test_movies_and_other_files_are_linked(workdir: Path) -> None:
    (workdir / "images/cat/hog_tv0.5_r1.webp").write_bytes(b"a movie")
    (workdir / "figures").mkdir()
    (workdir / "figures/errors #1.pdf").write_bytes(b"a figure")
    shown = written(workdir)
    movies = [row["movie"] for row in shown.data["rows"]]
    assert movies[1] == "images/cat/hog_tv0.5_r1.webp" and movies.count(None) == len(movies) - 1
    assert "figures/errors #1.pdf" in [local(link["href"]) for link in shown.all("a")]


def test_what_failed_is_told(workdir: Path) -> None:
    failure = {"image": HOSTILE, "representation": "net", "layer": "conv1", "variant": "beta=2", "lambda_tv": 5.0}
    (workdir / "failures.json").write_text(json.dumps([failure | {"restart": 3, "reason": "<evil> out of memory"}]))
    shown = written(workdir)
    assert "Failed: 1 reconstruction" in shown.text and "<evil> out of memory" in shown.text
    assert f"{HOSTILE} from net conv1, beta=2, λ TV 5, restart 3" in shown.text
    (workdir / "failures.json").write_text("[]")
    assert "Failed" not in written(workdir).text


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]", "7"])
def test_damaged_failures_are_named(workdir: Path, content: str) -> None:
    (workdir / "failures.json").write_text(content)
    assert "failures.json is damaged: what failed is not shown" in written(workdir).text


def test_study_of_restarts(whole_run: tuple[Path, Rows], workdir: Path) -> None:
    add_study(workdir, whole_run[1])
    shown = written(workdir)
    study = shown.between("Study of restarts", "All pictures")
    assert "restarts.csv 2 rows" in study and "image of spread cat reconstructions 0.123457 cat floor –" in study
    assert "distances.csv 1 row" in study and "cat conv1 3" in study
    for row in shown.data["rows"]:
        image = shown.image(row["deviation"])
        assert "style" not in image  # its colours are not to be stretched
        np.testing.assert_array_equal(
            np.asarray(decoded(image["src"])),
            pixels(Path(local(row["file"])).name[: -len("_r0.png")] + "_deviation.png"),
        )


def test_damaged_study_is_named(workdir: Path) -> None:
    (workdir / "restarts.csv").write_text('a,b\n1,"2')
    (workdir / "distances.csv").write_text("a,b\n1,2,3\n")
    shown = written(workdir)
    for name in ("restarts.csv", "distances.csv"):
        assert f"{name} is damaged: the study is not shown" in shown.text


# --- missing and damaged files ----------------------------------------------------------------------------------


PICTURE = "images/cat/hog_tv0.5_r1.png"
ARRAYS = "images/cat/hog_tv0.5_r1.npz"


@pytest.mark.parametrize(
    "name", [PICTURE, ARRAYS, "images/cat/original.png", "history.jsonl", "environment.json", "config.json"]
)
@pytest.mark.parametrize("damage", ["missing", "damaged", "cut"])
def test_broken_file_is_named_and_the_page_written(workdir: Path, name: str, damage: str) -> None:
    path = workdir / name
    if damage == "missing":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(b"\xff\x00 not what it should be")
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1])
    shown = written(workdir)
    warnings = shown.between("Missing or damaged", "Explorer")
    assert warnings.count(name) == (2 if name == "history.jsonl" and damage != "missing" else 1)
    assert ("is missing" if damage == "missing" else "damaged") in warnings
    rows = shown.data["rows"]
    assert [row["picture"] is None for row in rows] == [name == PICTURE and place == 1 for place in range(len(rows))]
    originals = [row["original"] is None for row in rows]
    assert originals == [name == "images/cat/original.png" and place < 4 for place in range(len(rows))]
    assert all(row["hasOriginal"] for row in rows)
    maps = [row["map"] is None for row in rows]
    assert maps.count(True) == len(rows) / 2 + (name == ARRAYS)
    assert str(workdir) not in (workdir / "report.html").read_text()


def test_one_bad_history_line_leaves_the_others(workdir: Path) -> None:
    lines = (workdir / "history.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace("[0, 10, 20]", "[0, 10]")
    (workdir / "history.jsonl").write_text("\n".join(lines[:-1]))
    run = rundir.read(workdir)
    assert len(run.histories) == len(lines) - 2
    assert run.warnings == [
        "history.jsonl, line 2 is damaged: its loss curve is not shown",
        f"history.jsonl lacks the loss curves of 2 of {len(lines)} reconstructions",
    ]
    assert [row["curves"] is None for row in written(workdir).data["rows"]].count(True) == 2


@pytest.mark.parametrize("picture", ["../secret.png", "{outside}/secret.png", "", "images", "a\0b"])
def test_nothing_outside_the_run_is_shown(workdir: Path, picture: str) -> None:
    Image.fromarray(pixels("secret")).save(workdir.parent / "secret.png")
    run = rundir.read(workdir)
    write_rows(workdir, [dataclasses.asdict(run.rows[0]) | {"picture": picture.format(outside=workdir.parent)}])
    shown = written(workdir)
    assert "Missing or damaged" in shown.text
    [row] = shown.data["rows"]
    assert row["picture"] is row["file"] is row["arrays"] is row["movie"] is None
    assert not any("recovered from" in (image["alt"] or "") for image in shown.all("img"))
    assert not any("secret" in (link["href"] or "") for link in shown.all("a"))


def test_two_rows_may_share_a_picture(workdir: Path) -> None:
    run = rundir.read(workdir)
    write_rows(workdir, [dataclasses.asdict(row) | {"picture": PICTURE} for row in run.rows[:2]])
    shown = written(workdir)
    assert len({row["picture"] for row in shown.data["rows"]}) == 1
    assert shown.image(shown.data["rows"][0]["picture"])


# --- not a run --------------------------------------------------------------------------------------------------


def test_no_results_is_an_error(tmp_path: Path) -> None:
    for workdir in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=r"not a run directory.*results\.csv"):
            report.write(workdir)
    assert not list(tmp_path.iterdir())


HEADER = ",".join(store.COLUMNS)
ROW = "cat,hog,,,,fast,0.5,42,3,0,20,ok,0.01,,17,,1,images/cat/x.png"


def test_a_row_that_is_being_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(f"{HEADER}\n{ROW}\n{ROW[:-30]}")
    assert [row.image for row in rundir.read(tmp_path).rows] == ["cat"]
    (tmp_path / "results.csv").write_text(f"{HEADER}\n{ROW}\n{ROW}")  # but for its end, perhaps of the picture's name
    assert [row.image for row in rundir.read(tmp_path).rows] == ["cat"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no reconstructions"),
        (HEADER.encode(), "no reconstructions"),
        (b"\xff\xfe\x00\x89PNG", "damaged"),
        (b'image,"layer\n', "damaged"),
        (f"{HEADER.replace('status', 'state')}\n{ROW}\n".encode(), "lacks the column status"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('0.01', 'low')}\n".encode(), "line 3: relative_error is 'low', not a number"),
        (f"{HEADER}\n{ROW[:20]}\n".encode(), "line 2: the row ends before the column"),
        (f"{HEADER}\n{ROW[:20]}".encode(), "no reconstructions"),
    ],
)
def test_unusable_results_are_an_error_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "results.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        report.write(tmp_path)
    assert "results.csv" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_earlier_page_survives_a_failure(workdir: Path) -> None:
    before = report.write(workdir).read_bytes()
    (workdir / "results.csv").write_bytes(b"")
    with pytest.raises(UserError):
        report.write(workdir)
    assert (workdir / "report.html").read_bytes() == before
