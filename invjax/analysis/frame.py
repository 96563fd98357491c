"""One or many runs as one pandas frame: its rows, the order of layers, the measure to be shown, labels.

frame = invjax.read_results("out/fast", "out/paper")
frame.groupby(["run", "representation"]).normalized_error.agg(["mean", "std"])
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invjax.errors import UserError
from invjax.runs.store import TABLE, describe, files
from invjax.types import titled

if TYPE_CHECKING:
    import pandas

    from invjax.runs.rundir import Run
    from invjax.types import Layer


def read_results(*directories: str | Path) -> pandas.DataFrame:
    """Reads the results of one or more runs.

    Args:
        directories: run directories, or folders of run directories, which are then read by name.

    Returns:
        A row per reconstruction, runs in the order given, rows in that of results.csv. Columns: `run`, a name that no
        other run of the table has; those of results.csv, numbers as numbers, what is empty NaN; `path` and `arrays`,
        where its picture and its exact numbers are, absolute: `np.load(row.arrays)["image"]` is float32 [H, W, C], in
        grey levels minus the representation's mean; `depth`, the place of the layer in its network, from 0, behind all
        of them for what is no single layer; and a column `config.FIELD` for each field of the config in which
        the runs, or the variants of a sweep, differ, lists as JSON.
        `normalized_error` is empty where a run has no two different pictures of a size; over which pictures its mean
        goes: `metrics.normalized_error`.
        A field that a run of an earlier version does not know has its default.

    Raises:
        UserError: no directory, one that holds no results, or a results.csv that is damaged.
    """
    from invjax.runs import rundir

    workdirs = list(dict.fromkeys(path.resolve() for directory in directories for path in _runs_in(Path(directory))))
    if not workdirs:
        raise UserError("no run directory given: invjax.read_results('out/run', …)")
    runs = [rundir.read(workdir) for workdir in workdirs]
    for run in runs:
        if not run.config:
            warnings.warn(f"{run.workdir / 'config.json'}: missing or damaged, its fields are left empty", stacklevel=2)
    return frame_of(runs)


LINE = ["representation", "layer"]  # what names a line of a table
SERIES = ["variant", "lambda_tv"]  # what there may be several of on a line


def _runs_in(directory: Path) -> list[Path]:
    """The directory itself, or the run directories in it."""
    if files(directory, TABLE):
        return [directory]
    inside = sorted(directory.iterdir()) if directory.is_dir() else []
    runs = [path for path in inside if files(path, TABLE)]
    if not runs:
        problem = "there is no results.csv in it" if directory.is_dir() else "no such folder"
        raise UserError(f"{directory}: not a run directory, nor a folder of them: {problem}")
    return runs


def frame_of(runs: Sequence[Run]) -> pandas.DataFrame:
    """`read_results` of runs that have been read already, one or more."""
    import pandas

    from invjax.runs.rundir import short_names

    settings = [_settings(run) for run in runs]
    fields = _differing([config for by_variant in settings for config in by_variant.values() if config])
    records = [
        {"run": name}
        | dataclasses.asdict(row)
        | {"path": str(path := run.workdir.absolute() / row.picture), "arrays": str(path.with_suffix(".npz"))}
        | {"depth": _depth(run.origins[row.representation].layers, row.layer)}
        | {f"config.{field}": by_variant.get(row.variant, {}).get(field) for field in fields}
        for name, run, by_variant in zip(short_names([run.workdir for run in runs]), runs, settings, strict=True)
        for row in run.rows
    ]
    frame = pandas.DataFrame(records)
    return frame.assign(seed=pandas.to_numeric(frame.seed, errors="coerce"))


def _depth(layers: Sequence[Layer], name: str) -> int:
    names = [layer.name for layer in layers]
    return names.index(name) if name in names else len(names)


def _settings(run: Run) -> dict[str, dict[str, Any]]:
    """All fields of the config by full name, defaults included, of each variant; none where there is no config."""
    from invjax.runs import sweep
    from invjax.runs.config import as_dict, default

    if not run.config:
        return {}
    common = {name: value for name, value in run.config.items() if name != "sweep"}
    fields = dict(_flat(as_dict(default()))) | dict(_flat(common))
    variants = sweep.by_name(run.config.get("sweep")) or {"": {}}
    return {name: fields | dict(_flat(changes)) for name, changes in variants.items()}


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for field, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{field}.")
        else:
            yield prefix + field, json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    fields = dict.fromkeys(field for config in configs for field in config)
    return [field for field in fields if any(config.get(field) != configs[0].get(field) for config in configs)]


def measure_of(frame: pandas.DataFrame) -> str:
    """The measure to be shown: the normalized error where every run has one, since it needs several pictures."""
    known = np.isfinite(frame.normalized_error).groupby(frame.run).any().all()
    return "normalized_error" if known else "relative_error"


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


def features_of(frame: pandas.DataFrame) -> list[str]:
    """What was inverted, "caffenet conv1", in the order of `lines`."""
    return [titled(*line) for line in lines(frame)]


def values(frame: pandas.DataFrame, field: str) -> list[Any]:
    """The different values of a field as they come, layers in order of the network."""
    return list(dict.fromkeys(layer for _, layer in lines(frame)) if field == "layer" else dict.fromkeys(frame[field]))


def labels(fields: Sequence[str], key: Sequence[Any]) -> str:
    """Values of several fields in one label."""
    return ", ".join(filter(None, (describe(*pair) for pair in zip(fields, key, strict=True))))
