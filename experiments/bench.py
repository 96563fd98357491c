"""Times a gradient step of each shallow representation: one reconstruction per core against `vmap` over the batch.

python -m experiments.bench [--batch 8] [--steps 10] [--rounds 7]     (about two minutes on two cores)

Both sides warm and blocked, alternating in one run; medians of milliseconds per reconstruction and step, and the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from invjax import images, inversion, recipes, representations

Way = Callable[[inversion.State], inversion.State]


def sides(name: str, batch: int, steps: int) -> dict[str, tuple[Way, inversion.State]]:
    """The two ways to take `steps` steps of a batch, each with states of its own to start from."""
    phi = representations.get(name)
    image = images.load_image(images.astronaut(), phi.input, size=227)
    method, weights, _ = recipes.prepare(phi, image.shape, "fast")
    keys = [jax.random.key(restart) for restart in range(batch)]
    problems = inversion.batch_of(phi(jax.numpy.asarray(image)), keys, weights)
    vmapped = jax.jit(jax.vmap(functools.partial(inversion.step, method, phi)), donate_argnums=1)

    def together(states: inversion.State) -> inversion.State:
        for _ in range(steps):
            states = vmapped(problems, states)
        return states

    def one_per_core(states: inversion.State) -> inversion.State:
        return inversion.advance(method, phi, problems, states, steps)

    return {
        side: (way, inversion.batched_start(method, problems, image.shape))
        for side, way in (("one per core", one_per_core), ("vmap", together))
    }


def alternate(name: str, batch: int, steps: int, rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds per reconstruction and step of each side, [rounds]."""
    ways = sides(name, batch, steps)
    states = {side: way(start) for side, (way, start) in ways.items()}  # compiles
    times: dict[str, list[float]] = {side: [] for side in ways}
    for _ in range(rounds):
        for side, (way, _) in ways.items():
            before = time.perf_counter()
            states[side] = jax.block_until_ready(way(states[side]))
            times[side].append(1e3 * (time.perf_counter() - before) / steps / batch)
    return {side: np.array(values) for side, values in times.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("batch", 8), ("steps", 10), ("rounds", 7)):
        parser.add_argument(f"--{option}", type=int, default=default)
    options = parser.parse_args()
    device = jax.devices()[0]
    table = Table("ms / step", "one per core", "vmap", "ratio", box=box.SIMPLE, title=f"{device.device_kind}, fast")
    for name in representations.names():
        times = alternate(name, options.batch, options.steps, options.rounds)
        ours, theirs = times["one per core"], times["vmap"]
        numbers = np.median(ours), np.median(theirs), np.median(theirs / ours)
        table.add_row(name, *(f"{number:.2f}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    main()
