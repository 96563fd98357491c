"""HOG against VLFeat, against the authors' networks in float64, and for cells and orientations they never tried."""

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from invjax import UserError
from invjax.representations import get

from .common import difficult_features_and_gradients, feature_of, picture

PICTURES = ["astronaut", "coffee", "camera", "noise", "vramp", "disc", "const", "zero"]
WITH_GRADIENTS = ["astronaut", "noise", "vramp", "disc", "const"]
NAMES = ["hog", "hogb", "hog_uoctti"]


def hog_by_definition(image, cell, orientations, bilinear):
    """The paper's HOG, one pixel at a time."""
    padded = np.pad(image[..., 0].astype(np.float64), 1)
    height, width, bins = image.shape[0], image.shape[1], 2 * orientations
    cells = np.zeros((height // cell, width // cell, bins))
    for y, x in np.ndindex(height, width):
        gx = (padded[y + 1, x + 2] - padded[y + 1, x]) / 2
        gy = (padded[y + 2, x + 1] - padded[y, x + 1]) / 2
        position = np.arctan2(gy, gx) / (2 * np.pi) * bins % bins
        votes = np.zeros(bins)
        if bilinear:
            votes[int(position)] += 1 - position % 1
            votes[(int(position) + 1) % bins] += position % 1
        else:
            votes[round(position) % bins] = 1
        for i, j in np.ndindex(cells.shape[:2]):
            down = max(0, 1 - abs(y - (i * cell + (cell - 1) / 2)) / cell)
            across = max(0, 1 - abs(x - (j * cell + (cell - 1) / 2)) / cell)
            cells[i, j] += down * across * np.hypot(gx, gy) * votes
    undirected = cells[..., :orientations] + cells[..., orientations:]
    feature = np.zeros((*cells.shape[:2], 3 * orientations))
    for top, left in np.ndindex(cells.shape[0] - 1, cells.shape[1] - 1):
        norm = np.sqrt(np.sum(undirected[top : top + 2, left : left + 2] ** 2))
        for i, j in np.ndindex(2, 2):
            values = np.concatenate([cells[top + i, left + j], undirected[top + i, left + j]])
            feature[top + i, left + j] += 0.5 * np.minimum(values / norm, 0.2)
    return feature


@pytest.mark.parametrize("name", PICTURES)
def test_hog_is_the_authors(golden, name):
    arrays = golden(name)
    wrong = np.abs(feature_of(get("hog"), arrays["image"][..., None]) - arrays["hog_net"]) > 2e-6
    assert not wrong[~arrays["hog_cells_ambiguous"]].any()


@pytest.mark.parametrize("name", PICTURES)
def test_hogb_is_the_authors(golden, name):
    arrays = golden(name)
    np.testing.assert_allclose(
        feature_of(get("hogb"), arrays["image"][..., None]), arrays["hogb_net"], rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("bilinear, tolerance", [(False, 1e-6), (True, 2e-4)])
def test_uoctti_is_vlfeats(golden, name, bilinear, tolerance):
    arrays = golden(name)
    feature = feature_of(get("hog_uoctti", bilinear=bilinear), arrays["image"][..., None])
    np.testing.assert_allclose(feature, arrays["vl_hogb31" if bilinear else "vl_hog31"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name, bilinear, tolerance", [("hog", False, 1e-6), ("hogb", True, 2e-4)])
@pytest.mark.parametrize("of", ["astronaut", "noise"])
def test_the_paper_hog_is_vlfeats_away_from_the_border(golden, name, bilinear, tolerance, of):
    arrays = golden(of)
    ours = feature_of(get(name), arrays["image"][..., None])[2:-2, 2:-2]
    theirs = arrays["vl_hogb31" if bilinear else "vl_hog31"]
    wrong = np.abs(ours - theirs[2 : 2 + ours.shape[0], 2 : 2 + ours.shape[1], :27]) > tolerance
    assert not wrong[bilinear | ~arrays["hog_cells_ambiguous"][2:-2, 2:-2]].any()


@pytest.mark.parametrize("name", ["hog", "hogb"])
@pytest.mark.parametrize("of", ["vramp", "disc"])  # pictures without near-ties
def test_cells(golden, name, of):
    arrays, phi = golden(of), get(name)
    expected = arrays[f"{name}_net_cells"]
    cells = np.moveaxis(phi.apply.cells({}, arrays["image"][..., None]), 0, -1)
    np.testing.assert_allclose(cells, expected, rtol=0, atol=2e-6 * expected.max())


@pytest.mark.parametrize("name", ["hog", "hogb"])
@pytest.mark.parametrize("of", WITH_GRADIENTS)
def test_gradients(golden, name, of):
    arrays, phi = golden(of), get(name)
    weights, expected = arrays[f"{name}_cotangent"], arrays[f"{name}_grad"]
    gradient = jax.jit(jax.grad(lambda image: (weights * phi(image)).sum()))(arrays["image"][..., None])[..., 0]
    wrong = np.abs(gradient - expected) > 1e-5 * np.abs(expected).max()
    assert np.isfinite(gradient).all()
    assert not wrong[~arrays[f"{name}_grad_ambiguous"]].any()


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("cell, orientations, shape", [(3, 5, (11, 13)), (6, 2, (12, 17)), (2, 12, (7, 5))])
def test_other_cells_and_orientations(cell, orientations, shape, bilinear):
    image = picture(shape)
    feature = feature_of(get("hog", cell=cell, orientations=orientations, bilinear=bilinear), image)
    expected = hog_by_definition(image, cell, orientations, bilinear)
    np.testing.assert_allclose(feature, expected, rtol=0, atol=5e-6)


@st.composite
def settings_and_shape(draw):
    options = {"cell": draw(st.integers(2, 12)), "orientations": draw(st.integers(2, 12))}
    phi = get(draw(st.sampled_from(NAMES)), **options)
    sides = st.integers(phi.input.minimum, phi.input.minimum + 15)
    return phi, (draw(sides), draw(sides))


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(settings_and_shape())
@example((get("hog"), (16, 16)))
@example((get("hogb", cell=2, orientations=2), (4, 4)))
@example((get("hog_uoctti"), (4, 4)))
def test_any_cell_orientations_and_size(drawn):
    phi, shape = drawn
    features, gradients = difficult_features_and_gradients(phi, shape, bright=1)
    cell, bins = phi.apply.cell, phi.apply.orientations
    extra, texture = (cell // 2, 4) if phi.name == "hog_uoctti" else (0, 0)
    rows, columns = ((side + extra) // cell for side in shape)
    assert features.shape[1:] == phi.feature_shape((*shape, 1)) == (rows, columns, 3 * bins + texture)
    assert rows > 0 and columns > 0
    assert np.isfinite(features).all() and np.isfinite(gradients).all()
    assert features.min() >= 0 and features[..., : 3 * bins].max() <= 0.4 + 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("short", [0, 1])
def test_too_small(name, short):
    phi = get(name, cell=10)
    shape = [40, 40, 1]
    shape[short] = phi.input.minimum - 1
    with pytest.raises(UserError, match=rf"{name} needs .* at least {phi.input.minimum}×.* got {shape[0]}×{shape[1]}"):
        phi(np.zeros(shape, np.float32))


def test_colour_is_refused():
    with pytest.raises(UserError, match=r"shape \[H, W, 1\], got \[32, 32, 3\]"):
        get("hog")(np.zeros((32, 32, 3), np.float32))


@pytest.mark.parametrize("option", [{"cell": 1}, {"orientations": 1}, {"cell": 0}, {"orientations": -3}, {"cell": 2.5}])
@pytest.mark.parametrize("name", NAMES)
def test_too_small_an_option(name, option):
    with pytest.raises(UserError, match=r"(cell|orientations) must be a whole number of at least 2"):
        get(name, **option)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_is_a_loop(name):
    phi = get(name)
    images = np.stack([picture((24, 32), seed) for seed in range(3)])
    together = jax.jit(jax.vmap(phi))(images)
    np.testing.assert_allclose(together, [feature_of(phi, image) for image in images], rtol=0, atol=1e-6)


def test_jit_changes_nothing():
    phi, image = get("hog"), picture((24, 32))
    np.testing.assert_allclose(feature_of(phi, image), phi(image), rtol=0, atol=1e-6)


def test_transposed_pictures_have_transposed_features():
    """Angles are measured from +x towards +y: exchanging x and y turns angle a into 90° − a."""
    image = picture((24, 40))
    phi = get("hogb", orientations=4)
    swapped = (2 - np.arange(8)) % 8
    expected = np.swapaxes(feature_of(phi, image), 0, 1)[..., :8][..., swapped]
    actual = feature_of(phi, np.swapaxes(image, 0, 1))[..., :8]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_the_sharpness_of_hogb_is_one():
    image = picture((24, 32))
    np.testing.assert_allclose(
        feature_of(get("hog").softened(1.0), image), feature_of(get("hogb"), image), rtol=0, atol=1e-6
    )


def test_softened_approaches_hard():
    phi, image = get("hog"), picture((40, 40))
    soft = jax.jit(lambda sharpness: phi.softened(sharpness)(image))
    distances = [np.abs(soft(sharpness) - feature_of(phi, image)).max() for sharpness in (1.0, 4.0, 32.0, 1e7)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.01 and distances[-1] < 1e-5


def test_hogb_has_nothing_to_soften():
    assert get("hogb").softened(4.0) is None


def test_built_twice_compiles_once():
    compiled = jax.jit(lambda phi, image: phi(image))
    image = picture((16, 16))
    compiled(get("hog"), image)
    compiled(get("hog"), image)
    assert get("hog").apply == get("hog").apply and hash(get("hog").apply) == hash(get("hog").apply)
    assert compiled._cache_size() == 1
    compiled(get("hog", orientations=8), image)
    assert compiled._cache_size() == 2


def test_another_sharpness_does_not_compile_again():
    compiled = jax.jit(lambda phi, image: phi(image))
    first, second = (compiled(get("hog").softened(sharpness), picture((16, 16))) for sharpness in (1.0, 3.0))
    assert compiled._cache_size() == 1
    assert np.abs(first - second).max() > 0.01
