"""The run directory: what a run has found so far, on disk in one piece at any moment.

config.json       the config; another one is refused
environment.json  versions, device and command of the last start
results.csv       one row per finished reconstruction; a row is there only when its files are
history.jsonl     one line per reconstruction: the objective's terms along the way
images/NAME/      original.png and, per reconstruction, .png to look at and .npz with the exact numbers
checkpoints/      the batch in flight, while running
report.html       a page of all this
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import os
import platform
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from invjax.errors import UserError
from invjax.files import write_atomically

KEY = ("image", "representation", "layer", "lambda_tv", "restart")
COLUMNS = (
    *("image", "representation", "layer", "recipe", "lambda_tv", "lambda_alpha", "seed", "restart", "steps"),
    *("status", "relative_error", "normalized_error", "psnr", "ssim", "seconds", "picture"),
)
PACKAGES = ("invjax", "jax", "jaxlib", "optax", "numpy", "pillow", "orbax-checkpoint", "scikit-image")

Row = dict[str, Any]


class RunDirectory:
    """An open run directory.

    Args:
        path: the folder, made when missing.
        config: of `config.as_dict`.
        command: what was typed.

    Raises:
        UserError: the folder belongs to another config or holds something else.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, config: dict[str, Any], command: str) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file; the run needs a folder")
        _refuse_another_config(path, config)
        write_atomically(path / "config.json", json.dumps(config, indent=2) + "\n")
        write_atomically(path / "environment.json", json.dumps(environment(command), indent=2) + "\n")
        self.rows = read_rows(path / "results.csv")
        self._repair_history()

    def done(self, rows: list[Row]) -> bool:
        """Whether all of these reconstructions are finished; only KEY is looked at."""
        finished = {key_of(row) for row in self.rows}
        return all(key_of(row) in finished for row in rows)

    def checkpoint_path(self, rows: list[Row]) -> Path:
        """Where the state of a batch in flight belongs: a name that only the same reconstructions have."""
        return self.path / "checkpoints" / f"{zlib.crc32(repr([key_of(row) for row in rows]).encode()):08x}"

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
        with (self.path / "history.jsonl").open("a") as file:
            file.writelines(line + "\n" for line in lines)
        # written last and in one piece: what is in the table is finished, what is not is done again
        rows = self.rows + [{name: _cell(row[name]) for name in COLUMNS} for row in rows]
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path / "results.csv", table.getvalue())
        self.rows = rows

    def _repair_history(self) -> None:
        """Drops lines of reconstructions that were being recorded when the run was killed."""
        path, finished = self.path / "history.jsonl", {key_of(row) for row in self.rows}
        if not path.exists():
            return
        kept = {}
        for line in path.read_text().splitlines():
            try:
                key = key_of(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue
            if key in finished:
                kept[key] = line
        write_atomically(path, "".join(line + "\n" for line in kept.values()))


def _refuse_another_config(path: Path, config: dict[str, Any]) -> None:
    file = path / "config.json"
    if not file.exists():
        if path.is_dir() and any(path.iterdir()):
            raise UserError(f"{path}: is not empty and not a run directory; choose another folder")
        return
    try:
        there = json.loads(file.read_text())
    except ValueError:
        raise UserError(f"{file}: is damaged; choose another folder, or delete the file to go on anyway") from None
    here = json.loads(json.dumps(config))
    different = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if different:
        changes = ", ".join(f"{name} (there {there.get(name)}, here {here.get(name)})" for name in different)
        raise UserError(f"{path}: was made by another config: {changes}; choose another folder or the same values")


def read_rows(path: Path) -> list[Row]:
    """Rows of a results.csv, all values text; none where there is no file.

    Raises:
        UserError: the file is not such a table.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if reader.fieldnames is None or not set(COLUMNS) <= set(reader.fieldnames):
        raise UserError(f"{path}: is damaged: not a table with the columns {', '.join(COLUMNS)}")
    return rows


def key_of(row: Row) -> tuple[str, ...]:
    """What tells one reconstruction from another."""
    return tuple(_cell(row[name]) for name in KEY)


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


def environment(command: str) -> dict[str, str]:
    """What the results may depend on: versions, machine, device, command."""
    device = jax.devices()[0]
    return {
        "command": command,
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": f"{device.platform}: {device.device_kind}" + f" ×{jax.device_count()}",
        "cores": str(os.cpu_count()),
        "platform": platform.platform(),
        "python": platform.python_version(),
    } | {name: version(name) for name in PACKAGES}
