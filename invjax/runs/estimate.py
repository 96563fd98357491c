"""How long a job will take on this device, by its first steps."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from invjax import devices
from invjax.runs.plan import Batch, Job, Reconstruction


def seconds(job: Job, rows: Sequence[Reconstruction], size: int) -> float:
    """Roughly how long some reconstructions of a job take: compilation, and all steps.

    Takes two steps of a batch, or on a CPU of a part of one that keeps all cores busy: the first one compiles, the
    second one tells how long a step takes now, with whatever else is running. What is compiled the run need not compile
    again. Without a descent, a first reconstruction. Left out: pictures and features read, results written.

    Args:
        job: which.
        rows: its reconstructions that are to be computed, at least one.
        size: reconstructions at once, ≥ 1.
    """
    taken = min(size, len(rows), 2 * devices.usable() if devices.sequential() else size)
    running = job.inverter.begin(Batch(job, job.blank(), tuple(rows[:taken])), every=1)
    moments = [time.monotonic(), *(time.monotonic() for _ in itertools.islice(running.points(), 3))]
    if not job.steps:
        running.result()
        return (time.monotonic() - moments[0]) * len(rows) / taken
    step = moments[-1] - moments[-2]
    return (moments[-2] - moments[0]) + job.steps * step * len(rows) / taken
