import dataclasses

import jax
import pytest

from invjax import batching, inversion, memory, recipes
from invjax.representations import get
from invjax.types import Representation


def arguments(side, phi=None, restarts=1):
    """(method, phi, problems, image_shape) for a square picture."""
    phi, shape = phi or get("hogb"), (side, side, 1)
    method, weights, _ = recipes.prepare(phi, shape, "paper")
    keys = [inversion.restart_key(jax.random.key(0), restart) for restart in range(restarts)]
    target = jax.numpy.ones(phi.feature_shape(shape))
    return method, phi, inversion.batch_of(target, keys, weights), shape


WAYS = pytest.mark.parametrize("in_turns", [True, False], ids=["cores", "at once"])


@pytest.fixture
def device(monkeypatch):
    """Sets the memory of the device, and whether it computes one reconstruction at a time, on two cores."""

    def pretend(memory_bytes, in_turns):
        monkeypatch.setattr(memory, "device_memory", lambda: memory_bytes)
        monkeypatch.setattr(batching, "one_at_a_time", lambda: in_turns)
        monkeypatch.setattr(batching, "CORES", 2)

    return pretend


def need(size, in_turns):
    """Bytes of a batch, by the program compiled for the batch or for one of it, without `memory`."""
    method, phi, problems, shape = arguments(32, restarts=size)
    states = jax.vmap(lambda problem: inversion.start(method, problem, shape))(problems)
    batch = problems, states

    def chunk(steps, problem, state):
        return jax.lax.fori_loop(0, steps, lambda _, state: inversion.step(method, phi, problem, state), state)

    part = jax.tree.map(lambda leaf: leaf[0], batch) if in_turns else batch
    function = chunk if in_turns else jax.vmap(chunk, (None, 0, 0))
    program = jax.jit(function, donate_argnums=2, compiler_options=batching.compiler_options())
    found = program.lower(5, *part).compile().memory_analysis()
    working = found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    if not in_turns:
        return working + found.argument_size_in_bytes
    return 2 * working + 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(batch))


@WAYS
@pytest.mark.parametrize("fits", [3, 6])
def test_what_is_chosen_fits_and_more_would_not(device, in_turns, fits):
    share = memory.CPU_SHARE if in_turns else memory.SHARE
    device((need(fits, in_turns) + need(fits + 1, in_turns)) / 2 / share, in_turns)
    found = memory.batch_size(*arguments(32), wanted=1000, every=5)
    # programs are not quite linear in the batch: one less is fine, one more never
    assert fits - 1 <= found.size <= fits
    assert f"batches of {found.size}, more do not fit: they need" in found.reason


@WAYS
def test_at_least_one_reconstruction_at_once(device, in_turns):
    device(1000, in_turns)
    assert memory.batch_size(*arguments(32), wanted=9, every=5).size == 1


@WAYS
def test_not_more_than_there_are(device, in_turns):
    device(1e10, in_turns)
    found = memory.batch_size(*arguments(32), wanted=7, every=5)
    assert found.size == 7 and "all there are" in found.reason


def test_not_more_than_what_is_fast_and_all_batches_alike(device):
    device(1e12, True)
    found = memory.batch_size(*arguments(32), wanted=70, every=5)
    assert found.size == 24 and "more are not faster" in found.reason  # 24 + 24 + 22, not 32 + 32 + 6


def test_a_program_that_does_not_even_compile_is_halved(device, monkeypatch):
    device(1e12, False)
    compile_, sizes = batching.executable, []

    def small_only(function, phi, problems, states):
        sizes.append(batching.count(problems))
        if sizes[-1] > 20:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return compile_(function, phi, problems, states)

    monkeypatch.setattr(batching, "executable", small_only)
    assert memory.batch_size(*arguments(32), wanted=60, every=5).size == 15
    assert sizes == [64, 32, 16]


def test_only_the_batch_that_runs_is_compiled(device, monkeypatch):
    device(1e12, False)
    compile_, sizes = batching.executable, []
    monkeypatch.setattr(memory, "LARGEST", 32)
    monkeypatch.setattr(batching, "executable", lambda *rest: sizes.append(batching.count(rest[2])) or compile_(*rest))
    assert memory.batch_size(*arguments(32), wanted=36, every=5).size == 18
    assert sizes == [batching.rounded(18)] == [24]


def test_what_was_measured_is_what_runs(device, monkeypatch):
    """No second compilation when the batch is computed."""
    device(1e10, True)
    method, phi, problems, shape = arguments(34, restarts=3)
    traced, step = [], inversion.step
    monkeypatch.setattr(inversion, "step", lambda *rest: traced.append(0) or step(*rest))
    memory.batch_size(method, phi, problems, shape, wanted=3, every=5)
    before = len(traced)
    states = inversion.batched_start(method, phi, problems, shape)
    inversion.advance(method, phi, problems, states, 5)
    assert len(traced) == before > 0


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
