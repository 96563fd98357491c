"""Dense SIFT against VLFeat, against the authors' network in float64, and for cells they never tried."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invjax import UserError
from invjax.representations import get, oriented

from .common import difficult_features_and_gradients, feature_of, picture


def unit(descriptors):
    return descriptors / np.maximum(np.linalg.norm(descriptors, axis=-1, keepdims=True), 1e-12)


def dsift_by_definition(image, cell, orientations):
    """The paper's DSIFT, one pixel at a time; pixel (0, 0) of the gradients is pixel (1, 1) of the picture."""
    plane = image[..., 0].astype(np.float64)
    bins = [(side - 2) // cell - 1 for side in plane.shape]
    cells = np.zeros((*bins, orientations))
    for y, x in np.ndindex(plane.shape[0] - 2, plane.shape[1] - 2):
        gx = (plane[y + 1, x + 2] - plane[y + 1, x]) / 2
        gy = (plane[y + 2, x + 1] - plane[y, x + 1]) / 2
        position = np.arctan2(gy, gx) / (2 * np.pi) * orientations % orientations
        votes = np.zeros(orientations)
        votes[int(position)] += 1 - position % 1
        votes[(int(position) + 1) % orientations] += position % 1
        for i, j in np.ndindex(*bins):
            down = max(0, 1 - abs(y - ((i + 1) * cell - 0.5)) / cell)
            across = max(0, 1 - abs(x - ((j + 1) * cell - 0.5)) / cell)
            cells[i, j] += down * across * np.hypot(gx, gy) * votes
    feature = np.zeros(((bins[0] - 4) // 3 + 1, (bins[1] - 4) // 3 + 1, 4, 4, orientations))
    for row, column, i, j in np.ndindex(feature.shape[:4]):
        weight = np.exp(-((i - 1.5) ** 2 + (j - 1.5) ** 2) / (2 * 1.5**2))
        feature[row, column, i, j] = weight * cells[3 * row + i, 3 * column + j]
    return np.minimum(unit(feature.reshape(*feature.shape[:2], -1)), 0.2)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "camera", "noise", "vramp", "disc", "const", "zero"])
def test_is_the_authors(golden, name):
    arrays = golden(name)
    feature = feature_of(get("dsift"), arrays["image"][..., None])
    np.testing.assert_allclose(feature, arrays["dsift_net"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "camera", "noise"])
@pytest.mark.parametrize("key, bound", [("vl_dsift_sum_of_4", 0.05), ("vl_dsift_at_5_5", 0.25)])
def test_is_nearly_vlfeats(golden, name, key, bound):
    arrays = golden(name)
    ours, theirs = unit(feature_of(get("dsift"), arrays["image"][..., None])), unit(arrays[key])
    assert np.linalg.norm(ours - theirs) < bound * np.linalg.norm(theirs)


@pytest.mark.parametrize("name", ["astronaut", "vramp", "disc"])
def test_cells(golden, name):
    arrays = golden(name)
    expected = arrays["dsift_net_cells"]
    plane = arrays["image"]
    votes = oriented.soft_votes(*oriented.gradients(plane, "crop"), 8)
    cells = np.moveaxis(oriented.pool(votes, 8, (11, 11), 5, 4.5), 0, -1)
    np.testing.assert_allclose(cells, expected, rtol=0, atol=2e-6 * expected.max())


@pytest.mark.parametrize("name", ["astronaut", "noise", "vramp", "disc", "const"])
def test_gradients(golden, name):
    arrays, phi = golden(name), get("dsift")
    weights, expected = arrays["dsift_cotangent"], arrays["dsift_grad"]
    gradient = jax.jit(jax.grad(lambda image: (weights * phi(image)).sum()))(arrays["image"][..., None])[..., 0]
    wrong = np.abs(gradient - expected) > 1e-5 * np.abs(expected).max()
    assert np.isfinite(gradient).all()
    assert not wrong[~arrays["dsift_grad_ambiguous"]].any()


@pytest.mark.parametrize("cell, orientations, shape", [(2, 8, (18, 12)), (3, 5, (17, 27)), (4, 3, (22, 23))])
def test_other_cells_and_orientations(cell, orientations, shape):
    image = picture(shape)
    feature = feature_of(get("dsift", cell=cell, orientations=orientations), image)
    np.testing.assert_allclose(feature, dsift_by_definition(image, cell, orientations), rtol=0, atol=5e-6)


@st.composite
def settings_and_shape(draw):
    phi = get("dsift", cell=draw(st.integers(2, 12)), orientations=draw(st.integers(2, 12)))
    sides = st.integers(phi.input.minimum, phi.input.minimum + 40)
    return phi, (draw(sides), draw(sides))


@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@given(settings_and_shape())
def test_any_cell_orientations_and_size(drawn):
    phi, shape = drawn
    features, gradients = difficult_features_and_gradients(phi, shape, bright=7)
    bins = [(side - 2) // phi.apply.cell - 1 for side in shape]
    expected = ((bins[0] - 4) // 3 + 1, (bins[1] - 4) // 3 + 1, 16 * phi.apply.orientations)
    assert features.shape[1:] == phi.feature_shape((*shape, 1)) == expected
    assert min(expected) > 0
    assert np.isfinite(features).all() and np.isfinite(gradients).all()
    assert features.min() >= 0 and features.max() <= 0.2 + 1e-6


@pytest.mark.parametrize("shape", [(26, 40, 1), (40, 26, 1)])
def test_too_small(shape):
    phi = get("dsift")
    assert phi.feature_shape((27, 27, 1)) == (1, 1, 128)
    with pytest.raises(UserError, match=rf"dsift needs .* at least 27×27 pixels, got {shape[0]}×{shape[1]}"):
        phi(np.zeros(shape, np.float32))


@pytest.mark.parametrize("option", [{"cell": 1}, {"orientations": 1}])
def test_too_small_an_option(option):
    with pytest.raises(UserError, match=r"(cell|orientations) must be a whole number of at least 2"):
        get("dsift", **option)


def test_vmap_is_a_loop():
    phi = get("dsift")
    images = np.stack([picture((42, 30), seed) for seed in range(3)])
    together = jax.jit(jax.vmap(phi))(images)
    np.testing.assert_allclose(together, [feature_of(phi, image) for image in images], rtol=0, atol=1e-6)


def test_jit_changes_nothing():
    phi, image = get("dsift"), picture((42, 30))
    np.testing.assert_allclose(feature_of(phi, image), phi(image), rtol=0, atol=1e-6)


def test_descriptors_are_where_they_should_be():
    """A bright pixel is seen only by the descriptors whose 4×4 bins reach it."""
    image = np.zeros((57, 57, 1), np.float32)
    image[30, 12] = 100
    seen = feature_of(get("dsift"), image).any(axis=-1)
    # descriptor i spans pixels 15i + 0.5 .. 15i + 25.5, and the gradient is one pixel wide
    np.testing.assert_array_equal(seen, [[False, False, False], [True, False, False], [True, False, False]])


def test_nothing_to_soften():
    assert get("dsift").softened(4.0) is None


def test_built_twice_compiles_once():
    compiled = jax.jit(lambda phi, image: phi(image))
    compiled(get("dsift"), picture((27, 27)))
    compiled(get("dsift"), picture((27, 27), seed=1))
    assert compiled._cache_size() == 1
    assert hash(get("dsift").apply) == hash(get("dsift", cell=5).apply)
    assert get("dsift").apply != get("dsift", cell=6).apply
