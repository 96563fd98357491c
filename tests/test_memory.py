import dataclasses
import os

import jax
import pytest

from invjax import descent, devices, inversion, memory, recipes
from invjax.representations import get
from invjax.types import Representation

from .conftest import as_accelerators


def arguments(side, phi=None, restarts=1):
    """(method, phi, problems) for a square picture."""
    phi, shape = phi or get("hogb"), (side, side, 1)
    method, weights, _ = recipes.prepare(phi, shape, "paper")
    keys = [inversion.restart_key(jax.random.key(0), restart) for restart in range(restarts)]
    target = jax.numpy.ones(phi.feature_shape(shape))
    return method, phi, inversion.batch_of(target, keys, weights)


WAYS = pytest.mark.parametrize("way", ["one core", "cores", "accelerator", "accelerators"])


@pytest.fixture
def device(monkeypatch):
    """Sets the memory of each device, and which there are: one of two cores, both, one accelerator or several."""

    def pretend(memory_bytes, way):
        monkeypatch.setattr(memory, "device_memory", lambda: memory_bytes)
        monkeypatch.setattr(devices, "CORES", 2)
        if way.startswith("accelerator"):
            as_accelerators(monkeypatch)
        if way in {"one core", "accelerator"}:
            monkeypatch.setattr(devices, "_used", 1)
        elif devices.usable() == 1:
            pytest.skip("there is one")

    return pretend


def need(size, way):
    """Bytes of a batch, or of a device for its part, by a program made here, without `memory`."""
    accelerated = way.startswith("accelerator")
    method, phi, problems = arguments(32, restarts=size)
    states = jax.vmap(lambda problem: descent.start(method, problem))(problems)

    def chunk(steps, problem, state):
        return jax.lax.fori_loop(0, steps, lambda _, state: descent.step(method, phi, problem, state), state)

    batch = problems, states
    function = jax.vmap(chunk, (None, 0, 0)) if accelerated else chunk
    part = batch if accelerated else jax.tree.map(lambda leaf: leaf[0], batch)
    program = jax.jit(function, donate_argnums=2, compiler_options=devices.compiler_options())
    found = program.lower(5, *part).compile().memory_analysis()
    working = found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    if accelerated:
        return working + found.argument_size_in_bytes
    at_once = 1 if way == "one core" else min(2, size)
    return at_once * working + 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(batch))


@pytest.mark.parametrize(
    "way, fits", [("one core", 3), ("one core", 6), ("cores", 3), ("cores", 6), ("accelerator", 6), ("accelerators", 3)]
)
def test_what_is_chosen_fits_and_more_would_not(device, way, fits):
    accelerated = way.startswith("accelerator")
    share = memory.SHARE if accelerated else memory.CPU_SHARE
    device((need(fits, way) + need(fits + 1, way)) / 2 / share, way)
    count = devices.usable() if accelerated else 1  # of those that have this memory each
    found = memory.batch_size(*arguments(32), wanted=1000, every=5)
    # programs are not quite linear in the batch: one less of each device is fine, one more never
    assert (fits - 1) * count <= found.size <= fits * count
    assert f"batches of {found.size}, more do not fit: they need" in found.reason


@dataclasses.dataclass(frozen=True)
class Weighted:
    """Sums of a line that need no memory of the weights' size."""

    def __call__(self, params, image):
        return (params * image[0, :, 0]).sum(1)


@pytest.mark.skipif(not devices.sequential(), reason="accelerators have weights of their own")
def test_cores_have_the_weights_once(device):
    device(1e12, "cores")
    found = {}
    for rows in (500, 1500):
        job = arguments(64, Representation(jax.numpy.ones((rows, 64)), Weighted(), "weighted"), restarts=2)
        states = jax.vmap(lambda problem, method=job[0]: descent.start(method, problem))(job[2])
        found[rows] = memory._need(*job, 2, 5) - 2 * devices.nbytes((job[2], states))
    weights = 1000 * 64 * 4
    assert weights <= found[1500] - found[500] < 1.2 * weights


@WAYS
def test_at_least_one_reconstruction_at_once(device, way):
    device(1000, way)
    assert memory.batch_size(*arguments(32), wanted=9, every=5).size == 1


@WAYS
def test_not_more_than_there_are(device, way):
    device(1e10, way)
    found = memory.batch_size(*arguments(32), wanted=7, every=5)
    assert found.size == 7 and "all there are" in found.reason


def test_not_more_than_what_is_fast_and_all_batches_alike(device):
    device(1e12, "cores")
    found = memory.batch_size(*arguments(32), wanted=70, every=5)
    assert found.size == 24 and "more are not faster" in found.reason  # 24 + 24 + 22, not 32 + 32 + 6


def test_a_program_that_does_not_even_compile_is_halved(device, monkeypatch):
    device(1e12, "accelerator")
    program, sizes = devices.program, []

    def small_only(function, settings, size, together):
        sizes.append(devices.rounded(size))
        if sizes[-1] > 20:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return program(function, settings, size, together)

    monkeypatch.setattr(devices, "program", small_only)
    assert memory.batch_size(*arguments(32), wanted=60, every=5).size == 15
    assert sizes == [64, 32, 16]


def test_only_the_batch_that_runs_is_compiled(device, monkeypatch):
    device(1e12, "accelerator")
    shapes, sizes = devices.shapes, []

    def recorded(*arguments):
        found = shapes(*arguments)
        sizes.append(jax.tree.leaves(found[-1])[0].shape[0])
        return found

    monkeypatch.setattr(memory, "LARGEST", 32)
    monkeypatch.setattr(devices, "shapes", recorded)
    assert memory.batch_size(*arguments(32), wanted=36, every=5).size == 18
    assert sizes == [devices.rounded(18)] == [24]


@WAYS
def test_what_was_measured_is_what_runs(device, monkeypatch, way):
    """No second compilation when the batch is computed."""
    device(1e10, way)
    method, phi, problems = arguments(30 + len(way), restarts=5)  # a program that no other test has
    traced, step = [], descent.step
    monkeypatch.setattr(descent, "step", lambda *rest: traced.append(0) or step(*rest))
    memory.batch_size(method, phi, problems, wanted=5, every=5)
    before = len(traced)
    phi, problems = devices.place(phi.bare, problems)
    states = inversion.batched_start(method, phi, problems)
    inversion.advance(method, phi, problems, states, 5)
    assert len(traced) == before > 0


def test_device_memory_is_plausible():
    assert 2**28 < memory.device_memory() < 2**45


@pytest.mark.skipif(not devices.sequential(), reason="accelerators have memory of their own")
def test_cores_share_the_memory_of_the_machine(monkeypatch):
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for count in (1, 3):
        monkeypatch.setattr(devices, "usable", lambda count=count: count)
        assert memory.device_memory() == whole
    as_accelerators(monkeypatch)  # of which such a one does not tell
    assert memory.device_memory() == whole // 3


@dataclasses.dataclass(frozen=True)
class Product:
    """A matrix product, whose operations are easily counted."""

    def __call__(self, params, image):
        return params @ image[..., 0]


def product(side, rows):
    return Representation(jax.numpy.ones((rows, side)), Product(), "product")
