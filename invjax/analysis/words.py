"""Numbers and names as tables, figures and the page write them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from invjax.runs.store import MEASURES


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


def measured(measure: str, value: float) -> str:
    """A value of a measure of `store.MEASURES` in its unit, which is not named: "17.2"; a dash for NaN."""
    shown = MEASURES[measure]
    return _decimal(shown.factor * value, shown.decimals)


def spread(measure: str, values: Iterable[float]) -> str:
    """Mean ± standard deviation of values of a measure, in its unit: "17.2 ± 3.4"."""
    return plus_minus(measure, *mean_and_deviation(values))


def plus_minus(measure: str, mean: float, deviation: float) -> str:
    """A mean and its standard deviation, if there is one, as `spread` writes them."""
    text, factor = measured(measure, mean), MEASURES[measure].factor
    if math.isnan(deviation):
        return text
    return f"{text} ± {_decimal(factor * deviation, None if 'e' in text else len(text.partition('.')[2]))}"


def mean_and_deviation(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of the finite values, the only place that takes them; NaN where there is none.

    Args:
        values: of a measure, over pictures and restarts.
    """
    kept = [value for value in values if math.isfinite(value)]
    mean = statistics.fmean(kept) if kept else math.nan
    return mean, statistics.stdev(kept, mean) if len(kept) > 1 else math.nan


def _decimal(value: float, decimals: int | None) -> str:
    if decimals is None or not math.isfinite(value):
        return number(value)
    return f"{value:,.{decimals}f}".replace("-", "−", 1)


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
