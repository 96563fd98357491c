"""What a person sees of a run: a line with progress, loss, speed and time left."""

from __future__ import annotations

import math
import threading
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

LINE_SECONDS = 60.0  # between two lines where there is no terminal to draw on
FRAMES_PER_SECOND = 2
BAR_WIDTH = 20
LEAST_IMPORTANT = ("finished", "bar", "speed", "loss", "what")  # what a narrow terminal does without, in this order


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
        self._total, self._before, self._reconstructions = total_work, done_work, reconstructions
        self._what, self._done, self._loss, self._finished = "compiling", done_work, math.nan, ""
        self._entered = self._updated = time.monotonic()
        self._clock: tuple[float, float] | None = None  # work done, and time, when it began
        self._live = Live(
            get_renderable=self._drawn, console=self.console, refresh_per_second=FRAMES_PER_SECOND, transient=True
        )
        self._ended = threading.Event()
        self._lines = threading.Thread(target=self._say_every_minute, daemon=True)

    def __enter__(self) -> Display:
        """Starts drawing."""
        if self._quiet:
            return self
        if self.console.is_interactive:
            self._live.start()
        else:
            self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops drawing; what stays is a line that tells how far this start came."""
        self._ended.set()
        if self._quiet:
            return
        if self.console.is_interactive:
            self._live.stop()
        else:
            self._lines.join()
        if self._done > self._before:
            took = time.monotonic() - self._entered
            speed = self._speed((self._done - self._before) / max(took, 1.0))
            self.say(" · ".join((self._share(), speed, f"took {duration(took)}")))

    def update(self, what: str, done: float, loss: float, finished: int) -> None:
        """Tells where the run stands.

        Args:
            what: is being computed, e.g. "squeezenet fire4/concat, 3 of 20".
            done: work finished so far, in all starts.
            loss: mean objective of the batch.
            finished: reconstructions, in all starts.
        """
        self._what, self._done, self._loss = what, done, loss
        self._finished = f"{finished} of {self._reconstructions} pictures"
        self._updated = time.monotonic()
        if self._clock is None and done > self._before:
            self._clock = done, self._updated

    def say(self, text: str) -> None:
        """Prints a line above the one that is drawn."""
        self.console.print(
            f"{self._name}: {text}" if self._name else text, markup=False, highlight=False, soft_wrap=True
        )

    def _say_every_minute(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            self.say(" · ".join(self._parts().values()))

    def _drawn(self) -> Text:
        """One line, whatever the width of the terminal: a wrapped one would flicker."""
        full = round(BAR_WIDTH * self._done / max(self._total, self._done, 1e-9))
        parts = {"bar": "━" * full + "─" * (BAR_WIDTH - full)} | self._parts()
        for name in LEAST_IMPORTANT:
            if len(" · ".join(parts.values())) < self.console.width:
                break
            parts.pop(name, None)
        return Text(" · ".join(parts.values()), no_wrap=True, overflow="ellipsis")

    def _parts(self) -> dict[str, str]:
        """What there is to tell, by name, in the order in which it is told."""
        parts = {
            "share": self._share(),
            "what": self._what,
            "finished": self._finished,
            "loss": "" if math.isnan(self._loss) else f"loss {self._loss:.4f}",
            "speed": self._speed(self._rate()),
            "left": self._left(),
        }
        return {name: text for name, text in parts.items() if text}

    def _share(self) -> str:
        return f"{math.floor(100 * self._done / self._total + 1e-6)} %" if self._total else ""

    def _rate(self) -> float:
        """Work per second; 0 where it is not known yet."""
        if self._clock is None or self._updated <= self._clock[1]:
            return 0.0
        return (self._done - self._clock[0]) / (self._updated - self._clock[1])

    def _speed(self, rate: float) -> str:
        return f"{3600 * rate * self._reconstructions / self._total:,.0f} pictures/hour" if rate else ""

    def _left(self) -> str:
        rate = self._rate()
        if not rate:
            return ""
        seconds = (self._total - self._done) / rate - (time.monotonic() - self._updated)
        return f"about {duration(max(seconds, 1.0))} left"


def duration(seconds: float) -> str:
    """A time in words, two or three digits: 85 s, 14 min, 3.2 h, 2.5 days; ? where it is not known."""
    if math.isnan(seconds):
        return "?"
    for unit, length, style in (("s", 1, ".0f"), ("min", 60, ".0f"), ("h", 3600, ".1f")):
        if seconds < 100 * length:
            return f"{seconds / length:{style}} {unit}"
    return f"{seconds / 86400:.1f} days"
