"""MatConvNet's "simplenn" networks: MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from invjax import matlab
from invjax.errors import UserError
from invjax.weights.found import Found, Layers, allowance


def read(path: Path) -> Found:
    """Reads a network saved by MatConvNet, of the old form (filters, biases) or the new (weights), for RGB pictures.

    Raises:
        UserError: it is not one.
    """
    variables = dict(matlab.variables(path.read_bytes(), allowance(path)))
    net = variables.get("net", variables)
    entries = net.get("layers")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "block" not in entry for entry in entries):
        raise UserError("not a simplenn network of MatConvNet, which has a cell array 'layers' of structs")
    layers: Layers = {}
    for number, entry in enumerate(entries):
        arrays = entry.get("weights", [entry.get("filters"), entry.get("biases")])
        found = {name: array for name, array in zip(("weight", "bias"), arrays, strict=False) if _is_filled(array)}
        if found:
            layers[str(entry.get("name", f"layer {number}"))] = found | {"weight": _turned(found.get("weight"))}
    return Found(layers, "rgb", _mean(net))


def _is_filled(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.size > 0


def _turned(filters: np.ndarray | None) -> np.ndarray:
    """[h, w, in, out] → [out, in, h, w]; MATLAB drops last axes of 1."""
    if filters is None or filters.ndim > 4:
        raise UserError("a layer with biases has no filters [h, w, in, out]")
    return filters.reshape(filters.shape + (1,) * (4 - filters.ndim)).transpose(3, 2, 0, 1)


def _mean(net: dict[str, Any]) -> tuple[float, ...] | None:
    meta = net.get("meta")
    normalization = (meta if isinstance(meta, dict) else net).get("normalization")
    average: Any = normalization.get("averageImage") if isinstance(normalization, dict) else None
    if not _is_filled(average):
        return None
    if average.ndim == 3:  # a picture, or one pixel
        average = average.mean(axis=(0, 1), dtype=np.float64)
    return tuple(float(value) for value in average.ravel())
