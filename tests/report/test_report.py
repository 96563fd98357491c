"""The report of a synthetic run: what it shows, what it embeds, and what it does when files are missing."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import matplotlib
import numpy as np
import pytest
from PIL import Image

from invjax import report
from invjax.errors import UserError
from invjax.report import figures, page, rundir

HOSTILE = """<evil src="x" onload='y'>&amp; 5%20#?"""
IMAGES = ("cat", HOSTILE)
REPRESENTATIONS = (("hog", ""), ("net", "conv1"))
RESTARTS = 2
ERROR_MAP = np.array([[0.0, 0.25, 0.5], [1.0, 7.0, np.nan]], np.float32)
VOID = {"meta", "link", "img", "br", "hr", "input"}


def pixels(*identity: object) -> np.ndarray:
    """Different for every picture, the same in every test."""
    seed = sum(map(ord, repr(identity)))
    return np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)


def make_run(
    workdir: Path,
    images: tuple[str, ...] = IMAGES,
    lambdas: tuple[float, ...] = (0.5,),
    representations: tuple[tuple[str, str], ...] = REPRESENTATIONS,
) -> list[dict]:
    rows, histories = [], []
    for image in images:
        folder = workdir / "images" / image
        folder.mkdir(parents=True)
        Image.fromarray(pixels(image)).save(folder / "original.png")
        for representation, layer in representations:
            for lambda_tv in lambdas:
                for restart in range(RESTARTS):
                    stem = f"images/{image}/{representation}{layer.replace('/', '-')}_tv{lambda_tv}_r{restart}"
                    Image.fromarray(pixels(stem)).save(workdir / f"{stem}.png")
                    spatial = {"error_map": ERROR_MAP} if representation == "hog" else {}
                    np.savez(workdir / f"{stem}.npz", image=pixels(stem).astype(np.float32), **spatial)
                    number = len(rows)
                    identity = {"image": image, "representation": representation, "layer": layer, "restart": restart}
                    rows.append(
                        identity
                        | {"recipe": "fast", "lambda_tv": lambda_tv, "lambda_alpha": 42.5, "seed": 3, "steps": 20}
                        | {"status": ("ok", "recovered", "diverged")[number % 3], "relative_error": 0.01 + number / 1e3}
                        | {"normalized_error": 0.1 + number / 100, "psnr": 17.5 + number, "ssim": "", "seconds": 1.5}
                        | {"picture": f"{stem}.png"}
                    )
                    terms = {"total": [2.0, None, 0.3], "data": [1.5, 0.9, 0.2], "alpha": [0, 0, 0], "tv": [0.1, 1, 2]}
                    histories.append(identity | {"lambda_tv": lambda_tv, "step": [0, 10, 20]} | terms)
    write_rows(workdir, rows)
    (workdir / "history.jsonl").write_text("".join(json.dumps(history) + "\n" for history in histories))
    (workdir / "config.json").write_text(json.dumps({"recipe": {"steps": 20}, "images": list(images)}))
    environment = {"device": "Abacus <1>", "started": "2026-03-05T10:11:12+00:00", "command": "invjax run"}
    (workdir / "environment.json").write_text(json.dumps(environment))
    return rows


def write_rows(workdir: Path, rows: list[dict]) -> None:
    with (workdir / "results.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rundir.COLUMNS))
        table.writeheader()
        table.writerows(rows)


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and whether what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def images(self, alt: str) -> list[dict[str, str | None]]:
        return [attributes for attributes in self.all("img") if attributes["alt"] == alt]

    def source(self, image: dict[str, str | None]) -> str | None:
        """What a browser shows: of an image that repeats another, the first one inside the element of that id."""
        if "data-of" not in image:
            return image["src"]
        [place] = [place for place, (_, tag) in enumerate(self.tags) if tag.get("id") == image["data-of"]]
        return next(tag["src"] for name, tag in self.tags[place:] if name == "img")


def decoded(uri: str | None) -> Image.Image:
    kind, data = re.fullmatch(r"data:image/(\w+);base64,(.*)", uri or "").groups()
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.format.lower() == kind
    return image


def local(url: str | None) -> str:
    """The file a browser would open, relative to the page."""
    return unquote(urlsplit(url or "").path)


def written(workdir: Path) -> Page:
    path = report.write(workdir)
    assert path == workdir / "report.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    workdir = tmp_path_factory.mktemp("run")
    return workdir, make_run(workdir)


@pytest.fixture(scope="module")
def whole_page(whole_run: tuple[Path, list[dict]]) -> Page:
    return written(whole_run[0])


@pytest.fixture
def workdir(whole_run: tuple[Path, list[dict]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, to be damaged; its curves are not drawn, which would take most of the time."""
    monkeypatch.setattr(figures, "loss_curve", lambda lines, prefix: "")
    return Path(shutil.copytree(whole_run[0], tmp_path / "run"))


def label(row: dict) -> str:
    return f"{row['representation']} {row['layer']}".strip()


# --- a whole run ------------------------------------------------------------------------------------------------


def test_every_picture_is_embedded_whole(whole_run: tuple[Path, list[dict]], whole_page: Page) -> None:
    for row in whole_run[1]:
        alt = f"{row['image']} recovered from {label(row)}, restart {row['restart']}"
        [image] = whole_page.images(alt)
        np.testing.assert_array_equal(np.asarray(decoded(image["src"])), pixels(row["picture"].removesuffix(".png")))
        assert (image["width"], image["height"]) == ("16", "12")
    for name in IMAGES:
        originals = whole_page.images(f"The original of {name}")
        assert len(originals) == len(REPRESENTATIONS)
        assert sum("src" in image for image in originals) == 1  # its bytes are in the page once
        for image in originals:
            np.testing.assert_array_equal(np.asarray(decoded(whole_page.source(image))), pixels(name))


def test_error_maps_have_fixed_colours(whole_page: Page) -> None:
    maps = [image for image in whole_page.all("img") if image.get("class") == "pixels"]
    assert len(maps) == len(IMAGES) * RESTARTS  # "net" is not spatial
    colours = matplotlib.colormaps["magma"](np.array([[0, 64, 128], [255, 255, 255]]), bytes=True)[..., :3]
    for image in maps:
        np.testing.assert_array_equal(np.asarray(decoded(image["src"]).convert("RGB")), colours)
    [bar] = [image for image in whole_page.all("img") if "Colours" in (image["alt"] or "")]
    ends = np.asarray(decoded(bar["src"]).convert("RGB"))[0, [0, -1]]
    np.testing.assert_array_equal(ends, matplotlib.colormaps["magma"]([0, 255], bytes=True)[:, :3])


def test_numbers_appear(whole_run: tuple[Path, list[dict]], whole_page: Page) -> None:
    for row in whole_run[1]:
        shown = f"rel. error {row['relative_error']:.4f} norm. error {100 * row['normalized_error']:.1f} %"
        assert shown + f" PSNR {row['psnr']:.1f} dB" in whole_page.text
    assert "SSIM 0" not in whole_page.text  # empty in results.csv


def test_table_has_mean_and_deviation_over_pictures_and_restarts(
    whole_run: tuple[Path, list[dict]], whole_page: Page
) -> None:
    for representation, _ in REPRESENTATIONS:
        rows = [row for row in whole_run[1] if row["representation"] == representation]
        relative = np.array([row["relative_error"] for row in rows])
        normalized = 100 * np.array([row["normalized_error"] for row in rows])
        for values, digits in ((relative, 4), (normalized, 1)):
            assert f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}" in whole_page.text


def test_summary_config_environment(whole_page: Page) -> None:
    summary = "2 pictures × 2 representations × 2 restarts = 8 reconstructions"
    for shown in (summary, "What hog and net remember", "5 March 2026, 10:11 UTC", "Abacus <1>", "recipe.steps 20"):
        assert shown in whole_page.text
    assert f"images cat, {HOSTILE}" in whole_page.text
    assert "Missing or damaged" not in whole_page.text


def test_status_is_explained_and_ok_needs_no_badge(whole_run: tuple[Path, list[dict]], whole_page: Page) -> None:
    badges = [span["class"] for span in whole_page.all("span") if (span.get("class") or "").startswith("badge")]
    for status, places in (("ok", 1), ("recovered", 2), ("diverged", 2)):  # the picture's tag and the full table
        count = sum(row["status"] == status for row in whole_run[1])
        in_summary = 0 if status == "ok" else 2  # one per representation
        assert badges.count(f"badge {status}") == places * count + in_summary
        assert page.STATUS[status] in whole_page.text


def test_hostile_names_are_escaped_everywhere(whole_page: Page) -> None:
    assert not whole_page.all("evil")
    assert not any("onload" in attributes for _, attributes in whole_page.tags)
    assert HOSTILE in whole_page.text


def test_page_needs_nothing_else(whole_run: tuple[Path, list[dict]], whole_page: Page) -> None:
    workdir, rows = whole_run
    for _, attributes in whole_page.tags:
        for name in ("src", "href", "xlink:href", "data-full", "srcset", "action", "poster"):
            value = attributes.get(name)
            if value and not value.startswith(("data:", "#")):
                assert name == "href" and (workdir / local(value)).is_file(), value
    text = (workdir / "report.html").read_text()
    for outside in ("http:", "https:", "@import", "<base", "fetch(", str(workdir)):
        assert outside not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{tag[1].get('id')}" for tag in whole_page.tags}
    links = [local(link["href"]) for link in whole_page.all("a")]
    assert list(filter(None, links)) == [row["picture"] for row in rows]


def test_page_is_sound_html(whole_page: Page) -> None:
    ids = [attributes["id"] for _, attributes in whole_page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(image["alt"] for image in whole_page.all("img"))
    [html] = whole_page.all("html")
    assert html["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in whole_page.all("meta"))
    assert (
        {link["href"] for link in whole_page.all("a") if (link["href"] or "").startswith("#")}
        == {
            "#image-1",
            "#image-2",
        }
        <= {f"#{name}" for name in ids}
    )


def test_loss_curves_of_every_term(whole_page: Page) -> None:
    groups = len(IMAGES) * len(REPRESENTATIONS)
    labels = [svg["aria-label"] for svg in whole_page.all("svg")]
    assert labels == [f"{term} by step, logarithmic" for term in ("total", "data", "alpha", "tv")] * groups
    assert whole_page.text.count("zero throughout") == groups  # alpha


def test_same_run_same_page(whole_run: tuple[Path, list[dict]]) -> None:
    workdir = whole_run[0]
    first = report.write(workdir).read_bytes()
    assert report.write(workdir).read_bytes() == first
    assert not list(workdir.glob(".report*"))


# --- variations ------------------------------------------------------------------------------------------------


def test_several_weights_are_groups_with_their_own_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path, ("cat",), lambdas=(0.5, 20.0))
    drawn = []
    monkeypatch.setattr(figures, "loss_curve", lambda lines, prefix: drawn.append(len(lines)) or "")
    shown = written(tmp_path)
    headings = ["hog, λ_TV = 0.5", "hog, λ_TV = 20", "net conv1, λ_TV = 0.5", "net conv1, λ_TV = 20"]
    assert [
        group["data-title"] for group in shown.all("div") if "data-title" in group and "group" in group["class"]
    ] == [f"cat from {heading}" for heading in headings]
    assert drawn == [RESTARTS] * 4 * len(headings)


def test_curves_are_found_when_the_table_has_fewer_digits(tmp_path: Path) -> None:
    rows = make_run(tmp_path, ("cat",), lambdas=(1 / 3,))
    write_rows(tmp_path, [row | {"lambda_tv": "0.3333333"} for row in rows])
    assert not rundir.read(tmp_path).warnings


def test_single_picture_has_no_normalized_error(workdir: Path) -> None:
    run = rundir.read(workdir)
    rows = [vars(row) | {"normalized_error": ""} for row in run.rows if row.image == "cat"]
    write_rows(workdir, rows)
    shown = written(workdir)
    assert "norm. error" not in shown.text and "rel. error" in shown.text
    assert "nan" not in re.sub(r"\w*nan\w+", "", shown.text)


def test_big_runs_embed_thumbnails_and_link_the_files(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "WHOLE_BYTES", 0)
    monkeypatch.setattr(figures, "THUMBNAIL", 8)
    shown = written(workdir)
    thumbnails = [image for image in shown.all("img") if "data-full" in image]
    assert len(thumbnails) == len(IMAGES) * len(REPRESENTATIONS) * (1 + RESTARTS)
    for image in thumbnails:
        small, full = decoded(shown.source(image)), Image.open(workdir / local(image["data-full"]))
        assert small.format == "JPEG" and small.size == (8, 6)
        assert (image["width"], image["height"]) == tuple(map(str, full.size))


def test_incomplete_run_is_called_so(workdir: Path) -> None:
    run = rundir.read(workdir)
    write_rows(workdir, [vars(row) for row in run.rows[:-1]])
    assert "2 pictures × 2 representations × 2 restarts, 7 reconstructions of 8" in written(workdir).text


# --- layers -----------------------------------------------------------------------------------------------------


LAYERS = (("net", "conv1"), ("net", "fire2/concat"), ("net", "relu2+0.5*relu5"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No loss curves, which would take most of the time."""
    monkeypatch.setattr(figures, "loss_curve", lambda lines, prefix: "")


def sheet_images(shown: Page) -> list[dict[str, str | None]]:
    """The pictures of the contact sheets, in order."""
    names = [tag.get("class") for _, tag in shown.tags]
    details = next(place for place, name in enumerate(names) if name and name.startswith("groups"))
    return [tag for name, tag in shown.tags[:details] if name == "img" and "data-of" in tag]


def test_contact_sheets_show_the_best_restart_of_each_layer(tmp_path: Path, undrawn: None) -> None:
    rows = make_run(tmp_path, ("cat", "dog"), representations=(("hog", ""), *LAYERS))
    rows = [
        row | {"relative_error": 0.001} if row["layer"] == "fire2/concat" and row["restart"] else row for row in rows
    ]
    write_rows(tmp_path, rows)
    best = [row for row in rows if row["layer"] and row["restart"] == (row["layer"] == "fire2/concat")]
    shown = written(tmp_path)
    images = sheet_images(shown)
    expected = [f"{row['image']} from net {row['layer']}, the best restart" for row in best]
    expected = ["The original of cat", *expected[:3], "The original of dog", *expected[3:]]
    assert [image["alt"] for image in images] == expected
    stems = ["cat", *(row["picture"] for row in best[:3]), "dog", *(row["picture"] for row in best[3:])]
    for image, stem in zip(images, stems, strict=True):
        np.testing.assert_array_equal(np.asarray(decoded(shown.source(image))), pixels(stem.removesuffix(".png")))
        assert "--stretch" in image["style"]
    links = [link["href"] for link in shown.all("a") if (link["href"] or "").startswith(("#shot", "#original"))]
    assert links == [f"#{image['data-of']}" for image in images]
    assert "fire2/concat λ 0.5, error 0.00100" in shown.text
    assert "2 pictures × 4 representations" in shown.text


def test_a_line_for_each_weight(tmp_path: Path, undrawn: None) -> None:
    rows = make_run(tmp_path, ("cat", "dog"), (0.5, 20.0), LAYERS)
    shown = written(tmp_path)
    assert sum(tag.get("class") == "layers" for tag in shown.all("ul")) == 4
    alts = [image["alt"] for image in sheet_images(shown)]
    assert [place for place, alt in enumerate(alts) if "original" in alt] == [0, 4, 8, 12]
    assert "Errors by layer" in shown.text and len(shown.all("strong")) == len(LAYERS)
    for _, layer in LAYERS:
        errors = [100 * row["normalized_error"] for row in rows if row["layer"] == layer and row["lambda_tv"] == 20]
        assert f"{np.mean(errors):.1f} ± {np.std(errors, ddof=1):.1f}" in shown.text.partition("Errors by layer")[2]
    links = {link["href"] for link in shown.all("a") if (link["href"] or "").startswith("#")}
    ids = [tag["id"] for _, tag in shown.tags if "id" in tag]
    assert links <= {f"#{name}" for name in ids} and len(ids) == len(set(ids))


def test_layers_with_weights_of_their_own_are_one_line(tmp_path: Path, undrawn: None) -> None:
    rows = make_run(tmp_path, ("cat",), representations=LAYERS)
    write_rows(tmp_path, [row | {"lambda_tv": len(row["layer"])} for row in rows])
    shown = written(tmp_path)
    assert len(sheet_images(shown)) == 1 + len(LAYERS)
    assert "1 picture × 3 layers × 2 restarts = 6 reconstructions" in shown.text
    assert "Errors by layer" not in shown.text


def test_contact_sheet_without_original_or_a_picture(tmp_path: Path, undrawn: None) -> None:
    rows = make_run(tmp_path, ("pool5-0",), representations=LAYERS)
    (tmp_path / "images/pool5-0/original.png").unlink()
    (tmp_path / rows[0]["picture"]).unlink()
    (tmp_path / "config.json").write_text(json.dumps({"features": ["pool5.npy"]}))
    shown = written(tmp_path)
    assert [image["alt"] for image in sheet_images(shown)] == [
        f"pool5-0 from net {layer}, the best restart" for _, layer in LAYERS[1:]
    ]
    assert "1 feature × 3 layers" in shown.text and "original.png" not in shown.text
    assert any(tag.get("id") == "shot-0" and tag["class"] == "absent" for tag in shown.all("div"))


def test_nothing_about_layers_where_there_is_only_one(whole_page: Page) -> None:
    assert not sheet_images(whole_page) and not whole_page.all("strong")
    assert "Layer by layer" not in whole_page.text and "Errors by layer" not in whole_page.text


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
    warnings = shown.text.partition("Missing or damaged")[2].partition("Reconstructions")[0]
    assert warnings.count(name) == (2 if name == "history.jsonl" and damage != "missing" else 1)
    assert ("is missing" if damage == "missing" else "damaged") in warnings
    expected = len(IMAGES) * len(REPRESENTATIONS) * RESTARTS - (name == PICTURE)
    assert sum("recovered from" in (image["alt"] or "") for image in shown.all("img")) == expected
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


@pytest.mark.parametrize("picture", ["../secret.png", "{outside}/secret.png", "", "images", "a\0b"])
def test_nothing_outside_the_run_is_shown(workdir: Path, picture: str) -> None:
    Image.fromarray(pixels("secret")).save(workdir.parent / "secret.png")
    run = rundir.read(workdir)
    write_rows(workdir, [vars(run.rows[0]) | {"picture": picture.format(outside=workdir.parent)}])
    shown = written(workdir)
    assert "Missing or damaged" in shown.text
    assert not any("recovered from" in (image["alt"] or "") for image in shown.all("img"))
    assert not shown.all("a")


# --- not a run --------------------------------------------------------------------------------------------------


def test_no_results_is_an_error(tmp_path: Path) -> None:
    for workdir in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=r"not a run directory.*results\.csv"):
            report.write(workdir)
    assert not list(tmp_path.iterdir())


HEADER = ",".join(rundir.COLUMNS)
ROW = "cat,hog,,,,fast,0.5,42,3,0,20,ok,0.01,,17,,1,images/cat/x.png"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no reconstructions"),
        (HEADER.encode(), "no reconstructions"),
        (b"\xff\xfe\x00\x89PNG", "damaged"),
        (b'image,"layer\n', "damaged"),
        (f"{HEADER.replace('status', 'state')}\n{ROW}".encode(), "lacks the column status"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('0.01', 'low')}".encode(), "line 3: relative_error is 'low', not a number"),
        (f"{HEADER}\n{ROW[:20]}".encode(), "line 2: the row ends before the column"),
    ],
)
def test_unusable_results_are_an_error_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "results.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        report.write(tmp_path)
    assert "results.csv" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_earlier_page_survives_a_failure(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report.write(workdir).read_bytes()
    (workdir / "results.csv").write_bytes(b"")
    with pytest.raises(UserError):
        report.write(workdir)
    assert (workdir / "report.html").read_bytes() == before


# --- numbers and curves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0213456, "0.0213"),
        (0.02, "0.0200"),
        (17.234, "17.2"),
        (100.0, "100"),
        (999.7, "1,000"),
        (12345.6, "12,346"),
        (3.2e-7, "3.20e-07"),
        (0.0, "0.00"),
        (-0.123, "−0.123"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert page.number(value) == text


def test_spread() -> None:
    nan = float("nan")
    assert page.spread([0.01, 0.03, nan]) == "0.0200 ± 0.0141"
    assert page.spread([16.0, 18.0]) == "17.0 ± 1.4"
    assert page.spread([0.5, nan]) == "0.500"
    assert page.spread([nan]) == page.spread([]) == "–"


def test_loss_curve_leaves_out_what_a_logarithm_cannot_show() -> None:
    steps = np.arange(4)
    drawn = figures.loss_curve([(steps, np.array([1.0, np.nan, 0.1, 0.0]), "#123456")], "p-")
    [path] = re.findall(r'<path d="([^"]*)"[^>]*#123456', drawn)
    assert path.count("M") == 2  # broken at the NaN
    assert re.findall(r">([^<]+)</text>", drawn)[-2:] == ["0.1", "1"]
    assert "currentColor" in drawn and figures.INK not in drawn and "<metadata" not in drawn
    assert "not finite" in figures.loss_curve([(steps, np.full(4, np.nan), "#123456")], "p-")


@pytest.mark.parametrize(("value", "text"), [(0.01, "0.01"), (1000.0, "1000"), (1e-6, "10⁻⁶"), (1e12, "10¹²")])
def test_power_of_ten(value: float, text: str) -> None:
    assert figures.power_of_ten(value) == text


def test_the_stretch_filter_takes_the_range_to_black_and_white():
    pixels = np.random.default_rng(0).integers(90, 170, (8, 8), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    css = figures.picture(buffer.getvalue(), thumbnail=False).stretch
    brightness, contrast = (float(number) for number in re.findall(r"\((.*?)\)", css))
    brightened = brightness * pixels / 255  # the filters, as CSS defines them, each clipping to 0..1
    assert brightened.max() <= 1
    shown = (brightened - 0.5) * contrast + 0.5
    expected = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    np.testing.assert_allclose(shown, expected, atol=2e-3)
