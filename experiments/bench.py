"""Times gradient steps. All sides of a comparison are warm and blocked, and take turns in one run.

python -m experiments.bench                   shallow representations: one reconstruction per core against `vmap`,
                                              recipe fast (about two minutes on two cores)
python -m experiments.bench --suite cnn       layers of a network: ours against the same step in PyTorch, recipe paper,
    [--network caffenet] [--layers norm1,norm2,relu5,fc8] [--batches 1,4,16]       (about five minutes on two cores;
                                              PyTorch comes with pip install 'invjax[bench]')
python -m experiments.bench --suite sweep     cells of a sweep, 3 λ_TV × 8 pictures × 4 restarts, as one batch against
    [--network squeezenet] [--layers fire4/concat] [--batches 96]       one after the other, recipe fast (six minutes)
All: [--batches 8] [--steps 10] [--rounds 5] [--json FILE]

Times are medians over the rounds, ratios medians of the rounds' ratios: above one, the first side is the faster one.
"gflop" is the work of a step, "share" our rate relative to a product of two large matrices, "others" the share of the
cores that other processes had meanwhile: threads that wait for one another make PyTorch several times slower on a busy
machine, so ratios are to be trusted only where nothing else runs.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from invjax import images, inversion, recipes, representations
from invjax.errors import UserError
from invjax.representations.networks import network
from invjax.types import Representation

Side = Callable[[int], Any]  # takes that many steps
Row = dict[str, Any]

SHALLOW = ("hog", "hogb", "dsift", "hog_uoctti")
OURS, MATMUL = "invjax", "matmul"
MATMUL_SIDE = 2048
SWEPT = (0.5, 5.0, 50.0)  # λ_TV

DEFAULTS: dict[str, dict[str, Any]] = {  # by suite
    "shallow": {"network": None, "layers": list(SHALLOW), "batches": [8]},
    "cnn": {"network": "caffenet", "layers": ["norm1", "norm2", "relu5", "fc8"], "batches": [1, 4, 16]},
    "sweep": {"network": "squeezenet", "layers": ["fire4/concat"], "batches": [96]},
}


def seconds(sides: dict[str, Side], steps: int, rounds: int) -> dict[str, np.ndarray]:
    """Seconds per step of each side, [rounds]; in each round one side after the other takes `steps` steps."""
    for side in sides.values():  # compiles
        side(steps)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            side(1)  # wakes its threads, while those of the side before go to sleep, and warms the caches
            before = time.perf_counter()
            side(steps)
            times[name].append((time.perf_counter() - before) / steps)
    return {name: np.array(values) for name, values in times.items()}


def going_on(advance: Callable[[inversion.State, int], inversion.State], states: inversion.State) -> Side:
    """A side that goes on, call by call, from where it stood."""

    def side(steps: int) -> None:
        nonlocal states
        states = jax.block_until_ready(advance(states, steps))

    return side


def prepared(phi: Representation, recipe: str, batch: int) -> tuple[recipes.Method, inversion.Problem, np.ndarray]:
    """The method, `batch` problems and the picture that they are to find."""
    image = images.load_image(images.astronaut(), phi.input, size=phi.input.size)
    method, weights, _ = recipes.prepare(phi, image.shape, recipe)
    keys = [jax.random.key(restart) for restart in range(batch)]
    return method, inversion.batch_of(phi(jnp.asarray(image)), keys, weights), image


def shallow(names: list[str], batches: list[int], steps: int, rounds: int) -> Iterator[Row]:
    """Milliseconds per reconstruction and step of the two ways to compute a batch."""
    for name in names:
        for batch in batches:
            times = seconds(both_ways(name, batch), steps, rounds)
            yield {
                "name": name,
                "batch": batch,
                "ms": {side: 1e3 * np.median(values) / batch for side, values in times.items()},
                "ratio": np.median(times["vmap"] / times["one per core"]),
            }


def both_ways(name: str, batch: int) -> dict[str, Side]:
    """Steps of a batch, one reconstruction per core and by `vmap`."""
    phi = representations.get(name)
    method, problems, image = prepared(phi, "fast", batch)
    vmapped = jax.jit(jax.vmap(functools.partial(inversion.step, method, phi)), donate_argnums=1)

    def together(states: inversion.State, steps: int) -> inversion.State:
        for _ in range(steps):
            states = vmapped(problems, states)
        return states

    return {
        "one per core": ours(method, phi, problems, image.shape),
        "vmap": going_on(together, inversion.batched_start(method, phi, problems, image.shape)),
    }


def ours(
    method: recipes.Method, phi: Representation, problems: inversion.Problem, image_shape: tuple[int, int, int]
) -> Side:
    """Steps of a batch as a real run takes them."""
    states = inversion.batched_start(method, phi, problems, image_shape)
    return going_on(lambda states, steps: inversion.advance(method, phi, problems, states, steps), states)


def cnn(name: str, layers: list[str], batches: list[int], steps: int, rounds: int, peer: bool) -> Iterator[Row]:
    """Milliseconds per step of a whole batch, ours and the peer's, and what ours makes of the machine.

    "gflop" counts the multiplications and additions of convolutions and dense layers, forward and for the gradient
    with respect to the picture; "share" is their rate relative to a product of two large matrices.
    """
    for layer in layers:
        phi = network(name, layer, weights="random")
        for batch in batches:
            times = seconds(network_sides(phi, batch, peer) | {MATMUL: matmul()}, steps, rounds)
            matmul_rate = 2e-9 * MATMUL_SIDE**3 / times.pop(MATMUL)
            gflop = 4e-9 * phi.apply.network.operations() * batch  # type: ignore[attr-defined]
            row = {
                "name": layer,
                "batch": batch,
                "ms": {side: 1e3 * np.median(values) for side, values in times.items()},
                "gflop": gflop,
                "share": np.median(gflop / times[OURS] / matmul_rate),
            }
            mine = times.pop(OURS)
            if times:
                row["ratio"] = np.median(min(times.values(), key=np.median) / mine)
            yield row


def network_sides(phi: Representation, batch: int, peer: bool) -> dict[str, Side]:
    """Steps of a batch, ours and the peer's in both memory layouts."""
    method, problems, image = prepared(phi, "paper", batch)
    sides = {OURS: ours(method, phi, problems, image.shape)}
    return sides | (peer_sides(phi, image, problems) if peer else {})


def peer_sides(phi: Representation, image: np.ndarray, problems: inversion.Problem) -> dict[str, Side]:
    """Steps of the peer in each memory layout."""
    from experiments import torch_peer

    weights = {name: float(weight[0]) for name, weight in problems.weights.items()}
    truncated, params, batch = phi.apply.network, phi.params["params"], len(problems.key)  # type: ignore[attr-defined]
    return {
        name: torch_peer.Inversion(truncated, params, image, weights, batch, channels_last).advance
        for name, channels_last in (("torch NCHW", False), ("torch NHWC", True))
    }


def sweep(name: str, layers: list[str], batches: list[int], steps: int, rounds: int) -> Iterator[Row]:
    """Milliseconds per reconstruction and step of the cells of a sweep, all at once and one at a time."""
    for layer in layers:
        phi = network(name, layer, weights="random")
        for batch in batches:
            times = seconds(both_orders(phi, batch), steps, rounds)
            yield {
                "name": layer,
                "batch": batch,
                "ms": {side: 1e3 * np.median(values) / batch for side, values in times.items()},
                "ratio": np.median(times["one at a time"] / times["one batch"]),
            }


def both_orders(phi: Representation, batch: int) -> dict[str, Side]:
    """Steps of the first `batch` cells of a sweep, all at once and one at a time, by the same compiled step."""
    method, problems, image = swept(phi, batch)
    alone = [ours(method, phi, problem, image.shape) for problem in inversion.split(problems, 1)]
    return {
        "one batch": ours(method, phi, problems, image.shape),
        "one at a time": lambda steps: [side(steps) for side in alone],
    }


def swept(phi: Representation, batch: int) -> tuple[recipes.Method, inversion.Problem, np.ndarray]:
    """The method, the cells of a sweep, λ_TV fastest, then pictures, then restarts, and a picture."""
    image = images.load_image(images.astronaut(), phi.input, size=phi.input.size)
    pictures = [np.rot90(side, turns) for side in (image, image[:, ::-1]) for turns in range(4)]
    targets = jnp.stack([phi(jnp.asarray(picture)) for picture in pictures])
    method, weights, _ = recipes.prepare(phi, image.shape, "fast")
    cell = np.arange(batch)
    picture, restart = cell // len(SWEPT) % len(pictures), cell // len(SWEPT) // len(pictures)
    lambdas = {name: jnp.full(batch, weight, jnp.float32) for name, weight in weights.items()}
    lambdas["tv"] = jnp.asarray(np.resize(SWEPT, batch), jnp.float32)
    keys = jax.vmap(jax.random.key)(picture + len(pictures) * restart)
    return method, inversion.Problem(targets[picture], keys, lambdas), image


def peer_missing() -> str:
    """Why there is no peer to compare with, or nothing."""
    if jax.default_backend() != "cpu":
        return "The PyTorch peer is written for CPUs: our side only."
    try:
        import torch  # noqa: F401
    except ImportError:
        return "PyTorch is not installed (pip install 'invjax[bench]'): our side only."
    return ""


def matmul() -> Side:
    """Products of two large matrices, to know what the machine can do at that time."""
    factor = jax.random.normal(jax.random.key(0), (MATMUL_SIDE, MATMUL_SIDE))
    product = jax.jit(jnp.matmul)
    return lambda steps: [product(factor, factor).block_until_ready() for _ in range(steps)]


def summary(rows: list[Row], options: argparse.Namespace) -> dict[str, Any]:
    """Everything measured, and on what, ready for JSON."""
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    packages = ("jax", "torch")
    return {
        "suite": options.suite,
        "network": options.network,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "versions": {name: version for name in packages if (version := _version(name))},
        "steps": options.steps,
        "rounds": options.rounds,
        "rows": rows,
        "geometric_mean": float(np.exp(np.mean(np.log(ratios)))) if ratios else None,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(result: dict[str, Any]) -> Table:
    """The rows as a table."""
    unit = "ms / step" if result["suite"] == "cnn" else "ms / reconstruction and step"
    title = ", ".join(filter(None, (result["network"], unit)))
    numbers = {"ratio": "{:.2f}", "gflop": "{:.1f}", "share": "{:.0%}", "others": "{:.0%}"}
    shown = [key for key in numbers if any(key in row for row in result["rows"])]
    drawn = Table("", "batch", *result["rows"][0]["ms"], *shown, box=box.SIMPLE, title=title)
    for row in result["rows"]:
        times = (f"{value:.2f}" for value in row["ms"].values())
        rest = (numbers[key].format(row[key]) for key in shown)
        drawn.add_row(row["name"], str(row["batch"]), *times, *rest)
    return drawn


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; lists are separated by commas."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=tuple(DEFAULTS), default="shallow")
    parser.add_argument("--network")
    parser.add_argument("--layers", type=lambda text: text.split(","), help="shallow: names of representations")
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args(arguments)
    for name, value in DEFAULTS[options.suite].items():
        setattr(options, name, getattr(options, name) or value)
    return options


def observed(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows, with the share of the cores that other processes had meanwhile as "others", where the system tells."""
    while True:
        before, since = elsewhere(), time.perf_counter()
        row = next(rows, None)
        if row is None:
            return
        others = np.maximum(0, elsewhere() - before) / (time.perf_counter() - since) / (os.cpu_count() or 1)
        yield row | ({"others": others} if np.isfinite(others) else {})


def elsewhere() -> float:
    """Seconds of processor time that all other processes have had since the system started; NaN where unknown."""
    try:
        line = pathlib.Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return float("nan")
    user, nice, system, _, _, *interrupts = map(int, line.split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - time.process_time()


def measure(options: argparse.Namespace, console: Console) -> Iterator[Row]:
    """The rows of the suite asked for."""
    if options.suite == "shallow":
        return shallow(options.layers, options.batches, options.steps, options.rounds)
    if options.suite == "sweep":
        return sweep(options.network, options.layers, options.batches, options.steps, options.rounds)
    if why := peer_missing():
        console.print(why)
    return cnn(options.network, options.layers, options.batches, options.steps, options.rounds, not why)


def main(arguments: list[str] | None = None) -> None:
    """Prints the table, and writes it as JSON where asked to."""
    options, console = parse(arguments), Console()
    try:
        rows = []
        with console.status("measuring") as status:
            for row in observed(measure(options, console)):
                rows.append(row)
                status.update(f"measuring; last: {row['name']}, batch {row['batch']}")
    except UserError as error:
        raise SystemExit(f"bench: {error}") from None
    result = summary(rows, options)
    console.print(table(result))
    if result["geometric_mean"]:
        console.print(f"geometric mean of the ratios: {result['geometric_mean']:.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
