"""From samples to rows of the tables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from invjax.analysis.restarts.measures import best_of_k
from invjax.analysis.restarts.sample import Sample
from invjax.analysis.restarts.scope import INVERTED, PIXELS
from invjax.analysis.restarts.tables import BEST, DISTANCES, RECONSTRUCTIONS, RESTARTS, Found
from invjax.runs.store import MEASURES


@dataclasses.dataclass(frozen=True)
class Units:
    """What the distances of each feature are divided by.

    Attributes:
        pictures: mean distance of different pictures by feature, as far as there is one.
        norms: norm of the original by feature, or the mean norm of the restarts.
        norm: which of them, "picture" or "restarts".
    """

    pictures: Mapping[str, float]
    norms: Mapping[str, float]
    norm: str

    def normalized(self, name: str, distance: float) -> float:
        """A distance in the unit of normalized_error; NaN where that is empty, too."""
        return _ratio(distance, self.pictures.get(name, math.nan))

    def by_norm(self, name: str, distance: float) -> float:
        """A distance over the norm."""
        return _ratio(distance, self.norms[name])

    def unit(self, name: str) -> tuple[float, str]:
        """The mean distance of pictures where there is one, otherwise the norm; and how it is called."""
        apart = self.pictures.get(name, math.nan)
        return (apart, "pictures") if apart > 0 else (self.norms[name], self.norm)


def tabulate(samples: Mapping[str, Sample], units: Units, classifier: str) -> Found:
    """The rows of every table.

    Args:
        samples: the reconstructions and the controls of a group, by the value of the column `of`.
        units: of every feature that was looked at.
        classifier: name of the feature of classes, or "".
    """
    restarts = [{"of": of, **_summary(sample, units, classifier)} for of, sample in samples.items()]
    distances = [{"of": of, **row} for of, sample in samples.items() for row in _distances(sample, units)]
    measures = samples[RECONSTRUCTIONS].measures
    best = [
        {"metric": measure, "k": k, "best": value}
        for measure, shown in MEASURES.items()
        for k, value in enumerate(best_of_k(measures[measure], highest=not shown.least_is_best).tolist(), start=1)
    ]
    return {RESTARTS: restarts, DISTANCES: distances, BEST: best}


def _summary(sample: Sample, units: Units, classifier: str) -> dict[str, Any]:
    seen, unit = sample.seen[INVERTED], units.unit(INVERTED)
    summary = {
        "restarts": len(sample.pictures),
        "spread_pixels": sample.seen[PIXELS].spread / math.sqrt(sample.pictures[0].size),
        "spread_features": _ratio(seen.spread, unit[0]),
        "unit": unit[1],
    }
    for measure, shown in MEASURES.items():
        expected = best_of_k(sample.measures[measure], highest=not shown.least_is_best).tolist() or [math.nan]
        summary |= {f"mean_{measure}": expected[0], f"best_{measure}": expected[-1]}
    agreement = sample.seen[classifier].agreement if classifier else (math.nan, math.nan)
    return summary | dict(zip(("top1", "top5"), agreement, strict=True))


def _distances(sample: Sample, units: Units) -> list[dict[str, Any]]:
    return [
        {
            "at": name,
            "normalized_spread": units.normalized(name, seen.spread),
            "normalized_error": units.normalized(name, float(seen.errors.mean())),
            "spread_by_norm": units.by_norm(name, seen.spread),
            "error_by_norm": units.by_norm(name, float(seen.errors.mean())),
        }
        for name, seen in sample.seen.items()
    ]


def _ratio(value: float, unit: float) -> float:
    return value / unit if unit > 0 else math.nan
