"""What a person sees of a run: a bar with loss and time left, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

LINE_SECONDS = 60.0  # between two lines where there is no terminal to draw on


class Display:
    """A progress bar on a terminal, a line a minute elsewhere; a context manager.

    Args:
        total: work in all, reconstructions × steps.
        done: of that, finished in earlier runs.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self.console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=total, completed=done, loss="–")
        self._total = total
        self._first: int | None = None  # work that was done before this start
        self._started = self._said = time.monotonic()

    def __enter__(self) -> Display:
        """Starts drawing."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops drawing."""
        self._bar.stop()

    def update(self, what: str, done: int, loss: float) -> None:
        """Shows where the run stands.

        Args:
            what: is being computed.
            done: work finished so far, in all runs.
            loss: mean objective of the batch.
        """
        self._bar.update(self._task, description=what, completed=done, loss=f"{loss:.4f}")
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = done, now
        if self.console.is_terminal or now - self._said < LINE_SECONDS or done == self._first:
            return
        self._said = now
        left = (now - self._started) * (self._total - done) / (done - self._first)
        self.say(f"{what}: {done / self._total:.0%}, loss {loss:.4f}, about {left / 60:.0f} min left")

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.console.print(text, markup=False, highlight=False)


def print_table(rows: Iterable[dict[str, Any]]) -> None:
    """Prints mean (± standard deviation) of each measure, a line per representation, layer and λ_TV."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = " ".join(filter(None, (row["representation"], row["layer"])))
        groups.setdefault(f"{name}, λ_TV {row['lambda_tv']}", []).append(row)
    table = Table(
        "", "n", "relative error", "normalized error", "PSNR", "SSIM", "status", box=box.SIMPLE, pad_edge=False
    )
    for name, members in groups.items():
        states = [row["status"] for row in members]
        table.add_row(
            name,
            str(len(members)),
            _spread(members, "relative_error", "{:.4f} ± {:.4f}"),
            _spread(members, "normalized_error", "{:.1f} ± {:.1f} %", 100),
            _spread(members, "psnr", "{:.1f}"),
            _spread(members, "ssim", "{:.2f}"),
            ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))),
        )
    Console().print(table)


def _spread(rows: list[dict[str, Any]], column: str, style: str, factor: float = 1) -> str:
    values = [factor * float(row[column]) for row in rows if row[column] != ""]
    if not values:
        return "–"
    if len(values) == 1:
        style = style.replace(" ± {:.4f}", "").replace(" ± {:.1f}", "")
        return style.format(values[0])
    return style.format(np.mean(values), np.std(values, ddof=1))
