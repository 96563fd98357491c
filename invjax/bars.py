"""Bars that tell how far something is, on terminals and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, ProgressColumn, track

T = TypeVar("T")


def over(items: Iterable[T], what: str, total: float | None = None) -> Iterable[T]:
    """The items, with a bar while they are gone through.

    Args:
        items: each a step of about the same length.
        what: is being done.
        total: how many there are, where `items` have no length.
    """
    console = Console(stderr=True)
    return track(items, what, total, console=console, transient=True, disable=not console.is_interactive)


def of(*columns: ProgressColumn) -> Progress:
    """A bar with these columns, to be updated; a context manager."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
