"""The benchmark runs, and the peer that it compares with computes the same."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import bench
from invjax import recipes
from invjax.nets.layers import Concat, Conv, Dense, Dropout, GlobalAverage, LocalResponse, MaxPool, Relu
from invjax.nets.network import Network, chain
from invjax.representations.networks import build, network
from invjax.types import InputSpec
from invjax.weights import random

LAYERS = chain(
    ("conv1", Conv(12, 5, stride=3, pad=1)),
    ("relu1", Relu()),
    ("norm1", LocalResponse(alpha=0.1, k=2.0)),
    ("grouped", Conv(8, 3, pad=1, groups=2)),
    ("relu2", Relu()),
    ("beside", Conv(4, 1), "norm1"),
    ("both", Concat(), "relu2", "beside"),
    ("pool", MaxPool()),
    ("drop", Dropout()),
    ("fc", Dense(10)),
    ("average", GlobalAverage(), "pool"),
)


@pytest.mark.slow
def test_shallow(capsys):
    bench.main(["--layers", "hog", "--batches", "1", "--steps", "1", "--rounds", "1"])
    assert "vmap" in capsys.readouterr().out


def test_cnn_without_torch(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    file = tmp_path / "bench.json"
    small = ["--network", "squeezenet", "--layers", "conv1", "--batches", "2", "--steps", "1", "--rounds", "1"]
    bench.main(["--suite", "cnn", *small, "--json", str(file)])
    assert "PyTorch is not installed" in capsys.readouterr().out
    [row] = json.loads(file.read_text())["rows"]
    assert list(row["ms"]) == ["invjax"]
    # 111² positions of 96 channels that see 7×7×3 numbers; forward and back, a multiplication and an addition, twice
    assert row["gflop"] == pytest.approx(111**2 * 96 * 7 * 7 * 3 * 2 * 2 * 2 / 1e9)


def test_sweep(capsys, tmp_path):
    file = tmp_path / "bench.json"
    bench.main(
        [
            "--suite",
            "sweep",
            "--layers",
            "conv1",
            "--batches",
            "2",
            "--steps",
            "1",
            "--rounds",
            "1",
            "--json",
            str(file),
        ]
    )
    assert "one at a time" in capsys.readouterr().out
    [row] = json.loads(file.read_text())["rows"]
    assert row["ratio"] == pytest.approx(row["ms"]["one at a time"] / row["ms"]["one batch"])


def test_cells_of_a_sweep():
    phi = network("squeezenet", "conv1", weights="random")
    _, problems, _ = bench.swept(phi, 96)
    assert len(np.unique(jax.random.key_data(problems.key), axis=0)) == 32  # pictures × restarts
    sums = np.array(problems.target).reshape(96, -1).astype(np.float64).std(axis=1)
    cells = {
        *zip(
            sums, problems.weights["tv"].tolist(), map(bytes, np.array(jax.random.key_data(problems.key))), strict=True
        )
    }
    assert len(cells) == 96
    assert len(np.unique(sums)) == 8


def test_says_which_layers_there_are(capsys):
    with pytest.raises(SystemExit, match="relu_conv1"):
        bench.main(["--suite", "cnn", "--network", "squeezenet", "--layers", "relu1"])


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("layer", ["fc", "average", "norm1"])
def test_peer_computes_the_same(layer, channels_last):
    pytest.importorskip("torch")
    from experiments import torch_peer

    network = Network(LAYERS, InputSpec(3, size=32), (layer,))
    params = random.draw(network, 0, network.weighted())
    image = np.random.default_rng(0).normal(0, 60, (32, 32, 3)).astype(np.float32)
    phi = build(network, network.prepare(jax.tree.map(jnp.asarray, params)))
    method, weights, _ = recipes.prepare(phi, image.shape, "paper")
    peer = torch_peer.Inversion(network, params, image, weights, 2, channels_last)
    peer.advance(3)
    values, gradients = peer.value_and_gradient()
    ours = jax.vmap(jax.value_and_grad(lambda u: method.objective(u, phi, phi(jnp.asarray(image)), weights)[0]))
    expected_values, expected_gradients = ours(jnp.asarray(peer.u.permute(0, 2, 3, 1).numpy()))
    np.testing.assert_allclose(values.numpy(), expected_values, rtol=1e-5)
    difference = gradients.permute(0, 2, 3, 1).numpy() - expected_gradients
    assert np.abs(difference).max() < 1e-5 * np.abs(expected_gradients).max()


def test_peer_steps_with_momentum():
    torch = pytest.importorskip("torch")
    from experiments import torch_peer

    network = Network(LAYERS, InputSpec(3, size=32), ("relu1",))
    image = np.random.default_rng(0).normal(0, 60, (32, 32, 3)).astype(np.float32)
    weights = {"alpha": 1.0, "tv": 1.0}
    peer = torch_peer.Inversion(network, random.draw(network, 0, network.weighted()), image, weights, 2, True)
    velocity = torch.zeros(())
    for _ in range(3):
        velocity = 0.9 * velocity - torch_peer.RATE * peer.value_and_gradient()[1]
        expected = peer.u + velocity
        peer.advance(1)
        torch.testing.assert_close(peer.u, expected)
