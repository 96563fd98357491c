"""representations.json: by what a run's representations were made, and the layers of their networks.

What reads a run then needs no network again: figures have layers in order and draw what they see, and a study builds
the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from invjax import representations
from invjax.types import Layer, Origin, Representation

NAME = "representations.json"


def as_dict(phis: Iterable[Representation]) -> dict[str, Any]:
    """What is written of representations, by name; of several layers of a network, what is known of each."""
    found: dict[str, dict[str, Any]] = {}
    for phi in phis:
        entry = found.setdefault(phi.name, {"made_by": phi.origin.made_by, "layers": []})
        known = {layer["name"]: layer for layer in entry["layers"] if layer["window"] is not None}
        entry["layers"] = [known.get(layer.name, layer._asdict()) for layer in phi.origin.layers]
    return found


def read(workdir: Path, names: Iterable[str]) -> dict[str, Origin]:
    """The origins of representations by name.

    Args:
        workdir: a run directory.
        names: of the representations; of what the file does not tell, as in a run of an earlier version, what invjax
            itself knows by that name.

    Raises:
        ValueError: the file is damaged.
    """
    path = workdir / NAME
    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    try:
        return {name: _origin(there[name]) if name in there else _known(name) for name in names}
    except (KeyError, TypeError) as error:
        raise ValueError(f"no {error} in it") from None


def _origin(entry: Mapping[str, Any]) -> Origin:
    fields = Layer._fields
    return Origin(
        made_by=str(entry["made_by"]),
        layers=tuple(Layer(*(layer[field] for field in fields)) for layer in entry["layers"]),
    )


def _known(name: str) -> Origin:
    known = name in representations.names()
    return Origin(made_by=name, layers=representations.layers(name) if known else ())
