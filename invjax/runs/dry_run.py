"""What a run would do: its batches and about how long they take, without writing anything."""

from __future__ import annotations

import math
from pathlib import Path

from ml_collections import ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table

from invjax.runs import config as configs
from invjax.runs import estimate
from invjax.runs.directory import refuse_another_run
from invjax.runs.inverters import largest
from invjax.runs.plan import Job, Reconstruction, fingerprints, make_jobs
from invjax.runs.progress import duration
from invjax.runs.store import TABLE, files, read_rows


def show(config: ConfigDict, workdir: Path) -> None:
    """Prints the plan of a run.

    Args:
        config: of `config.load`, not yet checked.
        workdir: the run directory; what is finished there is not counted.

    Raises:
        UserError: what the run would refuse.
    """
    jobs = make_jobs(config)
    planned = {job.key(row) for job in jobs for row in job.rows}
    refuse_another_run(workdir, configs.as_dict(config), fingerprints(jobs), planned)
    finished = {row.key for table in files(workdir, TABLE) for row in read_rows(table)}
    table = Table(
        "", "pictures", "λ_TV", "variants", "reconstructions", "batches", "about", box=box.SIMPLE, pad_edge=False
    )
    count = seconds = 0.0
    for job in jobs:
        rows = tuple(row for row in job.rows if job.key(row) not in finished)
        size = largest(len(rows), config) if rows else 1
        with Console(stderr=True).status(f"{job.phi.title}: its first steps"):
            time = estimate.seconds(job, rows, size) if rows else 0.0
        count, seconds = count + len(rows), seconds + time
        table.add_row(*_cells(job, rows), str(math.ceil(len(rows) / size)), duration(time))
    Console().print(table)
    done = f", {len(planned) - count:.0f} of {len(planned)} are finished" if count < len(planned) else ""
    print(f"{count:.0f} reconstructions to compute{done}; about {duration(seconds)} on this machine as busy as it is")


def _cells(job: Job, rows: tuple[Reconstruction, ...]) -> list[str]:
    variants = dict.fromkeys(row.variant for row in rows)
    return [
        job.phi.title,
        str(len({row.image for row in rows})),
        ", ".join(dict.fromkeys(f"{row.lambda_tv:g}" for row in rows)),
        "; ".join(variants),
        str(len(rows)),
    ]
