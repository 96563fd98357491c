"""The page in a real browser: clicks, keys, the divider, links, a phone, darkness, and that nothing leaves the page.

Needs Playwright and a Chromium or Chrome of the system, such as Debian's package chromium.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from invjax.analysis import page as report
from invjax.analysis.page import items as album
from tests.analysis.page.synthetic import HOSTILE, add_study, make_run, pixels, write_rows

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome here")

LAYERS = (("net", "conv1"), ("net", "fire2/concat"), ("net", "pool5"))
WEIGHTS = (0.5, 5.0)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        # a sandbox cannot be made by root, nor in most containers; the page is our own
        yield (launched := driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"]))
        launched.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows]:
    workdir = tmp_path_factory.mktemp("runs") / "run"
    rows = make_run(workdir, lambdas=WEIGHTS, representations=(("hog", ""), *LAYERS))
    frames = [Image.fromarray(pixels(number)) for number in range(3)]
    frames[0].save((workdir / rows[0]["picture"]).with_suffix(".webp"), save_all=True, append_images=frames[1:])
    add_study(workdir, rows[:2])
    whole, album.WHOLE_BYTES = album.WHOLE_BYTES, 0  # thumbnails, and files that are loaded when they are shown
    report.write(workdir)
    album.WHOLE_BYTES = whole
    return workdir, rows


class Tab:
    """A tab with the page, which notes what goes wrong and what is asked for."""

    def __init__(self, browser: Any, path: Path, hash: str = "", **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.context.set_default_timeout(5000)
        self.page = self.context.new_page()
        self.folder = path.parent
        self.troubles: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri() + hash)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    @property
    def title(self) -> str:
        return str(self.page.locator("#shown-title").inner_text()).replace("\n", "")

    @property
    def hash(self) -> str:
        return unquote(urlsplit(self.page.url).fragment.replace("+", " "))

    def choose(self, legend: str, name: str) -> None:
        self.page.get_by_role("group", name=legend).get_by_role("radio", name=name, exact=True).check(force=True)

    def until(self, condition: str) -> None:
        """Waits for it to be true; Playwright's own way needs eval, which the page forbids."""
        for _ in range(100):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(condition)

    def divided_at(self) -> float:
        """Where the divider is drawn, as a part of the width."""
        stage, line = (self.page.locator(name).bounding_box() for name in (".viewer", ".divider"))
        return float((line["x"] + line["width"] / 2 - stage["x"]) / stage["width"])

    def shown_pixels(self, selector: str) -> np.ndarray:
        """What an image holds, loaded and decoded."""
        size, values = self.page.evaluate(
            """async (selector) => {
                const image = document.querySelector(selector);
                await image.decode();
                return [[image.naturalHeight, image.naturalWidth], image.getAttribute("src").slice(0, 200)];
            }""",
            selector,
        )
        path = self.folder / unquote(values)
        assert size == [12, 16]
        return np.asarray(Image.open(path))


@pytest.fixture
def tab(browser: Any, run: tuple[Path, Rows]) -> Iterator[Tab]:
    """The page at 1280 pixels; whatever a test does there, it stays quiet and asks only for files beside it."""
    opened = Tab(browser, run[0] / "report.html")
    yield opened
    assert not opened.troubles
    allowed = (f"{run[0].as_uri()}/", "data:")
    assert opened.requests and not [url for url in opened.requests if not url.startswith(allowed)]
    opened.context.close()


def picture(run: tuple[Path, Rows], **wanted: Any) -> str:
    """The file of a reconstruction."""
    [row] = [row for row in run[1] if all(row[name] == value for name, value in wanted.items())]
    return str(row["picture"])


def test_first_reconstruction(tab: Tab, run: tuple[Path, Rows]) -> None:
    assert tab.title == "cat from hog, λTV 0.5, restart 0"
    np.testing.assert_array_equal(tab.shown_pixels(".viewer .original"), pixels("cat"))
    shown = tab.shown_pixels(".viewer .recovered")
    np.testing.assert_array_equal(shown, pixels(run[1][0]["picture"].removesuffix(".png")))
    assert "relative error\n0.0100" in tab.locator("#shown-numbers").inner_text()
    assert tab.locator("#error-map").is_visible() and not tab.locator("#gallery .tiles").first.is_visible()


def test_choices_by_clicks(tab: Tab, run: tuple[Path, Rows]) -> None:
    tab.choose("representation", "net fire2/concat")
    tab.choose("λTV", "5")
    tab.choose("restart", "1")
    tab.choose("picture", HOSTILE)
    assert tab.title == f"{HOSTILE} from net fire2/concat, λTV 5, restart 1"
    wanted = {"image": HOSTILE, "layer": "fire2/concat", "lambda_tv": 5.0, "restart": 1}
    np.testing.assert_array_equal(
        tab.shown_pixels(".viewer .recovered"), pixels(picture(run, **wanted).removesuffix(".png"))
    )
    assert tab.hash == f"image={HOSTILE}&representation=net fire2/concat&lambda_tv=5&restart=1"
    assert tab.locator("#announcement").inner_text().startswith(f"Showing {HOSTILE} from net fire2/concat")
    assert not tab.locator("#error-map").is_visible()  # a feature without positions
    png, npz = (tab.get_by_role("link", name=name).get_attribute("href") for name in ("full picture", "exact numbers"))
    assert unquote(png) == picture(run, **wanted) and unquote(npz) == picture(run, **wanted).replace(".png", ".npz")


def test_choices_by_keys(tab: Tab) -> None:
    tab.get_by_role("group", name="representation").get_by_role("radio", checked=True).focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert tab.title == "cat from net fire2/concat, λTV 0.5, restart 0"
    tab.keyboard.press("Tab")
    tab.keyboard.press("ArrowRight")
    assert tab.title == "cat from net fire2/concat, λTV 5, restart 0"


def test_the_divider_follows_the_mouse_and_the_keys(tab: Tab) -> None:
    box = tab.locator(".viewer").bounding_box()
    assert tab.divided_at() == pytest.approx(0.5, abs=0.01)
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 0.5 * box["width"], middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.25 * box["width"], middle, steps=5)
    tab.mouse.up()
    assert tab.divided_at() == pytest.approx(0.25, abs=0.01)
    slider = tab.get_by_role("slider")
    slider.press("End")
    assert tab.divided_at() == pytest.approx(1, abs=0.01)
    slider.press("ArrowLeft")
    assert tab.divided_at() == pytest.approx(0.99, abs=0.005)
    assert slider.get_attribute("aria-valuetext") == "99 % original, 1 % recovered"
    clipped = tab.evaluate("getComputedStyle(document.querySelector('.viewer .original')).clipPath")
    assert clipped.startswith("inset(") and "1%" in clipped  # from the right


def test_cells_of_the_heat_map_lead_to_pictures(tab: Tab) -> None:
    tab.choose("restart", "1")
    tab.locator(".heat a").nth(5).click()
    assert tab.title == "cat from net fire2/concat, λTV 5, restart 1"
    assert tab.evaluate("document.activeElement.id") == "explorer-title"
    tab.until("Math.abs(document.getElementById('explorer').getBoundingClientRect().top) < 100")
    tab.go_back()
    assert tab.title == "cat from hog, λTV 0.5, restart 1"


def test_restarts_and_layers_side_by_side(tab: Tab) -> None:
    restarts = tab.locator("#restarts li")
    assert restarts.all_inner_texts() == [
        "original",
        "restart 0\nerror 0.0100",
        "restart 1\nerror 0.0110 recovered",
        "deviation over restarts",
    ]
    restarts.nth(2).locator("a").click()
    assert tab.title.endswith("restart 1")
    assert tab.evaluate("document.activeElement.textContent") == "restart 1"  # the keyboard goes on from there
    tab.locator("#sheet li a").filter(has_text="pool5").last.click()
    assert tab.title == "cat from net pool5, λTV 5, restart 0"  # the best one
    assert tab.locator("#sheet [aria-current]").count() == 1


def test_links_lead_to_a_reconstruction(browser: Any, run: tuple[Path, Rows]) -> None:
    for hash, title in (
        ("#representation=net%20pool5&lambda_tv=5&restart=1", "cat from net pool5, λTV 5, restart 1"),
        ("#restart=1", "cat from hog, λTV 0.5, restart 1"),
        ("#restart=7&toString=1&__proto__=2&representation=nothing", "cat from hog, λTV 0.5, restart 0"),
        ("#%E0%A4%A", "cat from hog, λTV 0.5, restart 0"),
    ):
        tab = Tab(browser, run[0] / "report.html", hash)
        assert tab.title == title and not tab.troubles
        tab.context.close()


def test_a_changed_link_is_followed(tab: Tab) -> None:
    tab.evaluate("location.hash = '#representation=net%20conv1&restart=1'")
    tab.until("document.getElementById('shown-title').textContent.includes('conv1')")
    assert tab.title == "cat from net conv1, λTV 0.5, restart 1"


def test_contrast_and_colours_of_errors(tab: Tab) -> None:
    filters = "getComputedStyle(document.querySelector('.viewer .recovered')).filter"
    assert "brightness" in tab.evaluate(filters)
    tab.get_by_label("Stretch contrast").uncheck()
    assert tab.evaluate(filters) == "none"
    canvas = """[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 3, 2).data]"""
    colours = np.reshape(tab.evaluate(canvas), (2, 3, 4))
    import matplotlib

    expected = matplotlib.colormaps["magma"](np.array([[0, 64, 128], [255, 255, 255]]), bytes=True)
    np.testing.assert_array_equal(colours, expected)
    assert tab.locator("canvas").get_attribute("aria-label").endswith("largest 1 or more")
    tab.get_by_label("colours up to the largest").check()
    assert tab.locator("#map-top").inner_text() == "1"


def test_loss_curves(tab: Tab) -> None:
    charts = tab.locator("#curves svg")
    labels = [chart.get_attribute("aria-label") for chart in charts.all()]
    assert labels == [
        "total by step, logarithmic: from 2 to 0.3",
        "data by step, logarithmic: from 1.5 to 0.2",
        "alpha by step, logarithmic: from 0 to 0",
        "tv by step, logarithmic: from 0.1 to 2",
    ]
    assert "zero throughout" in charts.nth(2).text_content()
    paths = charts.nth(1).locator("path")
    assert [path.get_attribute("class") for path in paths.all()] == ["faint", "strong"]  # the one shown on top
    assert charts.nth(0).locator("path").first.get_attribute("d").count("M") == 2  # broken at the NaN
    # data falls from 1.5 to 0.2 between 0.1 and 10, of which the axis is 130 units high
    heights = [float(point.split()[1]) for point in paths.last.get_attribute("d")[1:].replace("h0", "").split("L")]
    np.testing.assert_allclose(heights, 138 - 65 * (np.log10([1.5, 0.9, 0.2]) + 1), atol=0.06)
    tab.get_by_text("The curves in numbers").click()
    table = [row.split("\t") for row in tab.locator("#curves table").inner_text().splitlines()]
    assert [[cell.strip() for cell in row] for row in table] == [
        ["step", "total", "data", "alpha", "tv"],
        ["0", "2", "1.5", "0", "0.1"],
        ["10", "–", "0.9", "0", "1"],
        ["20", "0.3", "0.2", "0", "2"],
    ]


def test_the_movie_plays_on_demand(tab: Tab) -> None:
    source = "document.querySelector('.viewer .recovered').getAttribute('src')"
    button = tab.get_by_role("button", name="Play the descent")
    assert not tab.evaluate(source).endswith(".webp")
    button.click()
    assert tab.evaluate(source).endswith(".webp")
    tab.get_by_role("button", name="Stop the descent").click()
    assert not tab.evaluate(source).endswith(".webp")
    tab.choose("restart", "1")
    assert not tab.get_by_role("button").count()


def test_pictures_of_the_gallery_lead_to_the_explorer(tab: Tab) -> None:
    tab.locator("#gallery summary").click()
    tab.locator("#gallery").get_by_role("link", name="cat recovered from net pool5, λ_TV 5, restart 1").click()
    assert tab.title == "cat from net pool5, λTV 5, restart 1"


def test_everything_is_reached_by_tab_and_left_again(tab: Tab) -> None:
    """No keyboard trap: Tab goes on until the end of the page, and whatever has the focus shows it."""
    seen = []
    tab.keyboard.press("Tab")
    for _ in range(200):
        place = tab.evaluate(
            """() => {
                const active = document.activeElement;
                return active === document.body ? null : [active.tagName, active.type ?? "", active.className];
            }"""
        )
        if place is None:
            break
        seen.append(place)
        tab.keyboard.press("Tab")
    assert place is None
    kinds = {(tag, kind) for tag, kind, _ in seen}
    assert {("INPUT", "radio"), ("INPUT", "range"), ("INPUT", "checkbox"), ("SUMMARY", "")} <= kinds
    assert sum(tag == "A" for tag, *_ in seen) >= len(LAYERS) * len(WEIGHTS)


def test_names_for_those_who_do_not_see(tab: Tab) -> None:
    nameless = tab.evaluate(
        """() => {
            const name = (e) => e.getAttribute("aria-label") || e.getAttribute("alt") || e.textContent.trim()
                || e.querySelector("img")?.alt || (e.closest("label") && name(e.closest("label")));
            return [...document.querySelectorAll("input, select, a, button, canvas, svg, img, fieldset, summary")]
                .filter((e) => e.getClientRects().length && !name(e)).map((e) => e.outerHTML.slice(0, 200));
        }"""
    )
    assert not nameless
    assert tab.get_by_role("slider", name="Divider between the original").count() == 1
    assert tab.get_by_role("status").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_width_needs_scrolling_and_text_can_be_read(browser: Any, run: tuple[Path, Rows], scheme: str) -> None:
    tab = Tab(browser, run[0] / "report.html", color_scheme=scheme)
    tab.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    for width in (360, 390, 768, 1280):
        tab.set_viewport_size({"width": width, "height": 780})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert not tab.evaluate(CONTRAST) and not tab.troubles
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part < 60)")
    assert dark == (scheme == "dark")
    tab.context.close()


# WCAG 2.2, 1.4.3: text against the nearest ground behind it, at least 4.5 to 1
CONTRAST = """() => {
    const parts = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
    const light = (color) => parts(color).slice(0, 3).map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
    const solid = (color) => (parts(color)[3] ?? 1) >= 0.99;
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (solid(color)) return color;
        }
        return "rgb(255, 255, 255)";
    };
    const poor = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        const style = getComputedStyle(element);
        if (!own || !element.getClientRects().length || element.closest(".tag, script, svg")) continue;
        const [ink, back] = [light(style.color), light(ground(element))];
        const ratio = (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
        if (ratio < 4.5) poor.push([element.outerHTML.slice(0, 120), ratio]);
    }
    return poor;
}"""


def test_a_page_without_its_pictures_shows_thumbnails(browser: Any, run: tuple[Path, Rows], tmp_path: Path) -> None:
    tab = Tab(browser, Path(shutil.copy(run[0] / "report.html", tmp_path)))
    tab.until("alone")
    asked = len(tab.requests)
    tab.choose("restart", "1")
    assert tab.evaluate("document.querySelector('.viewer .recovered').naturalWidth") == 16
    assert len([url for url in tab.requests[asked:] if url.startswith("file:")]) == 0  # it does not try again
    tab.context.close()


def test_without_scripts_pictures_and_tables_are_there(browser: Any, run: tuple[Path, Rows]) -> None:
    tab = Tab(browser, run[0] / "report.html", java_script_enabled=False)
    assert not tab.locator("#explorer").is_visible() and tab.locator(".heat").is_visible()
    assert "needs JavaScript" in tab.locator("noscript p").inner_text()
    assert tab.get_by_role("img", name="cat recovered from hog, λ_TV 0.5, restart 1").is_visible()
    tab.context.close()


def test_features_without_a_picture(browser: Any, tmp_path: Path) -> None:
    make_run(tmp_path, ("pool5-0",))
    (tmp_path / "config.json").write_text('{"features": ["pool5.npy"]}')
    tab = Tab(browser, report.write(tmp_path))
    assert tab.get_by_text("There is no original: the feature came without one").is_visible()
    assert not tab.get_by_role("slider").count() and tab.locator(".viewer .recovered").is_visible()
    assert tab.locator("#restarts li").count() == 2 and not tab.troubles
    tab.context.close()


def test_missing_files(browser: Any, tmp_path: Path) -> None:
    rows = make_run(tmp_path)
    (tmp_path / rows[0]["picture"]).unlink()
    (tmp_path / "images/cat/original.png").unlink()
    (tmp_path / "history.jsonl").unlink()
    tab = Tab(browser, report.write(tmp_path))
    assert tab.get_by_text("the picture is missing or damaged").is_visible()
    assert tab.get_by_text("The original is missing or damaged").is_visible()
    assert not tab.locator(".viewer").is_visible() and not tab.locator("#curves").is_visible()
    tab.choose("restart", "1")
    assert tab.locator(".viewer .recovered").is_visible() and not tab.get_by_role("slider").count()
    tab.get_by_role("group", name="picture").get_by_role("radio").nth(1).check(force=True)
    assert tab.get_by_role("slider").count() == 1 and not tab.troubles
    tab.context.close()


def test_several_runs(browser: Any, run: tuple[Path, Rows], tmp_path: Path) -> None:
    other = Path(shutil.copytree(run[0], tmp_path / "other"))
    page = report.write([run[0], other], tmp_path / "pages" / "compared.html")
    tab = Tab(browser, page)
    tab.choose("run", "other")
    assert tab.title == "cat from hog, other, λTV 0.5, restart 0"
    files = [unquote(urlsplit(url).path) for url in tab.requests if url.startswith("file:")]
    assert all(os.path.realpath(path).startswith(os.path.realpath(run[0].parent.parent)) for path in files)
    tab.locator(".heat a").nth(0).click()
    assert "hog, run, " in tab.title and not tab.troubles
    tab.context.close()


def test_choices_that_exclude_each_other(browser: Any, tmp_path: Path) -> None:
    """A layer that was inverted with one λ_TV only: choosing another layer's λ_TV goes to that layer."""
    rows = make_run(tmp_path, ("cat",), WEIGHTS, LAYERS[:2], restarts=1)
    write_rows(tmp_path, [row for row in rows if (row["layer"], row["lambda_tv"]) != ("conv1", 5.0)])
    tab = Tab(browser, report.write(tmp_path))
    dimmed = tab.locator(".elsewhere").all_inner_texts()
    assert dimmed == ["5"]
    tab.choose("λTV", "5")
    assert tab.title == "cat from net fire2/concat, λTV 5, restart 0"
    assert tab.get_by_role("radio", name="fire2/concat").is_checked() and not tab.troubles
    tab.context.close()
