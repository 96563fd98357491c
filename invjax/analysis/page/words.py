"""Numbers and names as the page writes them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from datetime import datetime
from typing import Any


def count(number: int, noun: str) -> str:
    """'1 picture', '4 pictures', '3 λ_TV'."""
    return f"{number:,} {noun}{'s' * (number != 1 and noun.islower())}"


def listed(names: list[str]) -> str:
    """'hog', 'hog and net', 'hog, net and dsift'."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def number(value: float) -> str:
    """Three significant digits, plain where that is short: 0.0213, 17.2, 1,240, 3.20e-07; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".removesuffix(".")
    return text.replace("-", "−", 1) if value < 0 else text


def exact(value: float) -> str:
    """Six significant digits, as in results.csv: 0.5, 0.0213456, 4.2e+07; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:g}"


def finite(values: Iterable[float]) -> list[float]:
    """Those that are neither NaN nor infinite."""
    return [value for value in values if math.isfinite(value)]


def spread(values: Iterable[float]) -> str:
    """Mean ± sample standard deviation of the finite values."""
    kept = finite(values)
    if len(kept) < 2:
        return number(kept[0] if kept else math.nan)
    mean, deviation = number(statistics.fmean(kept)), statistics.stdev(kept)
    if "e" in mean:
        return f"{mean} ± {number(deviation)}"
    return f"{mean} ± {deviation:.{len(mean.partition('.')[2])}f}"


def cell(text: str) -> str:
    """A cell of some table: numbers with a point in six significant digits, all else as it is; a dash for nothing."""
    try:
        value = float(text)
    except ValueError:
        return text or "–"
    return exact(value) if "." in text or "e" in text.lower() else text


def date(started: str) -> str:
    """'5 March 2026, 10:11 UTC' of an ISO date; what is not one as it is."""
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return started
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip()


def flat(record: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested records as lines of a table: {"a": {"b": [1, 2]}} is {"a.b": "1, 2"}."""
    lines: dict[str, str] = {}
    for name, value in record.items():
        if isinstance(value, dict) and value:
            lines |= flat(value, f"{prefix}{name}.")
        else:
            lines[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return lines
