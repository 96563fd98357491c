"""Makes the pictures of docs/gallery.md: python -m experiments.gallery --workdir out/gallery --hoggles hoggles.npz

Runs the paper's figures of SqueezeNet, whose weights must have been fetched, on public-domain photographs; about half
an hour on two cores, and only what is missing where a run was stopped. Needs `pip install scikit-image`, which has the
photographs, and scikit-learn for HOGgles.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import skimage.data
from PIL import Image

from invjax import cli, images

FIGURES = ("teaser", "layers", "restarts", "tv_lambda", "tv_beta", "locality", "channels", "diversity")
PHOTOGRAPHS = ("chelsea", "coffee", "rocket")  # CC0, of scikit-image; with NASA's astronaut
DOCS = Path(__file__).parent.parent / "docs" / "gallery"
WIDTH = 1400  # pixels
QUALITY = 80


def main() -> None:
    """Runs what is missing and converts the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("out/gallery"))
    parser.add_argument("--hoggles", default="", help="a dictionary of `invjax hoggles train`, to be compared with")
    options = parser.parse_args()
    workdir = options.workdir
    photographs = _photographs(workdir / "photographs")
    for name in FIGURES:
        several = [f"--config.images={photographs}"] if name == "diversity" else []
        _run(f"paper/{name}:squeezenet", workdir / name, several)
        _convert(workdir / name / "figures" / "pictures.png", name)
    _run(f"paper/shallow:{options.hoggles}", workdir / "shallow", [f"--config.images={photographs}"])
    _convert(workdir / "shallow" / "figures" / "pictures.png", "shallow")
    _convert(workdir / "restarts" / "figures" / "distances.png", "distances")


def _run(config: str, workdir: Path, more: list[str]) -> None:
    code = cli.main(["run", config, "--workdir", str(workdir), *more])
    if code:
        raise SystemExit(code)


def _photographs(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.open(images.astronaut()).save(folder / "astronaut.png")
    for name in PHOTOGRAPHS:
        Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")
    return folder


def _convert(figure: Path, name: str) -> None:
    picture = Image.open(figure).convert("RGB")
    picture.thumbnail((WIDTH, 4 * WIDTH), Image.Resampling.LANCZOS)
    DOCS.mkdir(exist_ok=True)
    picture.save(DOCS / f"{name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
