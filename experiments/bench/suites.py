"""What `python -m experiments.bench` measures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from experiments.bench.measure import measure
from experiments.bench.rows import OURS, Row, device, ratios
from experiments.bench.steps import ours, prepared, representation, swept
from experiments.bench.timing import Others, Side, seconds
from invjax import inversion, memory, representations
from invjax.devices import sequential, usable, using

SHALLOW = ("hog", "hogb", "dsift")
NETWORKS = (
    *(f"caffenet/{layer}" for layer in ("norm1", "norm2", "relu5", "fc8")),
    *(f"squeezenet/{layer}" for layer in ("conv1", "fire4/concat", "fire8/concat", "fire9/concat", "pool_final")),
)
QUICK = (("hog", 8), ("dsift", 8), ("caffenet/norm1", 4), ("caffenet/relu5", 4), ("squeezenet/fire4/concat", 4))
ON_ACCELERATORS = (1, 16, 256)  # reconstructions
GOALS = (  # of an H100: row, batch, precision
    ("caffenet/relu5", 256, "tf32"),
    ("caffenet/relu5", 256, "bfloat16"),
    ("hog", 256, "float32"),
)
SWEEP, SWEEP_BATCH, SWEEP_STEPS = "squeezenet/fire4/concat", 96, 5
DEVICE_ROWS, DEVICE_STEPS = ("hog", "caffenet/relu5"), 10
PICTURES, LAMBDAS, STEPS = 100, 3, 400  # of the paper's table


def accelerated() -> bool:
    """Whether there is more than a CPU."""
    return not sequential()


def rows(
    names: Sequence[str],
    batches: Sequence[int],
    precisions: Sequence[str],
    rounds: int,
) -> Iterator[Row]:
    """Representations and layers in every batch, layers in every precision."""
    for name in names:
        for batch in batches:
            for precision in precisions if representations.layers(name.partition("/")[0]) else precisions[:1]:
                yield _row(name, batch, precision, rounds)


def _row(name: str, batch: int, precision: str, rounds: int) -> Row:
    """A row; where the device has too little memory for it, it says so."""
    try:
        return measure(name, batch, precision, rounds)
    except jax.errors.JaxRuntimeError as error:
        if not memory.exhausted(error):
            raise
        return Row(name, batch, device(), precision, skipped={"row": "does not fit into the memory of the device"})


def shallow(precisions: Sequence[str], rounds: int) -> Iterator[Row]:
    """HOG, HOGb and DSIFT."""
    return rows(SHALLOW, ON_ACCELERATORS if accelerated() else (1, 8), precisions, rounds)


def networks(precisions: Sequence[str], rounds: int) -> Iterator[Row]:
    """Layers of CaffeNet and SqueezeNet."""
    return rows(NETWORKS, ON_ACCELERATORS if accelerated() else (1, 4, 16), precisions, rounds)


def quick(precisions: Sequence[str], rounds: int) -> Iterator[Row]:
    """A handful of telling rows, without what takes long: torch.compile."""
    for name, batch in QUICK:
        yield measure(name, batch, precisions[0], rounds, compiled=False)


def sweep(precisions: Sequence[str], rounds: int) -> Iterator[Row]:
    """Cells of a sweep, 3 λ_TV × 8 pictures × 4 restarts, recipe `fast`: as one batch, and one after the other by the
    same compiled step."""
    phi = representation(SWEEP, precisions[0])
    method, problems, _ = swept(phi, SWEEP_BATCH)
    alone = [ours(method, phi, problem, SWEEP_STEPS) for problem in inversion.split(problems, 1)]
    sides = {
        OURS: ours(method, phi, problems, SWEEP_STEPS),
        "one at a time": Side(lambda: [side.run() for side in alone], SWEEP_STEPS),
    }
    meanwhile = Others()
    times = seconds(sides, rounds)
    yield Row(
        name=f"sweep of {SWEEP}",
        batch=SWEEP_BATCH,
        device=device(),
        precision=precisions[0],
        rates={name: SWEEP_BATCH / float(np.median(values)) for name, values in times.items()},
        ratios=ratios(times),
        others=meanwhile.share(),
        note="recipe fast",
    )


def devices(precisions: Sequence[str], rounds: int) -> Iterator[Row]:
    """A batch shared by one, two, four … local devices, the same steps by turns."""
    counts = [2**power for power in range(usable().bit_length())]
    batch = 256 if accelerated() else 8
    for name in DEVICE_ROWS:
        meanwhile = Others()
        times = seconds({str(count): on_devices(name, precisions[0], batch, count) for count in counts}, rounds)
        for count in counts:
            yield Row(
                name=name,
                batch=batch,
                device=device(count),
                precision=precisions[0],
                rates={OURS: batch / float(np.median(times[str(count)]))},
                ratios={"one device": float(np.median(times["1"] / times[str(count)]))} if count > 1 else {},
                others=meanwhile.share(),
            )


def on_devices(name: str, precision: str, batch: int, count: int) -> Side:
    """Steps of a batch that is shared by the first `count` devices."""
    with using(count):
        phi = representation(name, precision)
        method, problems, _ = prepared(phi, "paper", batch)
        side = ours(method, phi, problems, DEVICE_STEPS)

    def run() -> None:
        with using(count):
            side.run()

    return Side(run, side.steps)


def table(precisions: Sequence[str], fraction: float) -> Iterator[Row]:
    """The paper's table of CaffeNet: 100 pictures × 20 layers × 3 λ_TV × 400 steps, a fraction of it, extrapolated.

    All 300 reconstructions of a layer take that fraction of their steps, but at least four; below that, fewer
    reconstructions do.
    """
    steps = max(4, round(STEPS * fraction))
    cells = max(1, round(PICTURES * LAMBDAS * min(1.0, fraction * STEPS / steps)))
    whole = compiling = 0.0
    for layer in table_layers():
        phi = representation(f"caffenet/{layer}", precisions[0])
        method, problems, _ = prepared(phi, "paper", cells)
        before = time.perf_counter()
        size = memory.batch_size(method, phi, problems, cells, steps).size  # compiles, as does the first run
        sides = [ours(method, phi, part, steps) for part in inversion.split(problems, size)]
        sides[0].run()
        first, before = time.perf_counter() - before, time.perf_counter()
        for side in sides:
            side.run()
        taken = time.perf_counter() - before
        compiling += max(0.0, first - taken / len(sides))
        rate = cells * steps / taken
        whole += PICTURES * LAMBDAS * STEPS / rate
        yield Row(f"caffenet/{layer}", size, device(), precisions[0], rates={OURS: rate})
    yield Row(
        "the whole table",
        0,
        device(),
        precisions[0],
        rates={OURS: len(table_layers()) * PICTURES * LAMBDAS * STEPS / whole},
        note=f"{whole:.0f} s extrapolated from {cells} of 300 reconstructions × {steps} of 400 steps per layer, and "
        f"{compiling:.0f} s of compilation, less what was on disk",
    )


def table_layers() -> tuple[str, ...]:
    """The table's columns."""
    return tuple(layer.name for layer in representations.layers("caffenet"))


def goals() -> Iterator[Row]:
    """Rows that want a GPU, where there is none."""
    if accelerated():
        return
    command = "needs a GPU: python -m experiments.bench --rows {} --batches {} --precision {}"
    for name, batch, precision in GOALS:
        yield Row(name, batch, "H100", precision, skipped={"row": command.format(name, batch, precision)})
    yield Row(
        "the whole table",
        0,
        "H100",
        "tf32",
        skipped={"row": "needs a GPU: python -m experiments.bench table --precision tf32"},
    )
