"""Pictures that are compared with one another and with an original: the restarts of a group, or a control."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from invjax import metrics
from invjax.analysis.restarts.measures import agreement, pairwise_spread
from invjax.analysis.restarts.scope import View


@dataclasses.dataclass(frozen=True)
class Seen:
    """What one feature tells of pictures.

    Attributes:
        spread: mean distance between them, NaN for a single one.
        errors: float64 [N], distance of each from the original; NaN without one.
        norm: ‖Φ₀‖ of the original; without one, the mean norm of the pictures.
        agreement: top-1 and top-5 of a classifier, NaN of other features.
    """

    spread: float
    errors: np.ndarray
    norm: float
    agreement: tuple[float, float] = (math.nan, math.nan)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Pictures, and what is known of them.

    Attributes:
        pictures: float32 [N, H, W, C].
        measures: N values each, by name.
        seen: what features tell, by name.
    """

    pictures: np.ndarray
    measures: Mapping[str, Sequence[float]]
    seen: Mapping[str, Seen] = dataclasses.field(default_factory=dict)

    def compared(self, views: Iterable[View], original: np.ndarray | None, classifier: str = "") -> Sample:
        """The same pictures, compared by what features tell of them.

        Args:
            views: what with.
            original: float32 [H, W, C], if there is one.
            classifier: name of the feature whose values are those of classes.
        """
        count, shown = len(self.pictures), [*self.pictures] if original is None else [*self.pictures, original]
        seen = {
            name: _seen(rows[:count], rows[count:], name == classifier)
            for view in views
            for name, rows in view.features_of(shown)
        }
        return dataclasses.replace(self, seen={**self.seen, **seen})

    def measured(self, **measures: Sequence[float]) -> Sample:
        """The same pictures with more measures."""
        return dataclasses.replace(self, measures={**self.measures, **measures})


def _seen(rows: np.ndarray, original: np.ndarray, of_classes: bool) -> Seen:
    """Of features [N, values] and the original's, [1, values] or [0, values]."""
    spread, norms = pairwise_spread(rows), [metrics.distance(row) for row in rows]
    if not len(original):
        return Seen(spread, np.full(len(rows), np.nan), float(np.mean(norms)))
    errors = np.array([metrics.distance(row, original[0]) for row in rows], np.float64)
    agreed = agreement(rows, original[0]) if of_classes else (math.nan, math.nan)
    return Seen(spread, errors, metrics.distance(original[0]), agreed)
