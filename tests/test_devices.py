"""A batch that accelerators or cores share is the batch of one: a CPU pretends to be 2 and 8 devices."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from invjax import InputSpec, descent, devices, inversion, recipes, representations
from invjax.networks import Network
from invjax.networks.layers import Conv, Dense, LocalResponse, Relu
from invjax.networks.network import chain
from invjax.representations.network import build

from .conftest import blobs

STEPS, RESTARTS = 18, 9  # no multiple of the devices
PROGRAM = """
import sys
import jax
import numpy as np
from invjax import devices
import pytest
from tests import conftest, test_devices

count, way, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
assert jax.local_device_count() == count
if way == "accelerators":
    conftest.as_accelerators(pytest.MonkeyPatch())
assert devices.usable() == (devices.CORES if way == "cores" else count)
found = {name: test_devices.solved(name) for name in test_devices.CASES}
np.savez(out, **{f"{name}/{key}": value for name, result in found.items() for key, value in result.items()})
"""


def hog():
    """A representation without weights, and a picture."""
    return representations.get("hog"), blobs(33)[..., None].astype(np.float32) - 128


def network():
    """One with a fully connected layer, of which a CPU computes several reconstructions in one program."""
    picture = np.stack([blobs(12, seed) for seed in range(3)], -1).astype(np.float32) - 128
    layers = chain(("conv", Conv(8, 5, stride=2)), ("relu", Relu()), ("norm", LocalResponse()), ("fc", Dense(6)))
    table = Network(layers, InputSpec(3, (128.0,) * 3, size=12))
    return build(table, table.init(jax.random.key(1), picture[None])), picture


CASES = {"hog": hog, "network": network}


def problem_of(name):
    """(method, phi, problems)."""
    phi, image = CASES[name]()
    method, weights, _ = recipes.prepare(phi, image.shape, "paper", steps=STEPS)
    keys = [inversion.restart_key(jax.random.key(0), restart) for restart in range(RESTARTS)]
    target = jax.jit(lambda phi, image: phi(image))(phi, image)
    return method, phi, inversion.batch_of(target, keys, weights)


def solved(name):
    """The results, and where the descent stood in the middle."""
    method, phi, problems = problem_of(name)
    for progress in inversion.solve(method, phi, problems, STEPS, every=9):
        if progress.step == 9:
            leaves = jax.tree.leaves(inversion.detached(progress).states)
            middle = {f"state {i}": leaf for i, leaf in enumerate(leaves)}
            middle |= {f"history {term}": values for term, values in progress.history.items()}
    return middle | results(inversion.finish(method, phi, problems, progress))


def results(found):
    """What is compared."""
    return {
        "images": found.images,
        "error": found.relative_error,
        "total": found.history["total"],
        "status": found.status,
    }


def resumed(name, saved):
    """The results of going on, in this process, from where another process stood."""
    method, phi, problems = problem_of(name)
    leaves = [saved[f"{name}/state {i}"] for i in range(sum(key.startswith(f"{name}/state") for key in saved))]
    states = jax.tree.unflatten(descent.state_structure(method), leaves)
    history = {key.rpartition(" ")[2]: saved[key] for key in saved if key.startswith(f"{name}/history")}
    *_, last = inversion.solve(method, phi, problems, STEPS, 9, inversion.Progress(states, 9, history))
    return results(inversion.finish(method, phi, problems, last))


@pytest.fixture(scope="module")
def alone():
    """The results of one core, or device."""
    with devices.using(1):
        return {name: solved(name) for name in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("count, way", [(devices.CORES + 1, "cores"), (2, "accelerators"), (8, "accelerators")])
def test_the_same_results_as_on_one_device(alone, tmp_path, count, way):
    out = tmp_path / "out.npz"
    environment = {"JAX_NUM_CPU_DEVICES": str(count), "JAX_PLATFORMS": "cpu"}
    arguments = [sys.executable, "-c", PROGRAM, str(count), way, str(out)]
    done = subprocess.run(arguments, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(out) as arrays:
        saved = dict(arrays)
    for name, expected in alone.items():
        assert saved[f"{name}/status"].tolist() == ["ok"] * RESTARTS
        with devices.using(1):
            gone_on = resumed(name, saved)
        for key in ("images", "error", "total"):
            scale = np.abs(expected[key]).max()
            np.testing.assert_allclose(saved[f"{name}/{key}"], expected[key], rtol=0, atol=1e-5 * scale)
            np.testing.assert_allclose(gone_on[key], expected[key], rtol=0, atol=1e-5 * scale)
