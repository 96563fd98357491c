import dataclasses

import jax
import pytest

from invjax import inversion, memory, recipes
from invjax.representations import get
from invjax.types import Representation


def arguments(side, phi=None, restarts=1):
    """(method, phi, problems, image_shape) for a square picture."""
    phi, shape = phi or get("hogb"), (side, side, 1)
    method, weights, _ = recipes.prepare(phi, shape, "paper")
    keys = [inversion.restart_key(jax.random.key(0), restart) for restart in range(restarts)]
    target = jax.numpy.ones(phi.feature_shape(shape))
    return method, phi, inversion.batch_of(target, keys, weights), shape


def test_a_picture_of_four_times_the_area_needs_four_times_the_memory():
    small, large = (memory.bytes_per_reconstruction(*arguments(side)) for side in (64, 128))
    assert large == pytest.approx(4 * small, rel=0.15)


def test_the_estimate_is_of_one_reconstruction():
    one, three = (memory.bytes_per_reconstruction(*arguments(32, restarts=restarts)) for restarts in (1, 3))
    assert one == three


@pytest.mark.parametrize("name", ["hog", "dsift"])
def test_the_estimate_is_more_than_what_is_needed_at_once(name):
    method, phi, problems, shape = arguments(64, get(name))
    problem = jax.tree.map(lambda leaf: leaf[0], problems)
    state = inversion.start(method, problem, shape)
    step = jax.jit(lambda problem, state: inversion.step(method, phi, problem, state))
    needed = step.lower(problem, state).compile().memory_analysis()
    estimate = memory.bytes_per_reconstruction(method, phi, problems, shape)
    assert needed.temp_size_in_bytes + needed.output_size_in_bytes < estimate


def test_batches_take_a_quarter_of_the_memory(monkeypatch):
    one = memory.bytes_per_reconstruction(*arguments(32))
    monkeypatch.setattr(memory, "device_memory", lambda: 4 * 7 * one + 100)
    assert memory.batch_size(*arguments(32)) == 7


def test_at_least_one_reconstruction_at_once(monkeypatch):
    monkeypatch.setattr(memory, "device_memory", lambda: 1000)
    assert memory.batch_size(*arguments(32)) == 1


def test_device_memory_is_plausible():
    assert 2**28 < memory.device_memory() < 2**45


@dataclasses.dataclass(frozen=True)
class Product:
    """A matrix product, whose operations are easily counted."""

    def __call__(self, params, image):
        return params @ image[..., 0]


def product(side, rows):
    return Representation(jax.numpy.ones((rows, side)), Product(), "product")


def test_costs_are_those_of_the_products():
    small, large = (memory.costs(*arguments(64, product(64, rows))) for rows in (500, 1500))
    # one product, and one with the transpose for the gradient, each a multiplication and an addition
    assert large.flops - small.flops == pytest.approx(1000 * 64 * 64 * 2 * 2, rel=0.05)
    assert large.shared == 1500 * 64 * 4
    assert large.bytes - small.bytes > large.shared - small.shared
    assert large.lines == small.lines > 100


def test_costs_are_found_once(monkeypatch):
    phi = product(64, 300)
    method, _, problems, shape = arguments(64, phi)
    first = memory.costs(method, phi, problems, shape)
    monkeypatch.setattr(inversion, "step", lambda *_: pytest.fail("traced again"))
    assert memory.costs(method, product(64, 300), problems, shape) is first
