"""The run directory: what a run has found so far, on disk in one piece at any moment.

config.json       the config; another one is refused
environment.json  versions, device and command of the last start
pictures.json     hashes of pictures, features and weights; others are refused
results.csv       one row per finished reconstruction; a row is there only when its files are
history.jsonl     one line per reconstruction: the objective's terms along the way
images/NAME/      original.png, if any, and, per reconstruction, .png to look at and .npz with the exact numbers, on
                  request .webp, how it came about
checkpoints/      the batch in flight, while running
failures.json     what could not be computed, and why; tried again by the next start
figures/ tables/  of the results, as PNG and PDF, as CSV, Markdown and LaTeX
report.html       a page of all this
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import math
import os
import platform
import shutil
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from invjax.errors import UserError
from invjax.experiment.config import as_dict, default
from invjax.files import lock, write_atomically

KEY = ("image", "representation", "layer", "variant", "lambda_tv", "restart")
COLUMNS = (
    *("image", "representation", "layer", "weights", "variant", "recipe", "lambda_tv", "lambda_alpha", "seed"),
    *("restart", "steps", "status", "relative_error", "normalized_error", "psnr", "ssim", "seconds", "picture"),
)
NEW = dict.fromkeys(("weights", "variant"), "")  # columns that tables of earlier versions do not have
# may change: the pictures themselves are compared, the others change no result
FREE = ("images", "features", "batch_size", "checkpoint_seconds", "movie", "study", "tensorboard", "figure")
GROWING = ("representations", "layers", "lambda_tv", "restarts", "sweep")  # may ask for more than there is already
PACKAGES = ("invjax", "jax", "jaxlib", "optax", "numpy", "pillow", "orbax-checkpoint", "scikit-image")

Row = dict[str, Any]


class RunDirectory:
    """An open run directory, which no other process can open meanwhile; a context manager.

    Args:
        path: the folder, made when missing.
        config: of `config.as_dict`.
        pictures: of `plan.fingerprints`.
        planned: `key_of` every reconstruction that the config asks for.
        command: what was typed.

    Raises:
        UserError: the folder is in use, belongs to another config, pictures or features, or holds something else.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        pictures: dict[str, str],
        planned: Collection[tuple[str, ...]],
        command: str,
    ) -> None:
        self.path = path
        refuse_another_run(path, config, pictures, planned)
        self._lock = lock(
            path / ".lock", f"{path}: another process is running here; wait for it, or choose another folder"
        )
        # config.json last: it is what makes the folder a run directory
        for name, content in (("environment", environment(command)), ("pictures", pictures), ("config", config)):
            write_atomically(path / f"{name}.json", json.dumps(content, indent=2) + "\n")
        self.rows = read_rows(path / "results.csv")
        self.failures: list[Row] = []
        (path / "failures.json").unlink(missing_ok=True)
        self._repair_history()

    def __enter__(self) -> RunDirectory:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Lets other processes in."""
        self._lock.close()

    def finished(self) -> set[tuple[str, ...]]:
        """`key_of` every reconstruction that is done."""
        return {key_of(row) for row in self.rows}

    def checkpoint_path(self, rows: list[Row]) -> Path:
        """Where the state of a batch in flight belongs: a name that only the same reconstructions have."""
        name = hashlib.sha256(repr([key_of(row) for row in rows]).encode()).hexdigest()
        return self.path / "checkpoints" / name[:16]

    def clear_checkpoints(self) -> None:
        """Removes what is left of batches that were cut otherwise."""
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def add(self, rows: list[Row], histories: list[dict[str, np.ndarray]]) -> None:
        """Records finished reconstructions whose pictures are already written.

        Args:
            rows: with all COLUMNS.
            histories: one for each row, equally long arrays by term.
        """
        lines = [
            json.dumps({name: row[name] for name in KEY} | {term: _numbers(history[term]) for term in sorted(history)})
            for row, history in zip(rows, histories, strict=True)
        ]
        with (self.path / "history.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)
        # written last and in one piece: what is in the table is finished, what is not is done again
        rows = self.rows + [{name: _cell(row[name]) for name in COLUMNS} for row in rows]
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path / "results.csv", table.getvalue())
        self.rows = rows

    def fail(self, keys: list[Row], reason: str) -> None:
        """Records reconstructions that could not be computed.

        Args:
            keys: with all of KEY.
            reason: why, a line.
        """
        self.failures += [{name: key[name] for name in KEY} | {"reason": reason} for key in keys]
        write_atomically(self.path / "failures.json", json.dumps(self.failures, indent=2) + "\n")

    def _repair_history(self) -> None:
        """Drops lines of reconstructions that were being recorded when the run was killed."""
        path, finished, kept = self.path / "history.jsonl", self.finished(), {}
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                key = key_of(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue
            if key in finished:
                kept[key] = line
        write_atomically(path, "".join(line + "\n" for line in kept.values()))


def refuse_another_run(
    path: Path, config: dict[str, Any], pictures: dict[str, str], planned: Collection[tuple[str, ...]]
) -> None:
    """Raises UserError where a folder is not empty and not of this run; arguments as of `RunDirectory`."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; the run needs a folder")
    if not (path / "config.json").exists():
        if path.is_dir() and any(not file.name.startswith(".") for file in path.iterdir() if file.suffix != ".json"):
            raise UserError(f"{path}: is not empty and not a run directory; choose another folder")
        return
    # a field that did not exist yet had what is now its default
    there = as_dict(default()) | _read_json(path / "config.json")
    here = as_dict(default()) | json.loads(json.dumps(config))
    different = [name for name in {**there, **here} if there.get(name) != here.get(name) and name not in FREE]
    dropped = [row for row in read_rows(path / "results.csv") if key_of(row) not in planned]
    if dropped or not set(different) <= set(GROWING):
        changes = ", ".join(f"{name} (there {there.get(name)}, here {here.get(name)})" for name in different)
        changes = changes or f"{len(dropped)} of its reconstructions are not asked for any more"
        raise UserError(f"{path}: was made by another config: {changes}; choose another folder or the same values")
    before = _read_json(path / "pictures.json")
    added = {name for name in before.keys() ^ pictures.keys() if name.startswith("weights of ")}  # of other layers
    changed = [name for name in {**before, **pictures} if before.get(name) != pictures.get(name) and name not in added]
    if changed:
        raise UserError(
            f"{path}: was made of other pictures or features: {', '.join(changed)} differ; choose another folder"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is missing or damaged; choose another folder")
    return content


def read_rows(path: Path) -> list[Row]:
    """Rows of a results.csv, all values text; none where there is no file.

    Raises:
        UserError: the file is not such a table.
    """
    if not path.exists():
        return []
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
        rows = [NEW | row for row in reader]
    except (UnicodeDecodeError, csv.Error):
        rows = [{}]
    if not all(isinstance(row.get(column), str) for row in rows for column in COLUMNS):
        raise UserError(f"{path}: is damaged: not a table with the columns {', '.join(COLUMNS)}")
    return rows


def key_of(row: Row) -> tuple[str, ...]:
    """What tells one reconstruction from another."""
    return tuple(_cell({**NEW, **row}[name]) for name in KEY)


def _cell(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else f"{float(value):.7g}"
    return str(value)


def _numbers(values: np.ndarray) -> list[float | int | None]:
    """JSON knows no NaN."""
    return [
        value if isinstance(value, int) else float(f"{value:.6g}") if math.isfinite(value) else None
        for value in values.tolist()
    ]


def _devices(device: jax.Device) -> str:
    return f"{jax.device_count()} × {device.device_kind}"


def environment(command: str) -> dict[str, str]:
    """What the results may depend on: versions, machine, device, command."""
    device = jax.devices()[0]
    return {
        "command": command,
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": f"CPU, {os.cpu_count()} cores" if device.platform == "cpu" else _devices(device),
        "platform": platform.platform(),
        "python": platform.python_version(),
    } | {name: version(name) for name in PACKAGES}
