"""What a person sees of a run: a line with progress, loss, speed and time left."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

LINE_SECONDS = 60.0  # between two lines where there is no terminal to draw on
FRAMES_PER_SECOND = 2
BAR = 2  # columns at least, with the space before it: it takes what the words leave
LEAST_IMPORTANT = ("finished", "speed", "loss", "what", "left")  # what a narrow terminal does without, in this order


class Display:
    """A line that is drawn anew on a terminal, a line a minute elsewhere; a context manager.

    Speed and time left are those of this start. On the way, their clock begins with the first work done, so that the
    first compilation is not taken for the speed of everything; at the end, everything counts.

    Args:
        total_work: in all, in any unit that is proportional to time.
        done_work: of that, finished in earlier starts.
        reconstructions: in all; the speed counts pictures of average work.
        name: of the process, where there are several; every line that it prints begins with it.
        quiet: prints only what it is told to `say`, as processes but the first do.
    """

    def __init__(
        self, total_work: float, done_work: float, reconstructions: int, name: str = "", quiet: bool = False
    ) -> None:
        self.console = Console(stderr=True)
        self._name, self._quiet = name, quiet
        self._before, self._reconstructions = done_work, reconstructions
        self._progress = Progress(
            _Words(self._parts, self.console),
            BarColumn(None),
            console=self.console,
            disable=quiet or not self.console.is_interactive,
            expand=True,
            get_time=time.monotonic,
            refresh_per_second=FRAMES_PER_SECOND,
            speed_estimate_period=math.inf,  # reports may be minutes apart
            transient=True,
        )
        begun: Any = done_work  # rich says int, and means any number
        self._progress.add_task("compiling", total=total_work, completed=begun, finished="", loss="")
        [self._task] = self._progress.tasks
        self._entered = time.monotonic()
        self._ended = threading.Event()
        self._lines = threading.Thread(target=self._say_every_minute, daemon=True)

    def __enter__(self) -> Display:
        """Starts drawing."""
        self._progress.start()
        if not self._quiet and not self.console.is_interactive:
            self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops drawing; what stays is a line that tells how far this start came."""
        self._progress.stop()
        self._ended.set()
        if self._lines.is_alive():
            self._lines.join()
        done = self._task.completed - self._before
        if done > 0 and not self._quiet:
            took = time.monotonic() - self._entered
            self.say(f"{_share(self._task)} · {self._speed(self._task, done / max(took, 1.0))} · took {duration(took)}")

    def update(self, what: str, done: float, loss: float, finished: int) -> None:
        """Tells where the run stands.

        Args:
            what: is being computed, e.g. "squeezenet fire4/concat, 3 of 20".
            done: work finished so far, in all starts.
            loss: mean objective of the batch.
            finished: reconstructions, in all starts.
        """
        self._progress.update(
            self._task.id,
            description=what,
            completed=done,
            finished=f"{finished} of {self._reconstructions} pictures",
            loss="" if math.isnan(loss) else f"loss {loss:.4f}",
            updated=time.monotonic(),
        )

    def say(self, text: str) -> None:
        """Prints a line above the one that is drawn."""
        self.console.print(
            f"{self._name}: {text}" if self._name else text, markup=False, highlight=False, soft_wrap=True
        )

    def _say_every_minute(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            self.say(" · ".join(self._parts(self._task).values()))

    def _parts(self, task: Task) -> dict[str, str]:
        """What there is to tell, by name, in the order in which it is told."""
        parts = {
            "share": _share(task),
            "what": task.description,
            "finished": task.fields["finished"],
            "loss": task.fields["loss"],
            "speed": self._speed(task, task.speed),
            "left": _left(task),
        }
        return {name: text for name, text in parts.items() if text}

    def _speed(self, task: Task, rate: float | None) -> str:
        """Work per second as pictures of average work."""
        return f"{3600 * rate * self._reconstructions / task.total:,.0f} pictures/hour" if rate and task.total else ""


class _Words(ProgressColumn):
    """As much as fits into a line, whatever the width of the terminal: a wrapped one would flicker."""

    def __init__(self, tell: Callable[[Task], dict[str, str]], console: Console) -> None:
        super().__init__(Column(no_wrap=True))
        self._tell, self._console = tell, console

    def render(self, task: Task) -> Text:
        """The most important parts."""
        parts = self._tell(task)
        for name in LEAST_IMPORTANT:
            if len(" · ".join(parts.values())) + BAR <= self._console.width:
                break
            parts.pop(name, None)
        return Text(" · ".join(parts.values()))


def _share(task: Task) -> str:
    return f"{math.floor(task.percentage + 1e-6)} %" if task.total else ""


def _left(task: Task) -> str:
    """Counts down where there is no news."""
    if not task.speed or task.remaining is None:
        return ""
    seconds = task.remaining / task.speed - (time.monotonic() - task.fields["updated"])
    return f"about {duration(max(seconds, 1.0))} left"


def duration(seconds: float) -> str:
    """A time in words, two or three digits: 85 s, 14 min, 3.2 h, 2.5 days; ? where it is not known."""
    if math.isnan(seconds):
        return "?"
    for unit, length, style in (("s", 1, ".0f"), ("min", 60, ".0f"), ("h", 3600, ".1f")):
        if seconds < 100 * length:
            return f"{seconds / length:{style}} {unit}"
    return f"{seconds / 86400:.1f} days"
