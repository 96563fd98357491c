"""From pictures to a dictionary."""

import numpy as np
import pytest

from invjax import UserError, hoggles, representations
from invjax.hoggles.windows import normalised
from tests.hoggles.common import feature_of, scene


def test_atoms(dictionary):
    assert dictionary.patches.shape == (150, 40 * 40) and dictionary.features.shape == (150, 27 * 9)
    assert dictionary.patches.dtype == dictionary.features.dtype == np.float32
    norms = np.linalg.norm(np.hstack([dictionary.patches, dictionary.features]), axis=1)
    assert norms.min() > 0 and norms.max() < 1.001
    assert (dictionary.name, dictionary.window) == ("hog", 3)
    assert dictionary.options == {"cell": 8, "orientations": 9, "bilinear": False}
    assert dictionary.contrast == pytest.approx(np.mean([scene(seed).std() for seed in range(4)]))


def test_without_a_pass_the_atoms_are_windows_of_the_pictures(phi):
    """Each of them of the picture or of its mirror image, and with the patch that belongs to it."""
    picture = scene(0, 56, 48)
    made = hoggles.train([picture], phi, window=2, atoms=40, passes=0)
    expected = []
    for image in (picture, picture[:, ::-1]):
        cells, canvas = feature_of(phi, image), np.pad(image[..., 0], 8)
        for i in range(6):
            for j in range(5):
                window = cells[i : i + 2, j : j + 2].transpose(2, 0, 1)
                patch = canvas[8 * i : 8 * i + 32, 8 * j : 8 * j + 32]
                parts = [normalised(part.reshape(1, -1)) for part in (patch, window)]
                expected.append(np.concatenate(parts, axis=1)[0] / np.sqrt(2))
    for atom in np.hstack([made.patches, made.features]):
        assert np.abs(expected - atom).max(axis=1).min() < 1e-6


def test_learning_explains_windows_better_than_drawing_them(pictures, phi):
    """By the objective that it minimises, on the windows of the pictures."""
    from invjax.hoggles.codes import encode
    from invjax.hoggles.learning import _pairs

    features, below = _pairs(pictures, phi, 3, 10_000, np.random.default_rng(0))
    rows = np.hstack([below, features])

    def cost(made):
        atoms = np.hstack([made.patches, made.features])
        codes = encode(rows, atoms, 0.1)
        return 0.5 * np.square(rows - codes @ atoms).sum(axis=1).mean() + 0.1 * codes.sum(axis=1).mean()

    drawn, learned = (hoggles.train(pictures, phi, window=3, atoms=60, passes=passes) for passes in (0, 2))
    assert cost(learned) < 0.9 * cost(drawn)


def test_the_seed_is_all_that_is_random(dictionary, pictures, phi):
    again, other = (hoggles.train(pictures, phi, window=3, atoms=150, passes=1, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.patches, dictionary.patches)
    np.testing.assert_array_equal(again.features, dictionary.features)
    assert again.source == dictionary.source
    assert not np.array_equal(other.patches, dictionary.patches)


def test_the_number_of_windows(pictures, phi):
    made = hoggles.train(pictures, phi, window=3, atoms=10, windows=101, passes=0)
    assert "4 pictures" in made.source and "101 windows" in made.source


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"atoms": 0}, "atoms must be at least 1"),
        ({"passes": -1}, "passes must be at least 0"),
        ({"windows": 0}, "windows must be at least 1"),
        ({"sparsity": 0.0}, "sparsity must be between 0 and 1"),
        ({"sparsity": float("nan")}, "sparsity must be between 0 and 1"),
        ({"window": 12}, "picture 1 of 4, 88×96 pixels, is smaller than a window of 12×12 cells of 8 pixels"),
        ({"window": 3, "atoms": 721}, "4 pictures have 720 windows that are not flat, fewer than 721 atoms"),
        ({"window": 3, "atoms": 51, "windows": 50}, "50 windows that are not flat, fewer than 51 atoms"),
    ],
)
def test_mistakes(pictures, phi, arguments, message):
    with pytest.raises(UserError, match=message):
        hoggles.train(pictures, phi, **arguments)


def test_pictures_that_show_nothing(phi):
    with pytest.raises(UserError, match="2 pictures have 0 windows that are not flat"):
        hoggles.train([np.zeros((64, 64, 1), np.float32)] * 2, phi, atoms=2)
    with pytest.raises(UserError, match="no pictures"):
        hoggles.train([], phi)


def test_representations_without_cells(pictures, phi):
    with pytest.raises(UserError, match="HOGgles inverts hog"):
        hoggles.train(pictures, representations.flatten(phi))
