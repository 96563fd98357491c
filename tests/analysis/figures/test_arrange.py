"""Titles and names in the grid of pictures, and how long names are broken."""

import pytest

from invjax import read_results
from invjax.analysis.figures.arrange import arrange, bands
from invjax.analysis.figures.canvas import text, wrapped

from .common import make_run, write_rows

LAYERS = (("caffenet", "relu2"), ("caffenet", "conv1"))
SHALLOW = (("hog", ""), ("dsift", ""))


@pytest.mark.parametrize(
    ("run", "columns", "names", "common"),
    [
        ({"features": LAYERS}, ["conv1", "relu2"], [""], ["caffenet", "λ_TV 0.5"]),
        ({"features": SHALLOW, "restarts": 3}, ["hog", "dsift"], [""], ["λ_TV 0.5", "best of 3 restarts"]),
        ({"features": (*SHALLOW, *LAYERS)}, ["hog", "dsift", "conv1", "relu2"], [""], ["λ_TV 0.5"]),
        ({"features": (("hog", ""), LAYERS[0])}, ["hog", "caffenet relu2"], [""], ["λ_TV 0.5"]),
        ({"restarts": 2}, ["restart 0", "restart 1"], [""], ["hog", "λ_TV 0.5"]),
        ({"lambdas": (0.5, 50.0)}, ["λ_TV 0.5", "λ_TV 50"], [""], ["hog"]),
        ({"variants": ("beta=1", "beta=2")}, ["beta=1", "beta=2"], [""], ["hog", "λ_TV 0.5"]),
        (
            {"features": LAYERS, "variants": ("a=1", "a=2")},
            ["conv1", "relu2"],
            ["a=1", "a=2"],
            ["caffenet", "λ_TV 0.5"],
        ),
        ({}, ["hog"], [""], ["λ_TV 0.5"]),
    ],
)
def test_what_goes_across_where_nothing_is_said(tmp_path, run, columns, names, common):
    make_run(tmp_path, images=("cat",), **run)
    grid = arrange(read_results(tmp_path))
    assert grid.columns == columns
    assert [line.name for line in grid.lines] == names
    assert grid.common == common and grid.omitted == []
    assert {line.image for line in grid.lines} == {"cat"}


def test_a_label_is_representation_layer_and_variant(tmp_path):
    rows = make_run(tmp_path, features=(("hog", ""), *LAYERS), variants=("", "recipe=paper"))
    write_rows(tmp_path, [row for row in rows if row["representation"] == "hog" or not row["variant"]])
    grid = arrange(read_results(tmp_path), rows="image", columns="label")
    assert grid.columns == ["hog", "hog, recipe=paper", "caffenet relu2", "caffenet conv1"]


def test_pictures_are_named_where_they_are_not_shown(tmp_path):
    make_run(tmp_path, lambdas=(0.5, 5.0), features=LAYERS)
    lines = arrange(read_results(tmp_path), named=True).lines
    assert [line.name for line in lines] == [f"{i}, λ_TV {weight}" for i in ("cat", "dog") for weight in (0.5, 5)]
    assert arrange(read_results(tmp_path), rows="layer", columns="image", named=True).columns == ["cat", "dog"]


@pytest.mark.parametrize("columns", [1, 11, 12, 13, 25, 40])
def test_bands_are_of_about_the_same_size(columns):
    parts = bands(columns)
    sizes = [part.stop - part.start for part in parts]
    assert sum(sizes) == columns and max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-columns // 12)


@pytest.mark.parametrize(
    ("name", "letters", "lines", "expected"),
    [
        ("fire4/concat", 12, 3, ["fire4/concat"]),
        ("fire4/concat", 8, 3, ["fire4/", "concat"]),
        ("relu_conv_final", 5, 2, ["relu_", "conv…"]),
        ("options.cell=6, λ_TV 0.5", 12, 3, ["options.", "cell=6, λ_TV", "0.5"]),
        ("0.5*relu5+relu2", 10, 3, ["0.5*relu5+", "relu2"]),
        ("n02099429", 5, 3, ["n020…"]),
        ("", 5, 3, [""]),
    ],
)
def test_long_names_are_broken_behind_separators(name, letters, lines, expected):
    assert wrapped(name, letters, lines) == expected


def test_only_λ_is_mathematics():
    assert text("$x_1$, λ_TV 5") == r"\$x_1\$, $\lambda_\mathrm{TV}$ 5"
