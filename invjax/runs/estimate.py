"""How long a job will take on this device, by its first steps."""

from __future__ import annotations

import time
from collections.abc import Sequence

from invjax import devices, inversion
from invjax.runs.plan import Job, Reconstruction


def seconds(job: Job, rows: Sequence[Reconstruction], size: int) -> float:
    """Roughly how long some reconstructions of a job take: compilation, and all steps.

    Takes two steps of a batch, or on a CPU of a part of one that keeps all cores busy: the first one compiles, the
    second one tells how long a step takes now, with whatever else is running. What is compiled the run need not compile
    again. Left out: pictures and features read, results written.

    Args:
        job: which.
        rows: its reconstructions that are to be computed, at least one.
        size: reconstructions at once, ≥ 1.
    """
    size = min(size, len(rows))
    taken = min(size, 2 * devices.usable()) if devices.sequential() else size
    problems = job.problems(rows[:taken], job.blank())
    points = inversion.solve(job.method, job.phi, problems, min(2, job.steps), 1)
    moments = [time.monotonic(), *(time.monotonic() for _ in points)]
    step = moments[-1] - moments[-2]
    return (moments[-2] - moments[0]) + job.steps * step * len(rows) / taken
