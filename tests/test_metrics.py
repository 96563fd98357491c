"""Metrics against their definitions in NumPy."""

import numpy as np
import pytest

from invjax import InputSpec, metrics

RNG = np.random.default_rng(0)
GREY = InputSpec()
COLOUR = InputSpec(channels=3, mean=(123.0, 117.0, 104.0))


def image(shape, spec=GREY):
    return (RNG.integers(0, 256, shape) - np.asarray(spec.mean)).astype(np.float32)


def ssim_by_definition(first, second):
    """Wang et al. 2004, one window at a time, for one channel of values 0..255."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for i, j in np.ndindex(first.shape[0] - 10, first.shape[1] - 10):
        a, b = first[i : i + 11, j : j + 11], second[i : i + 11, j : j + 11]
        mean_a, mean_b = np.sum(window * a), np.sum(window * b)
        var_a, var_b = np.sum(window * (a - mean_a) ** 2), np.sum(window * (b - mean_b) ** 2)
        covariance = np.sum(window * (a - mean_a) * (b - mean_b))
        luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        values.append(luminance * (2 * covariance + c2) / (var_a + var_b + c2))
    return np.mean(values)


def test_flat():
    features = {"a": np.arange(6).reshape(2, 3, 1), "b": [np.array([10, 20])]}
    np.testing.assert_array_equal(metrics.flat(features), [[0, 1, 2, 10], [3, 4, 5, 20]])


def test_mean_pairwise_distance():
    features = RNG.normal(size=(4, 3, 2)).astype(np.float32)
    distances = [np.sqrt(np.sum((features[i] - features[j]) ** 2)) for i in range(4) for j in range(4) if i < j]
    assert metrics.mean_pairwise_distance(features) == pytest.approx(np.mean(distances), rel=1e-6)


def test_distances_of_large_rows_that_are_nearly_the_same():
    """As of restarts that agree; pieces of the rows are compared one after the other."""
    rows = (1e3 + np.arange(40_000) + RNG.normal(0, 1e-2, (3, 40_000))).astype(np.float32)
    distances = [np.linalg.norm(rows[i].astype(float) - rows[j]) for i in range(3) for j in range(i)]
    assert metrics.mean_distance(rows) == pytest.approx(np.mean(distances), rel=1e-12)
    assert metrics.mean_distance([rows[0]] * 5) == 0  # exactly: nothing is divided by it


def test_mean_pairwise_distance_of_dicts():
    features = {"a": np.array([[0.0], [3.0]]), "b": np.array([[0.0], [4.0]])}
    assert metrics.mean_pairwise_distance(features) == pytest.approx(5)


def test_mean_pairwise_distance_of_one():
    assert np.isnan(metrics.mean_pairwise_distance(np.ones((1, 5))))


def test_zero_and_infinite_features_do_not_count_between_pictures():
    features = RNG.normal(size=(3, 6)).astype(np.float32)
    expected = np.mean([np.linalg.norm(features[i] - features[j]) for i in range(3) for j in range(i)])
    rows = [np.zeros(6, np.float32), *features, np.full(6, np.inf, np.float32)]
    assert metrics.distance_between_pictures(rows) == pytest.approx(expected, rel=1e-6)
    assert np.isnan(metrics.distance_between_pictures(rows[:2]))


def test_normalized_error_is_not_squared():
    feature, target = RNG.normal(size=(2, 50))
    relative = np.sum((feature - target) ** 2) / np.sum(target**2)
    error = metrics.normalized_error(relative, np.linalg.norm(target), 4.0)
    assert error == pytest.approx(np.linalg.norm(feature - target) / 4.0)


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
def test_psnr(spec):
    first, second = image((12, 13, spec.channels), spec), image((12, 13, spec.channels), spec)
    expected = 10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2))
    assert metrics.psnr(first, second, spec) == pytest.approx(expected, rel=1e-5)


def test_psnr_of_equal_pictures_is_infinite():
    picture = image((12, 13, 1))
    assert metrics.psnr(picture, picture, GREY) == float("inf")


def test_only_what_can_be_seen_counts():
    black = np.full((12, 13, 1), -128, np.float32)
    assert metrics.psnr(black - 50, black, GREY) == float("inf")
    assert metrics.ssim(black - 50, black, GREY) == pytest.approx(1)


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
def test_ssim(spec):
    first = image((14, 16, spec.channels), spec)
    second = 0.7 * first + RNG.normal(0, 10, first.shape).astype(np.float32)
    shown = [np.clip(picture + np.asarray(spec.mean, np.float32), 0, 255).astype(float) for picture in (first, second)]
    expected = np.mean([ssim_by_definition(shown[0][..., c], shown[1][..., c]) for c in range(spec.channels)])
    assert 0.2 < expected < 0.99
    assert metrics.ssim(second, first, spec) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_a_picture_smaller_than_its_window():
    assert np.isnan(metrics.ssim(np.zeros((10, 30, 1)), np.zeros((10, 30, 1)), GREY))


def test_error_map():
    feature, target = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected = np.zeros((3, 4))
    for i, j in np.ndindex(3, 4):
        expected[i, j] = np.sqrt(np.sum((feature[i, j] - target[i, j]) ** 2))
    expected /= np.sqrt(np.sum(target**2) / 12)
    errors = metrics.error_map(feature, target)
    np.testing.assert_allclose(errors, expected, rtol=1e-5)
    assert errors.dtype == np.float32


@pytest.mark.parametrize("feature", [np.ones(5), {"a": np.ones((3, 4, 5))}])
def test_error_map_of_a_feature_without_positions(feature):
    assert metrics.error_map(feature, feature) is None
