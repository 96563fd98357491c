"""Gradients, votes and pooling against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invjax.representations import oriented

RNG = np.random.default_rng(0)
GX, GY = RNG.normal(0, 20, (2, 12, 13)).astype(np.float32)
BINS = st.integers(2, 24)
few = settings(max_examples=5, deadline=None, derandomize=True, database=None)


def distance_in_bins(gx, gy, bins):
    """How far each gradient is from each of the directions, float64 [bins, H, W]."""
    angle = np.arctan2(gy.astype(np.float64), gx)
    difference = angle - 2 * np.pi * np.arange(bins)[:, None, None] / bins
    return np.abs(np.angle(np.exp(1j * difference))) * bins / (2 * np.pi)


@pytest.mark.parametrize("border, shape", [("zero", (5, 7)), ("none", (5, 7)), ("crop", (3, 5))])
def test_gradients(border, shape):
    plane = RNG.normal(size=(5, 7)).astype(np.float32)
    gx, gy = oriented.gradients(plane, border)
    assert gx.shape == gy.shape == shape
    inside = np.s_[:] if border == "crop" else np.s_[1:-1, 1:-1]
    expected_y, expected_x = np.gradient(plane.astype(np.float64))
    np.testing.assert_allclose(gx[inside], expected_x[1:-1, 1:-1], atol=1e-6)
    np.testing.assert_allclose(gy[inside], expected_y[1:-1, 1:-1], atol=1e-6)


def test_gradients_at_the_border():
    plane = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    gx, gy = oriented.gradients(plane, "zero")
    assert [gx[0, 0], gx[0, 3], gx[2, 3]] == [1, -1.5, -5.5]
    assert [gy[0, 0], gy[2, 0], gy[0, 3]] == [2.5, -2.5, 4]
    gx, gy = oriented.gradients(plane, "none")
    edge = np.ones((3, 4), bool)
    edge[1, 1:3] = False
    assert not np.asarray(gx)[edge].any() and not np.asarray(gy)[edge].any()


def test_magnitude():
    np.testing.assert_allclose(oriented.magnitude(GX, GY), np.hypot(GX, GY), rtol=1e-6)


def test_magnitude_has_derivative_zero_where_it_vanishes():
    assert jax.grad(oriented.magnitude, (0, 1))(0.0, 0.0) == (0, 0)
    np.testing.assert_allclose(jax.grad(oriented.magnitude, (0, 1))(3.0, -4.0), (0.6, -0.8), rtol=1e-6)


@few
@given(BINS)
def test_hard_votes_go_to_the_nearest_direction(bins):
    votes = np.asarray(oriented.hard_votes(GX, GY, bins).planes(bins))
    distance = distance_in_bins(GX, GY, bins)
    np.testing.assert_array_equal(votes > 0, distance == distance.min(axis=0))
    np.testing.assert_allclose(votes.sum(axis=0), np.hypot(GX, GY), rtol=1e-6)


def test_the_first_of_two_equally_near_directions_wins():
    votes = oriented.hard_votes(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), 4).planes(4)
    np.testing.assert_allclose(votes[:, 0, 0], [np.sqrt(2), 0, 0, 0], rtol=1e-6)


def test_bin_angles_run_from_right_to_down():
    right_down_left_up = np.float32([[1, 0, -1, 0]]), np.float32([[0, 1, 0, -1]])
    np.testing.assert_array_equal(oriented.hard_votes(*right_down_left_up, 4).planes(4)[:, 0], np.eye(4))
    np.testing.assert_allclose(oriented.soft_votes(*right_down_left_up, 4).planes(4)[:, 0], np.eye(4), atol=1e-6)


@few
@given(BINS, st.floats(1, 50))
def test_soft_votes(bins, sharpness):
    votes = oriented.soft_votes(GX, GY, bins, sharpness).planes(bins)
    share = np.clip(0.5 + sharpness * (0.5 - distance_in_bins(GX, GY, bins)), 0, 1)
    tolerance = 5e-5 * sharpness * bins  # of a float32 angle, times the slope
    np.testing.assert_allclose(votes, np.hypot(GX, GY) * share, rtol=0, atol=tolerance)
    np.testing.assert_allclose(np.sum(votes, axis=0), np.hypot(GX, GY), rtol=0, atol=tolerance)


@pytest.mark.parametrize("bins", [2, 8, 18])
def test_soft_votes_of_sharpness_one_are_bilinear(bins):
    position = np.arctan2(GY.astype(np.float64), GX) / (2 * np.pi) * bins % bins
    expected = np.zeros((bins, *GX.shape))
    for y, x in np.ndindex(GX.shape):
        length, lower = np.hypot(GX[y, x], GY[y, x]), int(position[y, x])
        expected[lower, y, x] += length * (1 - position[y, x] % 1)
        expected[(lower + 1) % bins, y, x] += length * (position[y, x] % 1)
    np.testing.assert_allclose(oriented.soft_votes(GX, GY, bins).planes(bins), expected, rtol=0, atol=1e-4)


def test_soft_votes_become_hard():
    hard = oriented.hard_votes(GX, GY, 18).planes(18)
    soft = [oriented.soft_votes(GX, GY, 18, sharpness).planes(18) for sharpness in (1, 4, 16, 1e6)]
    distances = [np.abs(votes - hard).mean() for votes in soft]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6 < distances[-2]


@pytest.mark.parametrize("votes", [oriented.hard_votes, oriented.soft_votes])
@pytest.mark.parametrize("gradient", [(0, 0), (0, 1), (-1, 0), (-1, -0.0), (1e-30, 0), (1e-15, -1e-15), (100, 100)])
def test_derivatives_of_votes_are_finite(votes, gradient):
    gx, gy = (jnp.full((1, 1), value, jnp.float32) for value in gradient)
    values, pull_back = jax.vjp(lambda gx, gy: votes(gx, gy, 8).planes(8), gx, gy)
    derivatives = pull_back(jnp.arange(8.0)[:, None, None])
    assert np.isfinite(values).all() and np.isfinite(derivatives).all()


def test_flat_pixels_do_not_vote():
    flat = np.zeros((2, 2), np.float32)
    for votes in (oriented.hard_votes, oriented.soft_votes):
        assert not votes(flat, flat, 8).planes(8).any()


def test_pooling_matrix():
    matrix = oriented.pooling_matrix(9, 2, 4, 1.5)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix[:, 0], np.array([5, 7, 7, 5, 3, 1, 0, 0, 0]) / 8)
    np.testing.assert_allclose(matrix[:, 1], np.array([0, 0, 1, 3, 5, 7, 7, 5, 3]) / 8)


SHAPES = [(8, 12), (11, 14), (7, 15)]  # of pictures: that cells fill, that leave a remainder, too small for the last


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell, first_centre", [(4, 1.5), (5, 2), (3, 2.5)])
@pytest.mark.parametrize("choices", [1, 2])
def test_pool_sums_votes_weighted_by_distance(shape, cell, first_centre, choices):
    votes, cells = random_votes(shape, choices), (2, 3)
    planes = np.asarray(votes.planes(5), np.float64)
    expected = np.zeros((5, *cells))
    for i, j in np.ndindex(*cells):
        away = [
            np.abs(np.arange(side) - first_centre - cell * at) / cell for side, at in zip(shape, (i, j), strict=True)
        ]
        down, across = (np.maximum(0, 1 - distance) for distance in away)
        expected[:, i, j] = np.sum(planes * np.outer(down, across), axis=(1, 2))
    np.testing.assert_allclose(oriented.pool(votes, 5, cells, cell, first_centre), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("choices", [1, 2])
def test_derivative_of_pool(shape, choices):
    """Pooling is linear in the votes' values: its derivative is the adjoint."""
    votes, cells = random_votes(shape, choices), (2, 3)

    def pooled(values):
        return oriented.pool(votes._replace(values=values), 5, cells, 4, 1.5)

    cotangent = RNG.normal(size=(5, *cells)).astype(np.float32)
    _, pull_back = jax.vjp(pooled, votes.values)
    [derivatives] = pull_back(jnp.asarray(cotangent))
    for _ in range(3):
        direction = tuple(RNG.normal(size=shape).astype(np.float32) for _ in range(choices))
        along = sum(np.vdot(a, b) for a, b in zip(derivatives, direction, strict=True))
        np.testing.assert_allclose(along, np.vdot(cotangent, pooled(direction)), rtol=1e-4, atol=1e-3)


def random_votes(shape, choices):
    """Values, and choices out of five orientations that differ at each pixel."""
    first = RNG.integers(0, 5, shape)
    chosen = (first, (first + RNG.integers(1, 5, shape)) % 5)[:choices]
    values = tuple(RNG.normal(0, 100, shape).astype(np.float32) for _ in range(choices))
    return oriented.Votes(values, tuple(choice.astype(np.int32) for choice in chosen))


def test_arctan2():
    angles = RNG.uniform(-np.pi, np.pi, 10000)
    y, x = (np.float32(60 * function(angles)) for function in (np.sin, np.cos))
    expected = np.arctan2(y.astype(np.float64), x)
    np.testing.assert_allclose(oriented.arctan2(y, x), expected, rtol=0, atol=4e-7)
    axes = np.float32([0, 1, 0, -1, -0.0]), np.float32([1, 0, -1, 0, -1])
    np.testing.assert_allclose(oriented.arctan2(*axes), np.float32([0, 0.5, 1, -0.5, 1]) * np.pi, atol=4e-7)


def test_derivatives_of_polar():
    x, y = GX.ravel(), GY.ravel()
    length, angle = jax.vmap(jax.jacrev(oriented.polar, (0, 1)))(x, y)
    squared = x**2 + y**2
    np.testing.assert_allclose(length, (x, y) / np.sqrt(squared), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(angle, (-y, x) / squared, rtol=1e-5, atol=1e-7)
