"""From samples to rows of the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from invjax.study.measures import best_of_k
from invjax.study.sample import Sample
from invjax.study.scope import INVERTED, PIXELS
from invjax.study.tables import BEST, DISTANCES, MEASURES, RECONSTRUCTIONS, RESTARTS, Found

Units = Mapping[str, tuple[float, str]]  # what the distances of each feature are divided by, and how it is called


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
        for measure, highest in MEASURES.items()
        for k, value in enumerate(best_of_k(measures[measure], highest=highest).tolist(), start=1)
    ]
    return {RESTARTS: restarts, DISTANCES: distances, BEST: best}


def _summary(sample: Sample, units: Units, classifier: str) -> dict[str, Any]:
    seen = sample.seen[INVERTED]
    summary = {
        "restarts": len(sample.pictures),
        "spread_pixels": sample.seen[PIXELS].spread / math.sqrt(sample.pictures[0].size),
        "spread_features": _ratio(seen.spread, units[INVERTED][0]),
        "unit": units[INVERTED][1],
    }
    for measure, highest in MEASURES.items():
        expected = best_of_k(sample.measures[measure], highest=highest).tolist() or [math.nan]
        summary |= {f"mean_{measure}": expected[0], f"best_{measure}": expected[-1]}
    agreement = sample.seen[classifier].agreement if classifier else (math.nan, math.nan)
    return summary | dict(zip(("top1", "top5"), agreement, strict=True))


def _distances(sample: Sample, units: Units) -> list[dict[str, Any]]:
    return [
        {
            "at": name,
            "spread": _ratio(seen.spread, units[name][0]),
            "error": _ratio(float(seen.errors.mean()), units[name][0]),
            "unit": units[name][1],
        }
        for name, seen in sample.seen.items()
        if name != INVERTED
    ]


def _ratio(value: float, unit: float) -> float:
    return value / unit if unit > 0 else math.nan
