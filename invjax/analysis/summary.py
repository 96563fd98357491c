"""What tables and plots show: the errors of each representation and layer, over pictures and restarts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

LINE = ["representation", "layer"]  # what names a line of a table
SERIES = ["variant", "lambda_tv"]  # what there may be several of on a line
TITLES = {"normalized_error": "normalized error, %", "relative_error": "relative error"}
MEASURES = ("normalized_error", "relative_error", "psnr", "ssim")


@dataclasses.dataclass(frozen=True)
class Summary:
    """Errors by representation and layer.

    Attributes:
        cells: a row for each representation, layer, variant and λ_TV, with columns LINE and SERIES, `n`
            reconstructions, and mean and sample standard deviation of every measure, "psnr_mean" and "psnr_std".
        measure: which of MEASURES is shown: the normalized error, or the relative one where a single picture has no
            other.
        series: the fields of SERIES that vary on a line.
    """

    cells: pandas.DataFrame
    measure: str
    series: list[str]

    @property
    def percent(self) -> bool:
        """Whether the measure is shown in %."""
        return self.measure == "normalized_error"

    @property
    def title(self) -> str:
        """What the numbers are."""
        return TITLES[self.measure]


def summarise(frame: pandas.DataFrame) -> Summary:
    """Means and deviations of what `read_results` returns, for one run."""
    groups = finite(frame).groupby(LINE + SERIES, sort=False, dropna=False)
    statistics = {f"{name}_{how}": (name, how) for name in MEASURES for how in ("mean", "std")}
    cells = groups.agg(n=(measure_of(frame), "count"), **statistics).reset_index()
    order = {line: place for place, line in enumerate(lines(frame))}
    places = [order[line] for line in zip(cells.representation, cells.layer, strict=True)]
    cells = cells.iloc[np.argsort(places, kind="stable")].reset_index(drop=True)
    return Summary(cells, measure_of(frame), varying(frame, LINE, SERIES))


def finite(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The same with NaN for measures that are infinite."""
    return frame.assign(**{name: frame[name].where(np.isfinite(frame[name])) for name in MEASURES})


def measure_of(frame: pandas.DataFrame) -> str:
    """The normalized error where there is any: it needs several pictures."""
    return "normalized_error" if np.isfinite(frame.normalized_error).any() else "relative_error"


def varying(frame: pandas.DataFrame, fixed: Sequence[str], candidates: Sequence[str]) -> list[str]:
    """The candidates that still vary where the fixed fields, and the candidates found before, do not."""
    found: list[str] = []
    for field in candidates:
        known = frame.drop_duplicates([*fixed, *found])
        if len(frame.drop_duplicates([*fixed, *found, field])) > len(known):
            found.append(field)
    return found


def lines(frame: pandas.DataFrame) -> list[tuple[str, str]]:
    """(representation, layer) of all reconstructions, representations as they come, layers in order of the network."""
    pairs = dict(zip(zip(frame.representation, frame.layer, strict=True), frame.depth, strict=True))
    order = {name: place for place, name in enumerate(dict.fromkeys(frame.representation))}
    return sorted(pairs, key=lambda pair: (order[pair[0]], pairs[pair]))


def values(frame: pandas.DataFrame, field: str) -> list[Any]:
    """The different values of a field as they come, layers in order of the network."""
    return list(dict.fromkeys(layer for _, layer in lines(frame)) if field == "layer" else dict.fromkeys(frame[field]))


def label(field: str, value: Any) -> str:
    """A value in a figure or table: λ_TV and restarts need their name, others speak for themselves."""
    if field == "lambda_tv":
        return f"λ_TV = {value:g}"
    return f"restart {value}" if field == "restart" else str(value)


def labels(fields: Sequence[str], key: Sequence[Any]) -> str:
    """Values of several fields in one label."""
    return ", ".join(filter(None, (label(*pair) for pair in zip(fields, key, strict=True))))
