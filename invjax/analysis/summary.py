"""What tables and plots show: the errors of each representation and layer, over pictures and restarts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from invjax.analysis.frame import LINE, SERIES, lines, measure_of, varying
from invjax.analysis.words import mean_and_deviation
from invjax.runs.store import MEASURES, Measure

if TYPE_CHECKING:
    import pandas


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
    def shown(self) -> Measure:
        """How the measure is shown."""
        return MEASURES[self.measure]


def summarise(frame: pandas.DataFrame) -> Summary:
    """Means and deviations of what `read_results` returns, for one run."""
    import pandas

    measure, order = measure_of(frame), lines(frame)
    groups = list(frame.groupby(LINE + SERIES, sort=False, dropna=False))
    groups.sort(key=lambda group: order.index(group[0][: len(LINE)]))
    cells = [dict(zip(LINE + SERIES, key, strict=True)) | _statistics(group, measure) for key, group in groups]
    return Summary(pandas.DataFrame(cells), measure, varying(frame, LINE, SERIES))


def _statistics(group: pandas.DataFrame, measure: str) -> dict[str, float]:
    found: dict[str, float] = {"n": int(np.isfinite(group[measure]).sum())}
    for name in MEASURES:
        found[f"{name}_mean"], found[f"{name}_std"] = mean_and_deviation(group[name])
    return found
