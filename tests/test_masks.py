import dataclasses

import jax
import numpy as np
import pytest

from invjax import Representation, UserError, masks
from invjax.representations import get

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(0, 40, (32, 40, 1)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class TwoParts:
    """The picture's rows and columns summed: a representation with a dict of features."""

    def __call__(self, params, image):
        return {"rows": image.sum((1, 2)), "columns": image.sum((0, 2))}


@jax.jit
def feature_of(phi, image):
    return phi(image)


def kept(mask):
    return sorted(map(tuple, np.argwhere(mask)))


@pytest.mark.parametrize(
    "shape, height, width, rows, columns",
    [
        ((5, 5, 7), 3, 3, (1, 4), (1, 4)),
        ((6, 8, 7), 2, 4, (2, 4), (2, 6)),
        ((6, 5, 7), 5, 2, (0, 5), (1, 3)),  # one row more below, one column more to the right
        ((4, 4, 7), 4, 4, (0, 4), (0, 4)),
    ],
)
def test_centre(shape, height, width, rows, columns):
    mask = masks.centre(shape, height, width)
    assert mask.shape == (*shape[:2], 1) and mask.dtype == np.float32
    assert kept(mask) == [(i, j, 0) for i in range(*rows) for j in range(*columns)]


@pytest.mark.parametrize("height, width", [(0, 1), (1, 0), (-1, 2), (6, 1), (1, 5)])
def test_centre_does_not_fit(height, width):
    with pytest.raises(UserError, match=rf"{height}×{width} does not fit into 5×4"):
        masks.centre((5, 4, 3), height, width)


def test_channels():
    np.testing.assert_array_equal(masks.channels((2, 2, 5), [4, 0, 0]), [1, 0, 0, 0, 1])


@pytest.mark.parametrize("keep", [[], [5], [-1, 0]])
def test_channels_that_do_not_exist(keep):
    with pytest.raises(UserError, match=r"some of 0\.\.4"):
        masks.channels((2, 2, 5), keep)


def test_channel_groups_divide_the_channels():
    groups = [masks.channel_group((3, 3, 6), group, 3) for group in range(3)]
    np.testing.assert_array_equal(groups, np.repeat(np.eye(3), 2, axis=1))
    np.testing.assert_array_equal(masks.channel_group((6,), 1), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("group, groups", [(2, 2), (-1, 2), (0, 4), (0, 0)])
def test_channel_group_that_does_not_exist(group, groups):
    with pytest.raises(UserError, match=f"6 channels have no group {group}, counted from 0, of {groups} equal ones"):
        masks.channel_group((3, 3, 6), group, groups)


def test_apply_keeps_what_the_mask_keeps():
    phi = get("hogb")
    feature = np.asarray(feature_of(phi, IMAGE))
    masked = np.asarray(feature_of(masks.apply(phi, masks.centre(feature.shape, 2, 3)), IMAGE))
    np.testing.assert_array_equal(masked[1:3, 1:4], feature[1:3, 1:4])
    outside = np.ones(feature.shape[:2], bool)
    outside[1:3, 1:4] = False
    assert not masked[outside].any()


def test_masks_combine_by_multiplication():
    phi = get("hogb")
    shape = phi.feature_shape(IMAGE.shape)
    both = masks.centre(shape, 2, 3) * masks.channels(shape, range(9))
    nested = masks.apply(masks.apply(phi, masks.centre(shape, 2, 3)), masks.channels(shape, range(9)))
    np.testing.assert_array_equal(feature_of(masks.apply(phi, both), IMAGE), feature_of(nested, IMAGE))


@pytest.mark.parametrize(
    "text, rows, columns, channels",
    [
        ("centre 1x3", (1, 2), (1, 4), (0, 6)),
        ("group 2/3", (0, 4), (0, 5), (2, 4)),
        ("centre 1x3, channels 4:6", (1, 2), (1, 4), (4, 6)),
        (" channels 4:6,centre 1x3 ", (1, 2), (1, 4), (4, 6)),
        ("group 2/2, centre 4x1", (0, 4), (2, 3), (3, 6)),
        ("group 1/2, centre 2x2, channels 1:5", (1, 3), (1, 3), (1, 3)),
    ],
)
def test_a_text_keeps_what_all_its_parts_keep(text, rows, columns, channels):
    mask = masks.named(text, (4, 5, 6))
    expected = np.zeros((4, 5, 6))
    expected[slice(*rows), slice(*columns), slice(*channels)] = 1
    np.testing.assert_array_equal(np.broadcast_to(mask, (4, 5, 6)), expected)
    assert mask.dtype == np.float32


def test_channels_of_a_vector_combine():
    np.testing.assert_array_equal(masks.named("group 2/2, channels 2:5", (6,)), [0, 0, 0, 1, 1, 0])


@pytest.mark.parametrize(
    "text, message",
    [
        ("middle", "unknown mask 'middle': .*centre 5x5, channels 0:48"),
        ("centre 1x1,", "unknown mask 'centre 1x1,'"),
        ("centre 1x1 channels 0:2", "unknown mask"),
        ("centre 1x1, channels 0/2", "unknown mask"),
        ("centre 1x1, channels 0:2, centre 3x3", "mask 'centre 1x1, channels 0:2, centre 3x3': centre is there twice"),
        ("group 1/2, channels 3:6", "keeps nothing"),
        ("centre 5x1, channels 0:2", "5×1 does not fit into 4×5"),
        ("centre 1x1, channels 4:7", r"some of 0\.\.5"),
    ],
)
def test_a_text_that_is_no_mask_of_the_feature(text, message):
    with pytest.raises(UserError, match=message) as raised:
        masks.named(text, (4, 5, 6))
    assert len(str(raised.value).splitlines()) == 1


def test_a_vector_has_no_centre():
    with pytest.raises(UserError, match=r"does not fit a feature of shape \(6,\)"):
        masks.named("centre 1x1, channels 0:2", (6,))


def test_dict_of_features():
    phi = masks.apply(Representation({}, TwoParts(), "parts"), {"rows": np.zeros(32), "columns": np.ones(40)})
    feature = phi(IMAGE)
    assert not feature["rows"].any()
    np.testing.assert_allclose(feature["columns"], IMAGE.sum((0, 2)), rtol=1e-4, atol=1e-3)


def test_another_mask_does_not_compile_again():
    compiled = jax.jit(lambda phi, image: phi(image))
    features = [compiled(masks.apply(get("hogb"), masks.channels((27,), [k])), IMAGE) for k in (0, 1)]
    assert compiled._cache_size() == 1
    assert features[0][..., 0].any() and not features[1][..., 0].any()


def test_only_kept_cells_have_derivatives():
    phi = get("hogb")
    mask = np.zeros((4, 5, 1), np.float32)
    mask[0, 0] = 1
    gradient = jax.jit(jax.grad(lambda image: masks.apply(phi, mask)(image).sum()))(IMAGE)
    # blocks reach one cell further than the cell, triangles half a cell, differences one pixel
    assert gradient[:20, :20].any() and not gradient[21:].any() and not gradient[:, 21:].any()


def test_softened_under_a_mask():
    mask = masks.centre((4, 5, 27), 2, 2)
    soft = masks.apply(get("hog"), mask).softened(3.0)
    np.testing.assert_allclose(
        feature_of(soft, IMAGE), feature_of(get("hog").softened(3.0), IMAGE) * mask, rtol=0, atol=1e-6
    )
    assert masks.apply(get("hogb"), mask).softened(3.0) is None
    assert masks.apply(Representation({}, TwoParts(), "parts"), {"rows": 1.0, "columns": 1.0}).softened(3.0) is None
