"""A row of the table: what was measured of one representation, batch and device."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from invjax import devices

OURS = "invjax"


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured, or why not.

    Attributes:
        name: "hog", "caffenet/relu5".
        batch: reconstructions.
        device: how many of which.
        precision: of a network's products.
        rates: reconstructions · steps per second by side; ours is "invjax".
        ratios: by other side, how many times as fast ours is, median of the rounds.
        limit: what a step is bound by at least, "operations" or "bytes"; empty where nobody asked.
        attainable: rates measured beside it, 1e9 operations or bytes per second: "convolution", "product", "copy".
        shares: of these, what ours made use of.
        others: share of the cores that other processes had meanwhile; None where the system does not tell.
        skipped: why a side is missing, by its name; by "row", why everything is.
        note: what else there is to know.
    """

    name: str
    batch: int
    device: str
    precision: str = "float32"
    rates: dict[str, float] = dataclasses.field(default_factory=dict)
    ratios: dict[str, float] = dataclasses.field(default_factory=dict)
    limit: str = ""
    attainable: dict[str, float] = dataclasses.field(default_factory=dict)
    shares: dict[str, float] = dataclasses.field(default_factory=dict)
    others: float | None = None
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""

    def families(self) -> dict[str, float]:
        """The ratio to the best of each kind of peer; "tuned, eager" and "tuned, compiled" are of the kind "tuned"."""
        best: dict[str, float] = {}
        for name, ratio in self.ratios.items():
            kind = name.partition(",")[0]
            best[kind] = min(best.get(kind, ratio), ratio)
        return best

    @property
    def ratio(self) -> float | None:
        """To the best of all peers."""
        return min(self.ratios.values(), default=None)


def ratios(times: dict[str, np.ndarray]) -> dict[str, float]:
    """How many times as fast ours is, of seconds [rounds] by side."""
    return {name: float(np.median(other / times[OURS])) for name, other in times.items() if name != OURS}


def device(count: int = 1) -> str:
    """What computes, in words."""
    kind = jax.devices()[0].device_kind
    if devices.sequential():
        return f"{kind}, {devices.CORES if count == 1 else count} cores"
    return f"{count} × {kind}"


def summary(rows: Sequence[Row], rounds: int) -> dict[str, Any]:
    """Everything measured, and with what, ready for JSON."""
    return {
        "versions": {name: version for name in ("invjax", "jax", "torch") if (version := _version(name))},
        "cores": devices.CORES,
        "rounds": rounds,
        "rows": [dataclasses.asdict(row) | {"ratio": row.ratio} for row in rows],
        "geometric_means": geometric_means(rows),
    }


def geometric_means(rows: Sequence[Row]) -> dict[str, float]:
    """Of the ratios to the best of each kind of peer, over all rows that have one."""
    kinds = dict.fromkeys(kind for row in rows for kind in row.families())
    logarithms = {kind: [np.log(row.families()[kind]) for row in rows if kind in row.families()] for kind in kinds}
    return {kind: float(np.exp(np.mean(values))) for kind, values in logarithms.items()}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
