"""Plots: what is drawn where, against NumPy."""

import contextlib
import csv

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from invjax.analysis.figures import canvas, plots
from invjax.analysis.figures.canvas import DPI, TEXT_WIDTH

from .common import make_run, values, write_rows

pytestmark = pytest.mark.usefixtures("png_only")

LAYERS = (("caffenet", "relu2"), ("caffenet", "conv1"), ("caffenet", "pool5"))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written, by name."""
    found, sheet = {}, canvas.sheet

    @contextlib.contextmanager
    def kept(stem, width, height):
        with sheet(stem, width, height) as figure:
            found[stem.name] = figure
            yield figure

    monkeypatch.setattr(canvas, "sheet", kept)
    return found


def points(container):
    """Horizontal places, values and deviations of an errorbar."""
    line, _, bars = container
    places, means = line.get_data(orig=False)
    if not bars:
        return places, means, None
    low, high = np.array([segment[:, 1] for segment in bars[0].get_segments()]).T
    return places, means, (high - low) / 2


def names(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_errors_by_layer(tmp_path, drawn):
    rows = make_run(tmp_path, images=("a", "b", "c"), features=LAYERS, lambdas=(0.5, 5.0), restarts=2)
    assert plots.write(tmp_path) == []
    [axes] = drawn["errors"].axes
    assert names(axes) == ["conv1", "relu2", "pool5"] and axes.get_ylabel() == "normalized error, %"
    for container, weight in zip(axes.containers, (0.5, 5.0), strict=True):
        places, means, deviations = points(container)
        np.testing.assert_array_equal(np.round(places), [0, 1, 2])
        found = [100 * values(rows, "normalized_error", layer=layer, lambda_tv=weight) for layer in names(axes)]
        np.testing.assert_allclose(means, np.mean(found, 1), rtol=1e-6)
        np.testing.assert_allclose(deviations, np.std(found, 1, ddof=1), rtol=1e-6)
    legend = [text.get_text() for text in drawn["errors"].legends[0].get_texts()]
    assert legend == [r"$\lambda_\mathrm{TV}$ 0.5", r"$\lambda_\mathrm{TV}$ 5"]


def test_what_has_no_layers_is_side_by_side(tmp_path, drawn):
    rows = make_run(tmp_path, images=("a",), features=(("hog", ""), ("dsift", ""), ("vgg16", "fc8"), *LAYERS))
    plots.write(tmp_path)
    others, network = sorted(drawn["errors"].axes, key=lambda axes: axes.get_title())
    assert network.get_title() == "caffenet" and len(network.get_xticks()) == 3
    assert [name.replace("\n", " ") for name in names(others)] == ["hog", "dsift", "vgg16 fc8"]
    _, means, deviations = points(others.containers[0])
    found = [values(rows, "relative_error", representation=name)[0] for name in ("hog", "dsift", "vgg16")]
    np.testing.assert_allclose(means, found, rtol=1e-6)
    assert deviations is None and others.containers[0][0].get_linestyle() == "None"
    assert not drawn["errors"].legends


def test_errors_of_different_magnitude_are_logarithmic(tmp_path, drawn):
    rows = make_run(tmp_path, images=("a",), features=LAYERS)
    for scale, expected in ((1, "linear"), (1e-4, "log")):
        for row, error in zip(rows, (0.1 * scale, 0.2, 0.3), strict=True):
            row["relative_error"] = error
        write_rows(tmp_path, rows)
        plots.write(tmp_path)
        assert drawn["errors"].axes[0].get_yscale() == expected


def distances(workdir, rows):
    fields = ("image", "representation", "layer", "variant", "lambda_tv", "of", "at")
    fields += ("normalized_spread", "normalized_error", "spread_by_norm", "error_by_norm")
    with (workdir / "distances.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(fields)
        table.writerows(rows)


def test_distances_at_every_layer(tmp_path, drawn):
    make_run(tmp_path, images=("a", "b"), features=LAYERS[:2], restarts=2)
    at, rng, rows = ("relu2", "inverted", "pixels", "conv1"), np.random.default_rng(0), []
    for image in ("a", "b"):
        for layer in ("conv1", "relu2"):
            for of in ("reconstructions", "ceiling", "floor"):
                for place in at:
                    spread = "" if of == "ceiling" else rng.uniform(0.1, 1)
                    values = spread, rng.uniform(0.1, 1), 7, 7
                    rows.append((image, "caffenet", layer, "", 0.5, of, place, *values))
    distances(tmp_path, rows)
    assert plots.write(tmp_path) == []
    above, below = drawn["distances"].axes
    assert names(below) == ["pixels", "conv1", "relu2"] and names(above) == ["", "", ""]
    for axes, column in ((above, 8), (below, 7)):
        *curves, noise = axes.containers
        for curve, layer in zip(curves, ("conv1", "relu2"), strict=True):
            expected = [
                np.mean([row[column] for row in rows if row[2] == layer and row[5:7] == ("reconstructions", place)])
                for place in names(below)
            ]
            np.testing.assert_allclose(points(curve)[1], expected)
            assert [names(below)[mark] for mark in curve[0].get_markevery()] == [layer]
        floor = [np.mean([row[column] for row in rows if row[5:7] == ("floor", place)]) for place in names(below)]
        np.testing.assert_allclose(points(noise)[1], floor)


@pytest.mark.parametrize("content", ["", "image,spread\n1,2\n", "\x00\xff", 'a,"b'])
def test_damaged_distances_are_told(tmp_path, content):
    make_run(tmp_path)
    (tmp_path / "distances.csv").write_bytes(content.encode("latin1"))
    [note] = plots.write(tmp_path)
    assert note.startswith("distances.csv is damaged: no figures/distances (") and "\n" not in note
    assert (tmp_path / "figures" / "errors.png").exists()


def test_many_curves_and_any_names(tmp_path, drawn):
    names_of_layers = tuple(("net", f"$a_{number}%\\{{") for number in range(41))
    make_run(tmp_path, features=names_of_layers, variants=tuple(f"x=${n}^" for n in range(9)))
    plots.write(tmp_path)
    [axes] = drawn["errors"].axes
    colours = [to_rgba(container[0].get_color()) for container in axes.containers]
    assert len(set(colours)) == 9 and len(axes.get_xticks()) == 21
    with Image.open(tmp_path / "figures" / "errors.png") as file:
        assert file.width <= TEXT_WIDTH * DPI + 1
