"""The estimate of a job's time: how it grows with the work, and that it is of the right size."""

import math
import time

import jax
import pytest

from invjax import devices, inversion, memory, recipes
from invjax.networks.layers import Conv, Dense, Relu
from invjax.networks.network import Network, chain
from invjax.representations import get
from invjax.representations.network import build
from invjax.runs import estimate
from invjax.types import InputSpec
from invjax.weights import random


def arguments(side=64, phi=None):
    """(method, phi, problems) of a square picture."""
    phi = phi or get("hogb")
    shape = (side, side, phi.input.channels)
    method, weights, _ = recipes.prepare(phi, shape, "paper")
    target = jax.numpy.ones(phi.feature_shape(shape))
    return method, phi, inversion.batch_of(target, [jax.random.key(0)], weights)


@pytest.fixture
def device(monkeypatch):
    """Four cores that compute faster than they read."""
    monkeypatch.setattr(devices, "CORES", 4)
    monkeypatch.setattr(devices, "usable", lambda: 4)
    monkeypatch.setattr(devices, "sequential", lambda: True)
    monkeypatch.setattr(estimate, "measure", lambda: estimate.Rates(products=1e11, copies=1e9))


@pytest.fixture
def stepping(device):
    """Estimated seconds less what compilation takes."""

    def stepping(steps, reconstructions, batch, *job):
        job = job or arguments()
        return estimate.seconds(*job, steps, reconstructions, batch) - estimate.seconds(*job, 0, reconstructions, batch)

    return stepping


def test_grows_with_steps_reconstructions_and_size(stepping):
    one = stepping(10, 8, 8)
    assert stepping(30, 8, 8) == pytest.approx(3 * one)
    assert stepping(10, 24, 8) == pytest.approx(3 * one)
    assert stepping(10, 8, 8, *arguments(128)) == pytest.approx(4 * one, rel=0.25)  # of the area


def test_reconstructions_wait_for_a_core_whatever_the_batch(stepping):
    assert stepping(10, 16, 16) == pytest.approx(stepping(10, 16, 4))
    assert stepping(10, 13, 16) == pytest.approx(stepping(10, 16, 16))
    assert stepping(10, 1, 16) < stepping(10, 4, 16) < 4 * stepping(10, 1, 16)
    assert stepping(10, 6, 4) == pytest.approx(stepping(10, 4, 4) + stepping(10, 2, 4))


def test_an_accelerator_computes_a_batch_at_once(stepping, monkeypatch):
    monkeypatch.setattr(devices, "sequential", lambda: False)
    monkeypatch.setattr(devices, "usable", lambda: 1)
    assert stepping(10, 13, 16) == pytest.approx(13 / 16 * stepping(10, 16, 16), rel=0.02)
    assert stepping(10, 16, 16) < stepping(10, 16, 4)


def test_weights_are_read_once_for_those_that_share_a_program(stepping):
    layers = chain(("conv", Conv(4, 3)), ("relu", Relu()), ("fc", Dense(2000)))
    network = Network(layers, InputSpec(3, size=32), ("fc",))
    phi = build(network, random.draw(network, 0, network.weighted()))
    assert memory.together(phi) > 1
    job = arguments(32, phi)
    # as the program is written; what it reads several times there, and XLA once, is not told apart
    assert stepping(10, 16, 16, *job) < 0.8 * 4 * stepping(10, 4, 4, *job)


def test_compilation_is_of_a_job_and_longer_for_longer_programs(device):
    layers = (get("squeezenet", layer=layer, weights="random") for layer in ("conv1", "fire4/concat"))
    short, long = (estimate.seconds(*arguments(phi=phi), 0, 5, 5) for phi in layers)
    assert 0.5 < short < long < 10
    assert estimate.seconds(*arguments(), 0, 500, 5) == estimate.seconds(*arguments(), 0, 1, 5)


def test_is_unknown_where_the_device_tells_nothing(monkeypatch):
    monkeypatch.setattr(memory, "costs", lambda *_: None)
    assert math.isnan(estimate.seconds(*arguments(), 10, 8, 8))


def test_is_of_the_right_size():
    method, phi, problems = arguments(128)
    states = inversion.advance(method, phi, problems, inversion.batched_start(method, phi, problems), 2)
    taken = []
    for _ in range(5):
        before = time.perf_counter()
        states = jax.block_until_ready(inversion.advance(method, phi, problems, states, 5))
        taken.append(time.perf_counter() - before)
    expected = estimate.seconds(*arguments(128), 5, 1, 1) - estimate.seconds(*arguments(128), 0, 1, 1)
    assert min(taken) / 6 < expected < 6 * min(taken)  # a factor of 2 on a quiet machine
