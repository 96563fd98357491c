"""A function of one reconstruction over a batch: the same results whatever shares it."""

import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import devices, invert, memory, representations
from invjax.networks import cpu

from .conftest import as_accelerators, blobs
from .test_devices import CASES, hog, network

SEVERAL = pytest.mark.skipif(devices.CORES == 1, reason="one core shares nothing")
WAYS = ["one core", "several cores", "in groups", "groups of several", "an accelerator's", "several accelerators'"]


# --- which devices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cores, way, at_once", [(1, "cores", 1), (8, "cores", 8), (2, "accelerators", 4)])
def test_a_batch_is_shared_by_what_there_is(monkeypatch, cores, way, at_once):
    monkeypatch.setattr(devices, "sequential", lambda: way == "cores")
    monkeypatch.setattr(devices, "CORES", cores)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert devices.usable() == at_once
    assert [devices.sharing(size) for size in range(1, 20)] == [min(size, at_once) for size in range(1, 20)]
    with devices.using(2):
        assert max(devices.sharing(size) for size in range(1, 20)) == min(at_once, 2)


def test_cores_share_one_copy_of_the_weights(monkeypatch):
    monkeypatch.setattr(devices, "sequential", lambda: True)
    weights, batch = {"kernel": jnp.ones((3, 4))}, np.eye(3, dtype=np.float32)
    placed, cut = devices.place(weights, batch)
    assert placed["kernel"] is weights["kernel"] and cut is batch
    placed, _ = devices.place({"kernel": np.ones((3, 4), np.float32)}, batch)  # brought there once
    assert isinstance(placed["kernel"], jax.Array)


def product(number, weights, row):
    """A function of one row."""
    return number * (row @ weights)


def test_programs_run_side_by_side_only_where_xla_can_be_told_not_to_cut_them(monkeypatch):
    monkeypatch.setattr(devices, "sequential", lambda: True)
    assert devices.usable() == devices.CORES
    monkeypatch.setattr(cpu, "UNCUT", {"xla_option_of_another_version": ""})
    assert devices.usable() == 1 and devices.sharing(16) == 1


def test_accelerators_batches_are_filled_up(monkeypatch):
    monkeypatch.setattr(devices, "sequential", lambda: True)
    assert [devices.rounded(size) for size in (1, 5, 33)] == [1, 5, 33]
    monkeypatch.setattr(devices, "sequential", lambda: False)
    for count, size, filled in ((2, 5, 6), (1, 8, 8), (1, 9, 16), (1, 18, 24), (2, 40, 48), (4, 3, 3)):
        with devices.using(count):
            assert devices.rounded(size) == filled


@SEVERAL
def test_what_fills_up_is_the_last_one_and_is_cut_off_again(monkeypatch):
    as_accelerators(monkeypatch)
    batch = {"a": np.arange(2 * devices.usable() - 1, dtype=np.float32), "key": jax.random.split(jax.random.key(0), 1)}
    batch["key"] = jnp.repeat(batch["key"], len(batch["a"]))
    weights, placed = devices.place(np.ones(3, np.float32), batch)
    assert devices.count(placed) == 2 * devices.usable() and placed["a"][-1] == placed["a"][-2] == batch["a"][-1]
    assert weights.sharding.is_fully_replicated and not placed["a"].sharding.is_fully_replicated
    np.testing.assert_array_equal(devices.trimmed(placed, len(batch["a"]))["a"], batch["a"])


# --- what they compute -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_every_way_applies_the_function_to_each(monkeypatch, way):
    inputs = {"a": np.arange(15, dtype=np.float32).reshape(5, 3), "b": np.arange(5, dtype=np.float32)}
    if "accelerator" in way:
        as_accelerators(monkeypatch)
    with devices.using(devices.usable() if "several" in way else 1):
        phi, batch, states = devices.place(np.float32(10), inputs, inputs["b"])
        found = devices.compute(
            scaled,
            ("name",),
            phi,
            batch,
            numbers=(3,),
            spent=(states,),
            together=2 if "groups" in way else 1,
        )
        found = devices.trimmed(found, 5)
    np.testing.assert_allclose(found["name"], inputs["a"].sum(1) + inputs["b"])
    np.testing.assert_allclose(found["scaled"], 3 * 10 * inputs["b"])


def scaled(name, number, phi, one, state):
    """A function of a reconstruction and a state."""
    return {name: jnp.sum(one["a"]) + one["b"], "scaled": number * phi * state}


def test_an_option_that_xla_does_not_know_is_not_given(monkeypatch, caplog):
    monkeypatch.setattr(cpu, "NO_CONVOLUTIONS", {"xla_cpu_of_another_version": ""})
    with caplog.at_level("INFO", "invjax"):
        assert cpu.compiler_options() is None
    assert "xla_cpu_of_another_version" in caplog.text


def inverted(phi, image, seed=0, restarts=3, **options):
    """Pictures of a feature."""
    target = jax.jit(lambda phi, image: phi(image))(phi, image)
    options = {"recipe": "paper", "steps": 9, "every": 3} | options
    return invert(phi, target, key=jax.random.key(seed), image_shape=image.shape, restarts=restarts, **options)


def assert_same_bits(found, expected):
    """Results are the same."""
    assert np.isfinite(expected.images).all() and found.status.tolist() == expected.status.tolist()
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.relative_error, expected.relative_error)
    np.testing.assert_array_equal(found.history["total"], expected.history["total"])


@pytest.mark.parametrize("recipe", ["fast", "paper"])
def test_the_accelerators_way_finds_the_same_pictures(monkeypatch, recipe):
    phi = representations.get("hogb")
    image = blobs(24)[..., None].astype(np.float32) - 128
    one_by_one = inverted(phi, image, recipe=recipe)
    as_accelerators(monkeypatch)
    together = inverted(phi, image, recipe=recipe)
    np.testing.assert_allclose(together.images, one_by_one.images, rtol=0, atol=0.05)  # grey levels
    np.testing.assert_allclose(together.history["total"], one_by_one.history["total"], rtol=1e-3)
    assert together.status.tolist() == one_by_one.status.tolist()


@SEVERAL
@pytest.mark.skipif(not devices.sequential(), reason="accelerators round differently in batches of other sizes")
@pytest.mark.parametrize("case", ["hog", "dsift", "network"])
def test_cores_find_the_same_bits_in_whatever_batch(case, monkeypatch):
    phi, image = CASES[case]() if case in CASES else (representations.get(case), hog()[1])
    monkeypatch.setattr(memory, "TOGETHER", 1)  # products of groups round differently
    shared = inverted(phi, image, restarts=5)
    for batch_size in (1, 2, 4):
        assert_same_bits(inverted(phi, image, restarts=5, batch_size=batch_size), shared)
    with devices.using(1):
        assert_same_bits(inverted(phi, image, restarts=5), shared)


# --- callers at the same time ------------------------------------------------------------------------------------


class Running:
    """A program that takes its time: it is over when its result has been waited for."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now, self.most, self.callers = [], 0, 0

    def __call__(self, numbers, phi, batches, spent):
        with self.lock:
            self.now.append(phi)
            self.most, self.callers = max(self.most, len(self.now)), max(self.callers, len(set(self.now)))
        return Result(self, phi)


class Result:
    """What comes out: it knows for whom."""

    def __init__(self, program, phi):
        self.program, self.phi = program, phi

    def block_until_ready(self):
        """Waits, as for an array."""
        time.sleep(0.02)
        with self.program.lock:
            self.program.now.remove(self.phi)
        return self


@SEVERAL
def test_a_cpu_computes_for_one_caller_at_a_time_as_much_as_it_may(monkeypatch):
    running, size = Running(), 2 * devices.usable() + 1
    monkeypatch.setattr(devices, "sequential", lambda: True)
    monkeypatch.setattr(devices, "program", lambda *_: running)
    monkeypatch.setattr(devices, "executable", lambda *_: None)
    monkeypatch.setattr(devices, "_join", lambda results, *_: results)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda caller: devices.compute(product, (), caller, np.ones((size, 3))), range(8)))
    assert [[result.phi for result in results] for results in found] == [[caller] * size for caller in range(8)]
    assert running.callers == 1 and running.most == devices.usable() and not running.now


def test_two_threads_that_invert_find_the_bits_of_one_after_the_other():
    phi, image = network()
    inversions = [
        functools.partial(inverted, phi, image, seed, restarts, steps=60, every=6)
        for seed, restarts in ((0, 4), (1, 4), (2, 3))
    ]
    expected = [inversion() for inversion in inversions]
    assert np.abs(expected[0].images - expected[1].images).max() > 1
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            at_once = [pool.submit(inversion) for inversion in inversions]
            for future, alone in zip(at_once, expected, strict=True):
                assert_same_bits(future.result(), alone)
