"""The objective against the formula of the paper in float64."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from invjax import Representation, losses, regularizers
from invjax.objective import Objective, default_lambda_alpha, sigma

RNG = np.random.default_rng(0)
U = RNG.normal(size=(4, 5, 1)).astype(np.float32)
WEIGHTS = {"alpha": 0.02, "tv": 0.3}


@dataclasses.dataclass(frozen=True)
class Linear:
    def __call__(self, params, image):
        return params @ image.ravel()


MATRIX = RNG.normal(size=(7, 20)).astype(np.float32)
TARGET = RNG.normal(0, 10, 7).astype(np.float32)
PHI = Representation(MATRIX, Linear(), "linear")


def by_definition(u, scale, weights):
    u = u.astype(np.float64)
    data = np.sum((MATRIX @ (scale * u).ravel() - TARGET) ** 2) / np.sum(TARGET.astype(np.float64) ** 2)
    alpha = weights["alpha"] * np.sum(u**6)
    tv = weights["tv"] * (np.sum(np.diff(u, axis=0) ** 2) + np.sum(np.diff(u, axis=1) ** 2))
    return {"data": data, "alpha": alpha, "tv": tv, "total": data + alpha + tv}


def test_sigma_is_the_authors():
    assert sigma((227, 227, 3)) == pytest.approx(27098.1157, rel=1e-9)


def test_sigma_grows_with_the_root_of_the_elements():
    assert sigma((227, 227, 1)) == pytest.approx(27098.1157 / math.sqrt(3))
    assert sigma((454, 454, 3)) == pytest.approx(2 * 27098.1157)


def test_default_lambda_alpha_is_the_authors():
    assert default_lambda_alpha((227, 227, 3)) == pytest.approx(2.16e8, rel=2e-3)
    assert default_lambda_alpha((10, 10, 1)) == pytest.approx(4e-10 * sigma((10, 10, 1)) ** 4)


def test_terms():
    total, terms = Objective(scale=12.0)(U, PHI, TARGET, WEIGHTS)
    expected = by_definition(U, 12.0, WEIGHTS)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5, err_msg=name)
    assert total == terms["total"]


def test_derivative():
    objective = Objective(scale=12.0)
    gradient = jax.grad(lambda u: objective(u, PHI, TARGET, WEIGHTS)[0])(U)
    residual = MATRIX.astype(np.float64) @ (12.0 * U).ravel() - TARGET
    expected = (2 * 12.0 * MATRIX.T @ residual / np.sum(TARGET**2)).reshape(U.shape)
    expected += 6 * WEIGHTS["alpha"] * U.astype(np.float64) ** 5
    for axis in (0, 1):
        difference = np.diff(U.astype(np.float64), axis=axis)
        before = [(0, 0)] * 3
        after = [(0, 0)] * 3
        before[axis], after[axis] = (1, 0), (0, 1)
        expected += 2 * WEIGHTS["tv"] * (np.pad(difference, before) - np.pad(difference, after))
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_every_reconstruction_has_its_own_weights():
    weights = {"alpha": np.float32([0, 0.1, 5]), "tv": np.float32([3, 0, 0.5])}
    us = RNG.normal(size=(3, 4, 5, 1)).astype(np.float32)
    together = jax.vmap(lambda u, w: Objective(12.0)(u, PHI, TARGET, w)[1])(us, weights)
    for n in range(3):
        expected = by_definition(us[n], 12.0, {name: float(value[n]) for name, value in weights.items()})
        for name, value in expected.items():
            np.testing.assert_allclose(together[name][n], value, rtol=1e-5, err_msg=name)


def test_other_losses_and_regularizers():
    objective = Objective(2.0, losses.l1, (("mean", lambda u: u.mean()), ("tv", regularizers.total_variation(1.0))))
    _, terms = objective(U, PHI, TARGET, {"mean": 2.0, "tv": 0.0})
    residual = MATRIX.astype(np.float64) @ (2.0 * U).ravel() - TARGET
    np.testing.assert_allclose(terms["data"], np.abs(residual).sum() / np.abs(TARGET).sum(), rtol=1e-5)
    np.testing.assert_allclose(terms["mean"], 2 * U.mean(), rtol=1e-4)
    assert terms["tv"] == 0


def test_without_regularizers_only_the_data_count():
    total, terms = Objective(12.0, regularizers=())(U, PHI, TARGET, {})
    assert terms.keys() == {"data", "total"} and total == terms["data"]


def test_equal_objectives_compile_once():
    assert Objective(12.0) == Objective(12.0) and hash(Objective(12.0)) == hash(Objective(12.0))
    assert Objective(12.0) != Objective(13.0)
