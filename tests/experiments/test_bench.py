"""The benchmark runs, says what it could not measure, and the peers that it compares with compute the same."""

import io
import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.bench import attainable, command, measure, peers, plot, show, steps, suites
from experiments.bench.rows import OURS, Row, geometric_means, summary
from experiments.bench.timing import Others, Side, seconds
from invjax import UserError, devices, recipes, representations
from invjax.networks.layers import Concat, Conv, Dense, Dropout, GlobalAverage, LocalResponse, MaxPool, Relu
from invjax.networks.network import Network, chain
from invjax.representations.network import build, network
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
ROWS = [
    Row(
        name="hog",
        batch=8,
        device="cpu, 2 cores",
        rates={OURS: 1000.0, "described, eager": 80.0, "tuned, eager": 400.0, "tuned, compiled": 500.0},
        ratios={"described, eager": 12.5, "tuned, eager": 2.5, "tuned, compiled": 2.0},
        limit="bytes",
        attainable={"copy": 8.0},
        shares={"copy": 0.25},
        others=0.01,
    ),
    Row(
        name="caffenet/relu5",
        batch=4,
        device="cpu, 2 cores",
        rates={OURS: 90.0, "PyTorch, eager NHWC": 45.0},
        ratios={"PyTorch, eager NHWC": 2.0},
        limit="operations",
        shares={"convolution": 0.6, "product": 0.7, "copy": 0.1},
        skipped={"PyTorch, compiled": "torch.compile needs g++"},
    ),
    Row("hog", 256, "H100", skipped={"row": "needs a GPU: python -m experiments.bench --rows hog"}),
]


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.fixture
def small(monkeypatch):
    """Products, convolutions and copies of a few numbers, and steps one at a time."""
    monkeypatch.setattr(attainable, "SIDE", (64, 64))
    monkeypatch.setattr(attainable, "POSITIONS", 4)
    monkeypatch.setattr(attainable, "COPIED", (2**16, 2**16))
    for module, name in ((measure, "STEPS"), (measure, "SHALLOW_STEPS"), (suites, "SWEEP_STEPS")):
        monkeypatch.setattr(module, name, 1)


def test_seconds_are_those_of_a_step():
    calls = []
    times = seconds({"a": Side(lambda: calls.append("a"), 1000), "b": Side(lambda: calls.append("b"))}, rounds=3)
    assert calls == ["a", "b"] + ["a", "a", "b", "b"] * 3
    assert all(values.shape == (3,) and (values > 0).all() for values in times.values())
    assert np.median(times["a"]) < np.median(times["b"])


def test_others_are_a_share():
    share = Others().share()
    assert share is None or share >= 0


@pytest.mark.parametrize("kind", [attainable.CONVOLUTION, attainable.PRODUCT, attainable.COPY])
def test_attainable_rates(kind, small):
    times = seconds(attainable.sides((kind,), "bfloat16"), rounds=1)
    [rate] = attainable.rates(times | {f"{kind} slower": 1e3 * np.ones(1)}).values()
    assert rate == pytest.approx(attainable.gigas()[kind] / float(np.median(times[f"{kind} XLA"])))


def test_operations_of_an_attainable_convolution():
    kernel, positions = 3 * 3 * 256 * 256, 16 * 28 * 28
    assert attainable.gigas()[attainable.CONVOLUTION] == pytest.approx(2e-9 * kernel * positions)


def test_work_of_a_step():
    todo = measure.work(network("squeezenet", "conv1", weights="random"), (227, 227, 3), 2)
    # 111² positions of 96 channels that see 7×7×3 numbers; forward and back, a multiplication and an addition, twice
    assert todo.operations == pytest.approx(111**2 * 96 * 7 * 7 * 3 * 2 * 2 * 2 / 1e9)
    # picture, velocity and gradient, read and written; kernels and biases, forward and back
    assert todo.bytes == pytest.approx((2 * 227 * 227 * 3 * 6 + 2 * (7 * 7 * 3 * 96 + 96)) * 4e-9)
    hard, soft = (measure.work(representations.get(name), (10, 10, 1), 1).bytes for name in ("hog", "dsift"))
    assert (hard, soft) == pytest.approx((100 * 10 * 4e-9, 100 * 14 * 4e-9))


def test_limit_and_shares():
    todo, rates = measure.Work(operations=2.0, bytes=1.0), {"convolution": 10.0, "product": 20.0, "copy": 4.0}
    assert measure.bound(todo, rates) == "bytes"
    assert measure.bound(todo, rates | {"copy": 6.0}) == "operations"
    assert measure.shares(todo, 2.0, rates) == {"convolution": 0.4, "product": 0.2, "copy": 0.5}


def test_jax_starts_without_taking_all_memory(monkeypatch):
    def representation(row):  # the first to touch a device
        assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
        raise UserError("seen")

    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    monkeypatch.setattr(steps, "representation", representation)
    assert command.main(["--rows", "hog"]) == 2


def test_a_row_that_does_not_fit_says_so(monkeypatch):
    def measure(name, batch, *_):
        if batch > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return Row(name, batch, "a device", rates={"invjax": 1.0})

    monkeypatch.setattr(suites, "measure", measure)
    found = list(suites.rows(["hog"], [1, 4096], ["float32"], 1))
    assert found[0].rates and "does not fit" in found[1].skipped["row"]


def test_what_was_measured_before_it_was_stopped_is_kept(monkeypatch, capsys, tmp_path):
    def measure(name, batch, *_):
        if batch > 1:
            raise KeyboardInterrupt
        return Row(name, batch, "a device", rates={"invjax": 123.0}, shares={"copy": 0.5})

    monkeypatch.setattr(suites, "measure", measure)
    assert command.main(["--rows", "hog", "--batches", "1,2", "--out", str(tmp_path)]) == 130
    printed = capsys.readouterr()
    assert "123" in printed.out and printed.err.endswith("invjax: interrupted\n")
    assert "hog, batch 1: 123 per second" in printed.err
    assert json.loads((tmp_path / "bench.json").read_text())["rows"][0]["rates"] == {"invjax": 123.0}
    assert (tmp_path / "bench.txt").exists() and (tmp_path / "bench.png").exists()


def test_without_torch_ours_is_measured(without_torch, small, capsys, tmp_path):
    out = ["--json", str(tmp_path / "new" / "bench.json"), "--plot", str(tmp_path / "bench.png")]
    assert command.main(["--rows", "squeezenet/conv1", "--batches", "2", "--rounds", "1", *out]) == 0
    assert "skipped: PyTorch (squeezenet/conv1 batch 2): PyTorch is not installed" in capsys.readouterr().out
    [row] = json.loads((tmp_path / "new" / "bench.json").read_text())["rows"]
    assert list(row["rates"]) == [OURS] and row["rates"][OURS] > 0
    assert all(row["shares"][kind] > 0 for kind in ("convolution", "product", "copy"))
    assert row["skipped"] == {"PyTorch": "PyTorch is not installed: pip install 'torch>=2.4'"}
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_gpu_rows_are_skipped_with_the_command():
    goals = list(suites.goals())
    assert [row.name for row in goals] == ["caffenet/relu5", "caffenet/relu5", "hog", "the whole table"]
    assert all("needs a GPU: python -m experiments.bench " in row.skipped["row"] for row in goals)
    for row in goals:  # commands that exist
        arguments = row.skipped["row"].partition("experiments.bench ")[2].split()
        options = command.parsed(arguments)
        command.check(options)


def test_sweep(monkeypatch, small):
    monkeypatch.setattr(suites, "SWEEP", "squeezenet/conv1")
    monkeypatch.setattr(suites, "SWEEP_BATCH", 2)
    [row] = suites.sweep(["float32"], 1)
    assert row.ratios["one at a time"] == pytest.approx(row.rates[OURS] / row.rates["one at a time"])


def test_cells_of_a_sweep():
    phi = network("squeezenet", "conv1", weights="random")
    _, problems, _ = steps.swept(phi, 96)
    assert len(np.unique(jax.random.key_data(problems.key), axis=0)) == 32  # pictures × restarts
    sums = np.array(problems.target).reshape(96, -1).astype(np.float64).std(axis=1)
    keys = map(bytes, np.array(jax.random.key_data(problems.key)))
    assert len({*zip(sums, problems.weights["tv"].tolist(), keys, strict=True)}) == 96
    assert len(np.unique(sums)) == 8


def test_table_is_extrapolated(monkeypatch):
    monkeypatch.setattr(suites, "table_layers", lambda: ("conv1",))
    layer, whole = suites.table(["float32"], 4 / 400 / 300)  # four steps of one of the 300 reconstructions
    assert layer.name == "caffenet/conv1"
    taken = 300 * 400 / layer.rates[OURS]
    assert f"{taken:.0f} s extrapolated from 1 of 300 reconstructions × 4 of 400 steps" in whole.note


def test_devices_of_one_two_and_more(monkeypatch):
    monkeypatch.setattr(suites, "DEVICE_ROWS", ("hog",))
    one, *more = suites.devices(["float32"], 1)
    assert one.rates and not one.ratios
    assert 1 + len(more) == devices.usable().bit_length()
    for row in more:
        assert row.ratios["one device"] == pytest.approx(row.rates[OURS] / one.rates[OURS])


def test_means_are_over_the_best_of_each_kind():
    assert ROWS[0].families() == {"described": 12.5, "tuned": 2.0}
    assert geometric_means([*ROWS, ROWS[0].__class__("dsift", 1, "", ratios={"tuned, eager": 8.0})]) == pytest.approx(
        {"described": 12.5, "tuned": 4.0, "PyTorch": 2.0}
    )


def test_tables_say_what_is_missing():
    console = Console(width=120, record=True, file=io.StringIO())
    show.show(ROWS, console)
    text = console.export_text()
    assert "skipped: hog batch 256: needs a GPU: python -m experiments.bench --rows hog" in text
    assert "skipped: PyTorch, compiled (caffenet/relu5 batch 4): torch.compile needs g++" in text
    assert "measured on: cpu, 2 cores" in text and "ratios to tuned: 2.00" in text
    layers, others = show.tables(ROWS)
    columns = {str(column.header): list(column.cells) for column in others.columns}
    assert (
        columns[""] == ["hog", "hog"] and columns[OURS] == ["1,000", ""] and columns["ratio to\ntuned"] == ["2.00", ""]
    )
    columns = {str(column.header): list(column.cells) for column in layers.columns}
    assert columns["share of\nconvolutions"] == ["60%"] and columns["limit"] == ["operations"]


def test_json_of_rows():
    result = json.loads(json.dumps(summary(ROWS, 5)))
    assert [row["ratio"] for row in result["rows"]] == [2.0, 2.0, None]
    assert result["geometric_means"]["tuned"] == pytest.approx(2) and "jax" in result["versions"]


def test_plot_of_rows(tmp_path):
    plot.draw(ROWS, tmp_path / "bench.png")
    plot.draw(ROWS[2:], tmp_path / "nothing.png")
    assert (tmp_path / "bench.png").exists() and not (tmp_path / "nothing.png").exists()


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["everything"], "unknown suite 'everything'. Valid: networks, shallow, sweep, devices, table"),
        (["--rows", "hog", "--quick"], "exclude each other"),
        (["--rows", "squeezenet/relu1"], "relu_conv1"),
        (["--rows", "hog/relu1"], "hog has no option 'layer'"),
        (["--rows", "hogg"], "hogg"),
        (["--rows", "hog", "--precision", "half"], "precision must be of float32, tf32, bfloat16, got 'half'"),
        (["--rows", "hog,squeezenet/relu1"], "relu_conv1"),  # not after the first one is measured
        (["--rows", "hog", "--precision", ","], "--precision is empty"),
        (["--plot", "bench.gif"], "--plot must end in .png or .pdf, got bench.gif"),
        (["--rows", "hog", "--batches", "x"], "must be a whole number, got 'x'"),
        (["--batches", "4"], "--batches is for --rows"),
        (["--rows", "hog", "--batches", "0"], "must be at least 1, got 0"),
        (["table", "--fraction", "0"], "--fraction must be above 0 and at most 1, got 0"),
    ],
)
def test_mistakes_are_one_line(arguments, complaint, capsys):
    assert command.main([*arguments]) == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1


@pytest.fixture
def torch():
    """PyTorch, which tests do not require, on one core: pictures are small."""
    module = pytest.importorskip("torch", reason="compares with PyTorch: pip install 'torch>=2.4'")
    threads = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(threads)


def noise(side, channels):
    """A picture without ties of orientations."""
    return np.random.default_rng(0).normal(0, 60, (side, side, channels)).astype(np.float32)


def compare(peer, phi, image, weights, method):
    """Values and gradients where the peer has got to, against ours."""
    ours = jax.vmap(jax.value_and_grad(lambda u: method.objective(u, phi, phi(jnp.asarray(image)), weights)[0]))
    values, gradients = peer.value_and_gradient()
    expected_values, expected_gradients = ours(jnp.asarray(peer.u.permute(0, 2, 3, 1).numpy()))
    np.testing.assert_allclose(values.numpy(), expected_values, rtol=1e-4)
    difference = gradients.permute(0, 2, 3, 1).numpy() - expected_gradients
    assert np.linalg.norm(difference) < 1e-4 * np.linalg.norm(expected_gradients)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("layer", ["fc", "average", "norm1"])
@pytest.mark.usefixtures("torch")
def test_network_peer_computes_the_same(layer, channels_last):
    from experiments.bench import torch_descent, torch_networks

    whole = Network(LAYERS, InputSpec(3, size=32), (layer,))
    params = random.draw(whole, 0, whole.weighted())
    image, setting = noise(32, 3), torch_descent.Setting(channels_last=channels_last)
    phi = build(whole, params)
    method, weights, _ = recipes.prepare(phi, image.shape, "paper")
    features = torch_networks.features(whole, params, setting)
    peer = torch_descent.Descent(features, image, weights, 2, setting)
    peer.advance(3)
    compare(peer, phi, image, weights, method)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["hog", "hogb", "dsift"])
def test_tuned_peer_computes_the_same(torch, name, compiled):
    """Both ways to pool: what is meant to be compiled is not compiled here."""
    from experiments.bench import torch_descent, torch_tuned

    image, phi = noise(61, 1), representations.get(name)
    features = torch_tuned.features(phi.apply, 61, torch_descent.Setting(compiled=compiled))
    expected = np.moveaxis(np.asarray(phi(jnp.asarray(image))), -1, 0)
    np.testing.assert_allclose(features(torch.tensor(image).permute(2, 0, 1)[None])[0], expected, rtol=0, atol=1e-4)
    method, weights, _ = recipes.prepare(phi, image.shape, "paper")
    peer = torch_descent.Descent(features, image, weights, 2, torch_descent.Setting())
    peer.advance(1)
    compare(peer, phi, image, weights, method)


@pytest.mark.parametrize("name", ["hog", "hogb", "dsift"])
def test_described_peer_computes_the_same(torch, name):
    """In float64, since the arccosine, by which the paper describes bilinear votes, is steep at one."""
    from experiments.bench import torch_convolutions

    image, phi = noise(61, 1), representations.get(name)
    picture = torch.tensor(image, dtype=torch.float64).permute(2, 0, 1)[None].requires_grad_()
    feature = torch_convolutions.features(phi.apply, torch.zeros((), dtype=torch.float64))(picture)
    expected, pull_back = jax.vjp(phi, jnp.asarray(image))
    np.testing.assert_allclose(feature[0].detach(), np.moveaxis(np.asarray(expected), -1, 0), rtol=0, atol=1e-4)
    cotangent = np.random.default_rng(1).normal(size=expected.shape).astype(np.float32)
    [gradient] = torch.autograd.grad(feature, picture, torch.tensor(cotangent).double().permute(2, 0, 1)[None])
    [wanted] = pull_back(jnp.asarray(cotangent))
    assert np.linalg.norm(gradient[0, 0].numpy() - np.asarray(wanted)[..., 0]) < 1e-4 * np.linalg.norm(wanted)


def test_peer_steps_with_momentum(torch):
    from experiments.bench import torch_descent

    weights = {"alpha": 1.0, "tv": 1.0}
    peer = torch_descent.Descent(lambda x: x.square(), noise(8, 3), weights, 2, torch_descent.Setting())
    velocity = torch.zeros(())
    for _ in range(3):
        velocity = 0.9 * velocity - torch_descent.RATE * peer.value_and_gradient()[1]
        expected = peer.u + velocity
        peer.advance(1)
        torch.testing.assert_close(peer.u, expected)


def test_a_peer_that_fails_is_named(torch, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("experiments.bench.torch_descent.Descent.advance", lambda *_: 1 / 0)
    phi = representations.get("hog")
    _, problems, image = steps.prepared(phi, "paper", 1)
    found, missing = peers.sides(phi, image, problems, "float32", 1)
    assert found == {}
    assert missing["tuned, eager"] == "ZeroDivisionError: division by zero"
    assert missing["tuned, compiled"] == "torch.compile needs g++"
