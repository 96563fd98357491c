"""A function of one reconstruction over a batch: the same results whichever devices share it, and never all threads."""

import dataclasses
import functools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import devices, invert, representations

from .conftest import as_accelerators, blobs
from .test_devices import CASES, network

SEVERAL = pytest.mark.skipif(devices.CORES == 1, reason="one core shares nothing")
WAYS = ["one device", "several", "in groups", "an accelerator's", "several accelerators'"]


@pytest.fixture
def pretend(monkeypatch):
    """Sets how many CPU devices there are, on how many cores, and the memory of the machine."""

    def pretend(there, cores, memory=2**60):
        monkeypatch.setattr(devices, "sequential", lambda: True)
        monkeypatch.setattr(devices, "CORES", cores)
        monkeypatch.setattr(devices, "host_memory", lambda: memory)
        monkeypatch.setattr(jax, "local_device_count", lambda: there)

    return pretend


# --- which devices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_a_cpu_always_has_a_device_to_spare(pretend, cores):
    for there in range(1, cores + 4):
        pretend(there, cores)
        found = {size: devices.sharing(np.ones(3), size) for size in range(1, 20)}
        assert all(1 <= sharing <= min(size, cores) for size, sharing in found.items())
        assert there == 1 or max(found.values()) < there
        assert max(found.values()) == devices.usable() == max(1, min(cores, there - 1))  # no other one is idle


def test_of_accelerators_none_is_spared(pretend, monkeypatch):
    pretend(4, 2)
    monkeypatch.setattr(devices, "sequential", lambda: False)
    assert [devices.sharing(np.ones(3), size) for size in (1, 3, 4, 9)] == [1, 3, 4, 4]


def test_weights_that_are_large_for_the_memory_are_copied_to_fewer_devices(pretend, monkeypatch):
    phi = {"kernel": np.ones((50, 40), np.float32), "bias": np.ones(8, np.float32)}
    assert devices.nbytes(phi) == 4 * 2008
    for copies, sharing in ((0.5, 1), (1.5, 1), (2.5, 2), (7.5, 7), (100, 8)):
        pretend(9, 8, int(copies * 4 * 2008 / devices.COPIES))
        assert devices.sharing(phi, 20) == sharing
        assert devices.sharing(phi, 1) == 1
    pretend(9, 8, 1)
    monkeypatch.setattr(devices, "sequential", lambda: False)
    assert devices.sharing(phi, 20) == 9  # what an accelerator holds is not the machine's memory


@SEVERAL
def test_a_batch_of_large_weights_is_computed_all_the_same(monkeypatch):
    weights, batch = np.arange(12, dtype=np.float32).reshape(3, 4), np.eye(3, dtype=np.float32)

    def computed():
        placed = devices.place(weights, batch)
        found = devices.compute(product, (), *placed, numbers=(2,))
        return len(found.sharding.device_set), devices.trimmed(found, 3)

    many, expected = computed()
    assert many == min(3, devices.usable()) > 1
    monkeypatch.setattr(devices, "host_memory", lambda: int(1.5 * weights.nbytes / devices.COPIES))
    few, found = computed()
    assert few == 1
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, 2 * weights)


def product(number, weights, row):
    """A function of one row."""
    return number * (row @ weights)


STARTS = {
    "the command line's": ("", {}, devices.CORES + (devices.CORES > 1), devices.CORES),
    "chosen by the user": ("", {"JAX_NUM_CPU_DEVICES": "2"}, 2, 1),
    "chosen for XLA": ("", {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}, 1, 1),
    "too late": ("jax.numpy.ones(3)", {}, 1, 1),
}


@pytest.mark.parametrize("start", STARTS)
def test_all_cores_are_used_where_nothing_else_was_chosen(start):
    before, environment, there, usable = STARTS[start]
    unset = {name: value for name, value in os.environ.items() if name not in {"JAX_NUM_CPU_DEVICES", "XLA_FLAGS"}}
    report = "print(devices.use_all_cores(), jax.local_device_count(), devices.usable())"
    done = subprocess.run(
        [sys.executable, "-c", f"import jax\nfrom invjax import devices\n{before}\n{report}"],
        env=unset | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(usable == devices.CORES), str(there), str(usable)]


def test_batches_are_filled_up(monkeypatch):
    monkeypatch.setattr(devices, "sequential", lambda: True)
    assert [devices.rounded(size, count) for size, count in ((5, 1), (5, 2), (6, 2), (33, 4))] == [5, 6, 6, 36]
    monkeypatch.setattr(devices, "sequential", lambda: False)
    assert [devices.rounded(size, count) for size, count in ((5, 2), (8, 1), (9, 1), (18, 1), (40, 2))] == [
        6,
        8,
        16,
        24,
        48,
    ]


@SEVERAL
def test_what_fills_up_is_the_last_one_and_is_cut_off_again():
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
            together=2 if way == "in groups" else 1,
        )
        found = devices.trimmed(found, 5)
    np.testing.assert_allclose(found["name"], inputs["a"].sum(1) + inputs["b"])
    np.testing.assert_allclose(found["scaled"], 3 * 10 * inputs["b"])


def scaled(name, number, phi, one, state):
    """A function of a reconstruction and a state."""
    return {name: jnp.sum(one["a"]) + one["b"], "scaled": number * phi * state}


def test_an_option_that_xla_does_not_know_is_not_given(monkeypatch, caplog):
    devices.compiler_options.cache_clear()
    monkeypatch.setattr(devices, "NO_CONVOLUTIONS", {"xla_cpu_of_another_version": ""})
    try:
        with caplog.at_level("INFO", "invjax"):
            assert devices.compiler_options() is None
    finally:
        devices.compiler_options.cache_clear()
    if devices.sequential():
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
@pytest.mark.parametrize("case", CASES)
def test_cores_that_share_a_batch_find_the_bits_of_one(case):
    phi, image = CASES[case]()
    phi = dataclasses.replace(phi, together=1)  # products of groups round differently
    shared = inverted(phi, image, restarts=5)
    with devices.using(1):
        assert_same_bits(shared, inverted(phi, image, restarts=5))


# --- callers at the same time ------------------------------------------------------------------------------------


class Running:
    """A program that takes its time: it is over when its result has been waited for."""

    def __init__(self):
        self.now = self.most = 0

    def __call__(self, *_):
        self.now += 1
        self.most = max(self.most, self.now)
        return self

    def block_until_ready(self):
        """Waits, as for an array."""
        time.sleep(0.02)
        self.now -= 1
        return self


def test_a_cpu_computes_for_one_caller_at_a_time(monkeypatch):
    running = Running()
    monkeypatch.setattr(devices, "sequential", lambda: True)
    monkeypatch.setattr(devices, "program", lambda *_: running)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: devices.compute(product, (), np.ones(3), np.ones((2, 3))), range(8)))
    assert results == [running] * 8
    assert running.most == 1 and running.now == 0


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
