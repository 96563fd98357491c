"""The grid of pictures, looked at as a PNG: which picture is where, and what is left out."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from invjax import UserError
from invjax.analysis.figures import pictures
from invjax.analysis.figures.canvas import DPI, TEXT_HEIGHT, TEXT_WIDTH
from invjax.analysis.figures.tiles import MOST_SIDE

from .common import BLOCK, colours, make_run, save, write_rows

pytestmark = pytest.mark.usefixtures("png_only")

LAYERS = (("caffenet", "conv1"), ("caffenet", "conv2"), ("caffenet", "relu2"))


def shown(workdir):
    """The pictures of the figure, line by line: colours of nine squares in each, None for a cross."""
    with Image.open(workdir / "figures" / "pictures.png") as file:
        pixels = np.asarray(file.convert("RGB")).astype(int)
    found, _ = ndimage.label((pixels < 250).any(-1), np.ones((3, 3)))
    boxes = [
        box for box in ndimage.find_objects(found) if min(edge.stop - edge.start for edge in box) > 60
    ]  # no letters
    lines = {}
    for rows, columns in sorted(boxes, key=lambda box: (round(box[0].start, -1), box[1].start)):
        tile = pixels[rows, columns]
        crossed = (tile == 255).all(-1).mean() > 0.8
        line = lines.setdefault(round(rows.start, -1), [])
        line.append(None if crossed else squares(tile))
    return list(lines.values())


def squares(tile):
    height, width, _ = tile.shape
    return tile[[height // 6, height // 2, height * 5 // 6]][:, [width // 6, width // 2, width * 5 // 6]]


def colours_of(row):
    fields = ("image", "representation", "layer", "variant", "lambda_tv", "restart")
    return colours(*(row[field] for field in fields))


def assert_shown(workdir, expected):
    actual = shown(workdir)
    assert [len(line) for line in actual] == [len(line) for line in expected]
    for line, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        for column, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert (one is None) == (other is None), (line, column)
            assert other is None or np.abs(one - other).max() <= 2, (line, column)


def find(rows, **wanted):
    """The best reconstruction with these fields."""
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return colours_of(min(found, key=lambda row: row["relative_error"]))


def test_pictures_by_layers_the_original_first(tmp_path):
    rows = make_run(tmp_path, images=("cat", "dog"), features=LAYERS)
    assert pictures.write(tmp_path) == []
    layers = [layer for _, layer in LAYERS]
    assert_shown(
        tmp_path,
        [[colours(image), *(find(rows, image=image, layer=layer) for layer in layers)] for image in ("cat", "dog")],
    )


def test_of_restarts_the_best_is_shown(tmp_path):
    rows = make_run(tmp_path, features=LAYERS[:2], restarts=4)
    pictures.write(tmp_path)
    layers = [layer for _, layer in LAYERS[:2]]
    assert_shown(
        tmp_path, [[colours(i), *(find(rows, image=i, layer=layer) for layer in layers)] for i in ("cat", "dog")]
    )


def test_restarts_side_by_side_where_nothing_else_varies(tmp_path):
    rows = make_run(tmp_path, restarts=3)
    pictures.write(tmp_path)
    assert_shown(tmp_path, [[colours(i), *(find(rows, image=i, restart=r) for r in range(3))] for i in ("cat", "dog")])


def test_columns_of_pictures_have_the_originals_above(tmp_path):
    rows = make_run(tmp_path, features=LAYERS)
    pictures.write(tmp_path, rows="layer", columns="image")
    images = ("cat", "dog")
    lines = [[find(rows, image=image, layer=layer) for image in images] for _, layer in LAYERS]
    assert_shown(tmp_path, [[colours(image) for image in images], *lines])


def test_what_is_on_no_axis_makes_lines_and_keeps_pictures_together(tmp_path):
    rows = make_run(tmp_path, features=LAYERS[:2], lambdas=(0.5, 5.0))
    pictures.write(tmp_path, rows="lambda_tv", columns="layer")
    expected = []
    for image in ("cat", "dog"):
        for weight in (0.5, 5.0):
            line = [find(rows, image=image, lambda_tv=weight, layer=layer) for _, layer in LAYERS[:2]]
            expected.append([colours(image), *line] if weight == 0.5 else line)
    assert_shown(tmp_path, expected)


def test_a_label_is_representation_layer_and_variant(tmp_path):
    rows = make_run(tmp_path, images=("cat",), features=(("hog", ""), ("hogb", "")), variants=("", "recipe=hoggles"))
    rows = [row for row in rows if (row["representation"], row["variant"]) != ("hogb", "recipe=hoggles")]
    write_rows(tmp_path, rows)
    pictures.write(tmp_path, rows="image", columns="label")
    assert_shown(tmp_path, [[colours("cat"), *map(colours_of, rows)]])


def test_layers_in_the_networks_order_go_on_below(tmp_path):
    names = [*(f"conv{n}" for n in range(1, 6)), *(f"relu{n}" for n in range(7, 0, -1)), "pool1", "norm1"]
    rows = make_run(tmp_path, images=("cat",), features=[("caffenet", name) for name in names])
    pictures.write(tmp_path)
    order = ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "conv3"]
    order += ["relu3", "conv4", "relu4", "conv5", "relu5", "relu6", "relu7"]
    found = [find(rows, layer=name) for name in order]
    assert_shown(tmp_path, [[colours("cat"), *found[:7]], [colours("cat"), *found[7:]]])


def test_given_features_have_no_originals(tmp_path):
    rows = make_run(tmp_path, features=LAYERS[:2])
    (tmp_path / "config.json").write_text('{"features": ["f.npy"]}')
    assert pictures.write(tmp_path) == []
    layers = [layer for _, layer in LAYERS[:2]]
    assert_shown(tmp_path, [[find(rows, image=i, layer=layer) for layer in layers] for i in ("cat", "dog")])


def test_pictures_that_cannot_be_read_are_crosses_and_told(tmp_path):
    rows = make_run(tmp_path, features=LAYERS[:2])
    (tmp_path / rows[0]["picture"]).unlink()
    (tmp_path / rows[3]["picture"]).write_bytes(b"\x89PNG and nothing")
    (tmp_path / "images" / "dog" / "original.png").unlink()
    assert sorted(pictures.write(tmp_path)) == [
        "images/cat/0.png is missing: figures/pictures has a cross in its place",
        "images/dog/3.png is damaged: figures/pictures has a cross in its place",
        "images/dog/original.png is missing: figures/pictures has a cross in its place",
    ]
    first = [colours("cat"), None, find(rows, image="cat", layer="conv2")]
    assert_shown(tmp_path, [first, [None, find(rows, image="dog", layer="conv1"), None]])


def test_contrast_is_stretched_and_colours_stay():
    dull = np.random.default_rng(0).integers(90, 140, (5, 6, 3), np.uint8)
    bright = pictures.stretched(dull)
    assert bright.min() == 0 and bright.max() == 255
    expected = (dull - dull.min().astype(float)) / (dull.max() - dull.min().astype(float)) * 255
    np.testing.assert_allclose(bright, expected, atol=0.51)
    np.testing.assert_array_equal(pictures.stretched(dull[:1, :1, :1]), dull[:1, :1, :1])


def test_pictures_keep_their_shape(tmp_path):
    rows = make_run(tmp_path, images=("cat",))
    heights = []
    for width in (BLOCK, 2 * BLOCK):
        for name in (rows[0]["picture"], "images/cat/original.png"):
            save(tmp_path / name, colours(name), rows=BLOCK, columns=width)
        pictures.write(tmp_path)
        assert_shown(tmp_path, [[colours("images/cat/original.png"), colours(rows[0]["picture"])]])
        with Image.open(tmp_path / "figures" / "pictures.png") as file:
            heights.append(file.height)
    assert heights[0] - heights[1] == MOST_SIDE / 2


@pytest.mark.parametrize(
    ("run", "axes", "note"),
    [
        ({"images": tuple("abcdefghij")}, {}, "8 of 10 pictures"),
        ({"images": tuple("abcdef"), "lambdas": (0.5, 5.0, 50.0), "features": LAYERS}, {}, "2 of 6 pictures"),
        ({"restarts": 13}, {}, "12 of 13 restarts"),
        ({"lambdas": tuple(range(1, 23))}, {"rows": "lambda_tv", "columns": "image"}, "20 of 22 lines"),
        ({"images": ("a",), "lambdas": tuple(range(14))}, {}, "12 of 14 values of λ_TV"),
    ],
)
def test_what_has_no_room_is_left_out_and_told(tmp_path, run, axes, note):
    make_run(tmp_path, **run)
    assert pictures.write(tmp_path, **axes) == [f"figures/pictures shows {note}"]
    with Image.open(tmp_path / "figures" / "pictures.png") as file:
        assert file.width <= TEXT_WIDTH * DPI and file.height <= 1.05 * TEXT_HEIGHT * DPI


def test_wrong_axes_are_refused(tmp_path):
    make_run(tmp_path)
    with pytest.raises(UserError, match=r"no rows or columns by 'layers'\. Did you mean layer\?"):
        pictures.write(tmp_path, columns="layers")
    with pytest.raises(UserError, match="must be different fields, both are 'layer'"):
        pictures.write(tmp_path, rows="layer", columns="layer")


COMBINED = {"beta": [1.0], "mask": ["channels 7:8, centre 5x5"]}


@pytest.mark.parametrize(
    ("variant", "config"),
    [
        ("", {"mask": "centre 5x5"}),
        ("beta=1, mask=channels 7:8, centre 5x5", {"mask": "group 1/2", "sweep": COMBINED}),
    ],
)
def test_a_frame_around_what_the_centre_sees(tmp_path, variant, config):
    """White and black beside each other where the box is, on the reconstruction and on the original."""
    rows = make_run(tmp_path, images=("cat",), features=(("caffenet", "conv1"),), variants=(variant,), **config)
    for name in (rows[0]["picture"], "images/cat/original.png"):
        Image.new("RGB", (59, 59), (90, 90, 90)).save(tmp_path / name)
    exact = {"image": np.zeros((59, 59, 3), np.float32), "error_map": np.zeros((13, 13), np.float32)}
    np.savez((tmp_path / rows[0]["picture"]).with_suffix(".npz"), **exact)
    pictures.write(tmp_path, field=False)
    with Image.open(tmp_path / "figures" / "pictures.png") as file:
        plain = np.asarray(file.convert("L")).astype(int)
    pictures.write(tmp_path, field=True)
    with Image.open(tmp_path / "figures" / "pictures.png") as file:
        framed = np.asarray(file.convert("L")).astype(int)[: len(plain)]
    tiles = [box for box in ndimage.find_objects(ndimage.label(plain == 90)[0]) if box[0].stop - box[0].start > 60]
    assert len(tiles) == 2
    for rows, columns in tiles:
        tile, side = framed[rows, columns], rows.stop - rows.start
        changed = np.nonzero(tile != 90)
        # 13 positions; the middle five begin at pixel 4 · 4 and end at 8 · 4 + 11
        for axis in changed:
            np.testing.assert_allclose((axis.min(), axis.max() + 1), np.array([16, 43]) / 59 * side, atol=4)
        assert tile.max() > 200 and tile.min() < 50
