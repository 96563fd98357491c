"""Runs that nobody has computed: pictures of nine coloured squares, and seeded errors."""

import csv
import itertools
import json

import numpy as np
from PIL import Image

from invjax.runs.store import COLUMNS

BLOCK = 8  # pixels


def colours(*identity):
    """Nine colours that span the full range, so that stretching changes nothing; none is white."""
    found = np.random.default_rng(sum(map(ord, repr(identity)))).integers(0, 200, (3, 3, 3), np.uint8)
    found[0, 0], found[2, 2] = (0, 0, 0), (255, 0, 128)
    return found


def save(path, squares, rows=BLOCK, columns=BLOCK):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(squares.repeat(rows, 0).repeat(columns, 1)).save(path)


def make_run(
    workdir,
    images=("cat", "dog"),
    features=(("hog", ""),),
    variants=("",),
    lambdas=(0.5,),
    restarts=1,
    **config,
):
    """Writes a run directory and returns its rows."""
    workdir.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for image in images:
        save(workdir / "images" / image / "original.png", colours(image))
    every = itertools.product(features, variants, images, lambdas, range(restarts))
    for (representation, layer), variant, image, lambda_tv, restart in every:
        key = {"image": image, "representation": representation, "layer": layer, "variant": variant}
        key |= {"lambda_tv": lambda_tv, "restart": restart}
        picture = f"images/{image}/{len(rows)}.png"
        save(workdir / picture, colours(*key.values()))
        errors = {
            name: float(rng.uniform(0.01, 0.9)) for name in ("relative_error", "normalized_error", "psnr", "ssim")
        }
        if len(images) == 1:
            errors["normalized_error"] = ""
        rest = {
            "weights": "",
            "recipe": "fast",
            "lambda_alpha": 4.5,
            "seed": 3,
            "steps": 20,
            "status": "ok",
            "seconds": 1,
        }
        rows.append(key | rest | errors | {"picture": picture})
    write_rows(workdir, rows)
    (workdir / "config.json").write_text(json.dumps({"recipe": "fast"} | config))
    (workdir / "environment.json").write_text("{}")
    (workdir / "history.jsonl").write_text("")
    return rows


def write_rows(workdir, rows):
    with (workdir / "results.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)


def values(rows, name, **wanted):
    """A measure of the rows that have the wanted fields."""
    return np.array([row[name] for row in rows if all(row[field] == value for field, value in wanted.items())])
