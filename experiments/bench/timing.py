"""Times of sides that are compared: warm, blocked, and by turns in one run."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Side(NamedTuple):
    """What is timed: `run()` takes `steps` steps, and returns when they are done."""

    run: Callable[[], object]
    steps: int = 1


def seconds(sides: dict[str, Side], rounds: int) -> dict[str, np.ndarray]:
    """Seconds per step of each side, [rounds]; in each round one side after the other is run."""
    for side in sides.values():  # compiles
        side.run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            side.run()  # wakes its threads, while those of the side before go to sleep, and warms the caches
            before = time.perf_counter()
            side.run()
            times[name].append((time.perf_counter() - before) / side.steps)
    return {name: np.array(values) for name, values in times.items()}


class Others:
    """What other processes have of the cores while this one measures."""

    def __init__(self) -> None:
        self._before, self._since = elsewhere(), time.perf_counter()

    def share(self) -> float | None:
        """Of all cores, since this object was made; None where the system does not tell."""
        taken = elsewhere() - self._before
        share = max(0.0, taken) / (time.perf_counter() - self._since) / (os.cpu_count() or 1)
        return share if np.isfinite(taken) else None


def elsewhere() -> float:
    """Seconds of processor time that all other processes have had since the system started; NaN where unknown."""
    try:
        line = pathlib.Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return float("nan")
    user, nice, system, _, _, *interrupts = map(int, line.split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - time.process_time()
