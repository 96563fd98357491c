"""Windows and patches: where they lie, and that they cover the picture."""

import numpy as np
import pytest

from invjax import UserError, masks, representations
from invjax.hoggles import windows
from tests.hoggles.common import feature_of


def loop(array, window):
    """All windows of [h, w, ...], one after the other."""
    rows, columns = array.shape[0] - window + 1, array.shape[1] - window + 1
    return [[array[i : i + window, j : j + window] for j in range(columns)] for i in range(rows)]


def test_windows_of_a_feature():
    feature = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    found = np.moveaxis(windows.feature_windows(feature, 2), 2, -1)
    np.testing.assert_array_equal(found, loop(feature, 2))


@pytest.mark.parametrize("where", [windows.Grid(4), windows.Grid(5, 3)])
def test_patches_go_one_cell_beyond_the_window_and_are_grey_outside(where):
    plane = np.random.default_rng(0).normal(size=(23, 31)).astype(np.float32)
    found = windows.patches(plane, (3, 5), where, 2)
    assert found.shape == (3, 5, 4 * where.cell, 4 * where.cell)
    canvas = np.zeros((100, 100), np.float32)
    canvas[20:43, 20:51] = plane
    for row in range(3):
        for column in range(5):
            top, left = (20 + where.origin + (place - 1) * where.cell for place in (row, column))
            expected = canvas[top : top + 4 * where.cell, left : left + 4 * where.cell]
            np.testing.assert_array_equal(found[row, column], expected)


@pytest.mark.parametrize("name", ["hog", "hogb", "hog_uoctti", "dsift"])
def test_the_middle_of_a_patch_is_the_middle_of_its_cell(name):
    """A dot there changes the features around it evenly, to all sides."""
    phi = representations.get(name)
    where, place = windows.grid(phi), (4, 5)
    rows, columns = np.indices((150, 150), np.float32)
    middle = [windows.patches(plane, (8, 8), where, 1)[place].mean() for plane in (rows, columns)]
    dot = 100 * np.exp(-((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / 8).astype(np.float32)
    energy = np.square(feature_of(phi, dot[..., None])).sum(axis=-1)
    energy[[0, -1]] = energy[:, [0, -1]] = 0  # HOG sees an edge around the picture where it is not 0
    centre = [(energy * index).sum() / energy.sum() for index in np.indices(energy.shape)]
    np.testing.assert_allclose(centre, place, atol=0.02)


@pytest.mark.parametrize("shape", [(64, 64), (67, 93), (71, 64)])
def test_patches_cut_from_a_picture_average_to_the_picture(shape):
    plane = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    where, window = windows.Grid(8), 3
    cut = windows.patches(plane, (shape[0] // 8 - window + 1, shape[1] // 8 - window + 1), where, window)
    np.testing.assert_allclose(windows.averaged(cut, 8, 8, shape), plane, atol=1e-5)


def test_the_middle_of_a_patch_counts_most():
    """Two patches, one above the other: a Gaussian of nine eighths of a cell."""
    drawn = np.stack([np.zeros((12, 12)), np.ones((12, 12))])[:, None]
    column = windows.averaged(drawn, 4, 0, (16, 12))[:, 5]
    distance = np.arange(4, 12)[:, None] - np.array([5.5, 9.5])
    weights = np.exp(-0.5 * (distance / 4.5) ** 2)
    np.testing.assert_allclose(column, [*[0] * 4, *(weights[:, 1] / weights.sum(axis=1)), *[1] * 4])


def test_normalised_rows_forget_brightness_and_contrast():
    rows = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    found = windows.normalised(rows)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(windows.normalised(7 * rows + 3), found, atol=1e-6)
    assert not windows.normalised(np.full((1, 9), 5, np.float32)).any()


def test_what_has_no_cells_is_refused():
    phi = representations.get("hog")
    shape = phi.feature_shape((64, 64, 1))
    for other in (representations.flatten(phi), masks.apply(phi, masks.centre(shape, 3, 3))):
        with pytest.raises(UserError, match="HOGgles inverts hog, hogb, hog_uoctti and dsift"):
            windows.grid(other)
