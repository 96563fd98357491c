"""From a feature to a picture."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import invjax
from invjax import UserError, hoggles, masks, representations
from invjax.hoggles.codes import encode
from tests.hoggles.common import feature_of, likeness, scene


def test_codes_satisfy_the_conditions_of_the_optimum():
    """Of ½‖x − cD‖² + λ Σc over c ≥ 0: the slope is 0 where c > 0, and not negative where c = 0."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(60, 20)).astype(np.float32) / 6
    rows = rng.normal(size=(8, 20)).astype(np.float32) / 4
    codes = encode(rows, atoms, 0.05)
    slope = (codes @ atoms - rows) @ atoms.T + 0.05
    assert codes.min() == 0 and 2 < np.count_nonzero(codes, axis=1).mean() < 30
    np.testing.assert_allclose(slope[codes > 0], 0, atol=1e-4)
    assert slope.min() > -1e-4


def test_what_was_learned_is_recognised(dictionary, phi, pictures):
    """Far better than by atoms of noise, and than another picture."""
    rng = np.random.default_rng(0)
    noise = dataclasses.replace(
        dictionary,
        patches=rng.normal(size=dictionary.patches.shape).astype(np.float32) / 40,
        features=rng.normal(size=dictionary.features.shape).astype(np.float32) / 22,
        sparsity=0.1,  # atoms of noise are like no window with a larger one
    )

    def error(image, target):
        return np.linalg.norm(feature_of(phi, image) - target) / np.linalg.norm(target)

    for picture, other in zip(pictures, reversed(pictures), strict=True):
        target = feature_of(phi, picture)
        found = hoggles.invert(dictionary, phi, target, picture.shape)
        drawn_of_noise = hoggles.invert(noise, phi, target, picture.shape)
        assert likeness(found, picture) > 0.6 > 0.3 > likeness(drawn_of_noise, picture)
        assert error(found, target) < 0.85 * min(error(drawn_of_noise, target), error(other, target))


def test_a_picture_that_was_not_learned(dictionary, phi):
    picture = scene(99)
    assert likeness(hoggles.invert(dictionary, phi, feature_of(phi, picture), picture.shape), picture) > 0.4


def test_the_defaults_are_the_strongest_on_a_photograph(phi):
    """Drawn of one half of it, the error of HOG on the other half: no weaker than other λ, or than atoms learned."""
    with Image.open(Path(invjax.__file__).parent / "data" / "astronaut.jpg") as photograph:
        image = np.asarray(photograph.convert("L"), np.float32)[..., None] - 128
    held_out = [image[top : top + 128, 256:384] for top in (0, 128)]

    def error(**options):
        made = hoggles.train([image[:, :256]], phi, window=3, atoms=150, windows=1500, **options)
        targets = [feature_of(phi, picture) for picture in held_out]
        drawn = [feature_of(phi, hoggles.invert(made, phi, target, (128, 128, 1))) for target in targets]
        return np.linalg.norm(np.subtract(drawn, targets)) / np.linalg.norm(targets)

    found = error()
    assert found < 0.95 * error(passes=2, sparsity=0.1)
    assert all(found < 1.01 * error(passes=0, sparsity=sparsity) for sparsity in (0.05, 0.1, 0.3))


@pytest.mark.parametrize("shape", [(24, 24, 1), (88, 96, 1), (77, 99, 1)])
def test_the_whole_picture_is_drawn(dictionary, phi, shape):
    """In grey levels around the mean, to the last row and column."""
    found = hoggles.invert(dictionary, phi, feature_of(phi, scene(99, *shape[:2])), shape)
    assert found.shape == shape and found.dtype == np.float32 and np.isfinite(found).all()
    assert abs(found.mean()) < 1e-3
    assert found.std() == pytest.approx(dictionary.contrast, rel=1e-4)
    for edge in (found[0], found[-1], found[:, 0], found[:, -1]):
        assert edge.std() > 0.1 * dictionary.contrast


def test_contrast_and_brightness_do_not_matter(dictionary, phi, pictures):
    """Nor do they to HOG, away from the edge around the picture."""
    target = feature_of(phi, pictures[0])
    found = hoggles.invert(dictionary, phi, target, pictures[0].shape)
    np.testing.assert_allclose(hoggles.invert(dictionary, phi, 0.3 * target, pictures[0].shape), found, atol=0.1)


def test_the_same_again(dictionary, phi, pictures):
    target = feature_of(phi, pictures[0])
    before = target.copy()
    first, second = (hoggles.invert(dictionary, phi, target, pictures[0].shape) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(target, before)


@pytest.mark.parametrize("name, window", [("hogb", 3), ("hog_uoctti", 3), ("dsift", 2)])
def test_other_representations(name, window):
    phi, pictures = representations.get(name, cell=5), [scene(seed, 108, 113) for seed in range(2)]
    dictionary = hoggles.train(pictures, phi, window=window, atoms=80, passes=0)
    found = hoggles.invert(dictionary, phi, feature_of(phi, pictures[0]), pictures[0].shape)
    assert np.isfinite(found).all() and likeness(found, pictures[0]) > 0.6


def test_what_it_was_not_learned_for_is_refused(dictionary, phi, pictures):
    for other, message in (
        (representations.get("hogb"), "the dictionary is of hog .*, not of hogb"),
        (representations.get("hog", cell=6), "cell 8.*, not of hog .cell 6"),
        (masks.apply(phi, np.ones(27, np.float32)), "without a mask"),
    ):
        with pytest.raises(UserError, match=message):
            hoggles.invert(dictionary, other, feature_of(other, pictures[0]), pictures[0].shape)


@pytest.mark.parametrize(
    "feature, shape, message",
    [
        (np.ones((2, 3, 27), np.float32), (16, 24, 1), "has 2×3 cells of hog, fewer than .* 3×3"),
        (np.ones((5, 5, 27), np.float32), (64, 64, 1), "the target has"),
        (np.zeros((8, 8, 27), np.float32), (64, 64, 1), "all zero"),
        (np.full((8, 8, 27), np.nan, np.float32), (64, 64, 1), "not finite"),
        (np.ones((8, 8, 27), np.float32), (64, 64, 1), "no atom of the dictionary is like this feature"),
    ],
)
def test_features_that_cannot_be_inverted(dictionary, phi, feature, shape, message):
    with pytest.raises(UserError, match=message) as caught:
        hoggles.invert(dictionary, phi, feature, shape)
    assert "\n" not in str(caught.value)
