"""Run directories made of noise, and what a parser finds on their pages."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from invjax.analysis import page as report
from invjax.runs import store

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
    variants: tuple[str, ...] = ("",),
    restarts: int = RESTARTS,
) -> list[dict[str, Any]]:
    """Writes all files of a run, and returns the rows of its table."""
    rows: list[dict[str, Any]] = []
    histories = []
    for image in images:
        (workdir / "images" / image).mkdir(parents=True)
        Image.fromarray(pixels(image)).save(workdir / f"images/{image}/original.png")
    for image, (representation, layer), variant, lambda_tv, restart in (
        (image, phi, variant, lambda_tv, restart)
        for image in images
        for phi in representations
        for variant in variants
        for lambda_tv in lambdas
        for restart in range(restarts)
    ):
        stem = f"images/{image}/{representation}{layer.replace('/', '-')}{variant}_tv{lambda_tv}_r{restart}"
        Image.fromarray(pixels(stem)).save(workdir / f"{stem}.png")
        spatial = {"error_map": ERROR_MAP} if representation == "hog" else {}
        np.savez(workdir / f"{stem}.npz", image=pixels(stem).astype(np.float32), **spatial)
        number = len(rows)
        identity = {"image": image, "representation": representation, "layer": layer, "variant": variant}
        identity |= {"restart": restart}
        rows.append(
            identity
            | {"recipe": "fast", "lambda_tv": lambda_tv, "lambda_alpha": 42.5, "seed": 3, "steps": 20, "weights": ""}
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


def write_rows(workdir: Path, rows: list[dict[str, Any]]) -> None:
    with (workdir / "results.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(store.COLUMNS))
        table.writeheader()
        table.writerows(rows)


def add_study(workdir: Path, rows: list[dict[str, Any]]) -> None:
    """The files of a study of restarts."""
    (workdir / "restarts.csv").write_text("image,of,spread\ncat,reconstructions,0.123456789\ncat,floor,\n")
    (workdir / "distances.csv").write_text("image,at,spread\ncat,conv1,3\n")
    for row in rows:
        path = workdir / row["picture"].replace(f"_r{row['restart']}.png", "_deviation.png")
        Image.fromarray(pixels(path.name)).save(path)


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, its data, and whether what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def between(self, start: str, end: str) -> str:
        """The text after one and before another."""
        return self.text.partition(start)[2].partition(end)[0]

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def images(self, alt: str) -> list[dict[str, str | None]]:
        return [attributes for attributes in self.all("img") if attributes["alt"] == alt]

    def image(self, place: str | None) -> dict[str, str | None]:
        """The one with this id."""
        [image] = [attributes for attributes in self.all("img") if attributes.get("id") == place]
        return image


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
