"""The run directory: what a run has found so far, on disk in one piece at any moment.

config.json       the config; another one is refused
environment.json  versions, device and command of the last start
representations.json  the layers of their networks: origins.py
pictures.json     hashes of pictures, features and weights; others are refused
results.csv       one row per finished reconstruction; with history.jsonl and failures.json: store.py
history.jsonl     one line per reconstruction: the objective's terms along the way
images/NAME/      original.png and .npz, if any, and, per reconstruction, .png to look at and .npz with the exact
                  numbers, on request .webp, how it came about
compared.json     between which pictures the mean distance of normalized_error is taken; with original.npz: originals.py
checkpoints/      the batches in flight, while running
processes/        what each of several processes has found so far, while running: team.py
failures.json     what could not be computed, and why; tried again by the next start
errors.log        tracebacks of what was no mistake of the user's, of all starts
figures/ tables/  of the results, as PNG and PDF, as CSV, Markdown and LaTeX
report.html       a page of all this
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import shutil
import traceback
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from invjax import devices
from invjax.errors import UserError
from invjax.files import write_atomically
from invjax.runs.config import as_dict, default
from invjax.runs.fields import Later, flat, of
from invjax.runs.store import TABLE, Failure, History, Key, Ledger, Row, read_rows
from invjax.runs.team import Team, collect, refuse_strangers
from invjax.version import __version__

OF_PARTS = ("weights of ", "code of ", "options of ", "start ")  # fingerprints of which there may be more by then
OPTIMIZER_BEFORE = {"name": "adam", "rate": None, "schedule": "cosine"}  # the default when only "custom" looked at it
PACKAGES = ("jax", "jaxlib", "optax", "numpy", "pillow", "orbax-checkpoint", "dm-pix")


class RunDirectory:
    """An open run directory, which nobody but its team can open meanwhile; a context manager.

    Args:
        path: the folder, made when missing.
        config: of `config.as_dict`.
        pictures: of `plan.fingerprints`.
        representations: of `origins.as_dict`.
        planned: keys of all reconstructions that the config asks for, in order.
        command: what was typed.
        team: the processes that work here; by default, this one.

    Raises:
        UserError: the folder is in use, belongs to another config, pictures or features, or holds something else.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        pictures: dict[str, str],
        representations: dict[str, Any],
        planned: Collection[Key],
        command: str,
        team: Team | None = None,
    ) -> None:
        self.path, self._planned = path, planned
        self._team = team or Team(path)
        refuse_another_run(path, config, pictures, planned)
        if self._team.index == 0:
            self._team.claim()
            (path / "failures.json").unlink(missing_ok=True)
            # config.json last: it is what makes the folder a run directory
            surroundings = environment(command, self._team.count)
            records = {"environment": surroundings, "representations": representations, "pictures": pictures}
            for name, content in (records | {"config": config}).items():
                write_atomically(path / f"{name}.json", json.dumps(content, indent=2) + "\n")
        self._before = set() if self._team.alone else {row.key for row in read_rows(path / TABLE)}
        self._ledger, self._logged = Ledger(self._team.folder), ""
        self._team.agree(_digest(config, pictures, planned))

    def __enter__(self) -> RunDirectory:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Lets other processes in."""
        self._team.release()

    def unite(self) -> None:
        """Takes over the ledgers of the team, if any, and puts the rows in the order of the plan."""
        if not self._team.alone:
            self._team.claim()
            self._ledger = collect(self.path, count=self._team.count) or Ledger(self.path)
        self._ledger.sort(self._planned)

    @property
    def failures(self) -> list[Failure]:
        """What could not be computed since it was opened."""
        return self._ledger.failures

    def finished(self) -> set[Key]:
        """keys of all reconstructions that is done, by others of the team as of the start."""
        return self._before | self._ledger.finished

    def rows(self) -> Iterator[Row]:
        """The rows of results.csv."""
        return read_rows(self.path / TABLE)

    def checkpoint_path(self, keys: Sequence[Key]) -> Path:
        """Where the state of a batch in flight belongs: a name that only the same reconstructions have."""
        name = hashlib.sha256(repr(list(keys)).encode()).hexdigest()
        return self.path / "checkpoints" / name[:16]

    def clear_checkpoints(self) -> None:
        """Removes what is left of batches that were cut otherwise."""
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def add(self, rows: Sequence[Row], histories: Iterable[History]) -> None:
        """Records finished reconstructions whose pictures are already written; arguments as of `Ledger.add`."""
        self._ledger.add(rows, histories)

    def fail(self, keys: Iterable[Key], reason: str) -> None:
        """Records reconstructions that could not be computed; arguments as of `Ledger.fail`."""
        self._ledger.fail(keys, reason)

    def log(self, what: str, error: BaseException) -> Path:
        """Appends the traceback of an error to errors.log, but for one that is the same as the last.

        Args:
            what: the reconstructions that it stopped.
            error: what was raised.

        Returns:
            Path of errors.log.
        """
        path, lines = self.path / "errors.log", "".join(traceback.format_exception(error))
        time = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time} {what}\n{'the same as before' if lines == self._logged else lines.rstrip()}\n\n")
        self._logged = lines
        return path


def refuse_another_run(path: Path, config: dict[str, Any], pictures: dict[str, str], planned: Collection[Key]) -> None:
    """Raises UserError where a folder is not empty and not of this run; arguments as of `RunDirectory`."""
    refuse_strangers(path)
    if not (path / "config.json").exists():
        return
    there = flat(_as_now(_read_json(path / "config.json")))
    here = flat(_as_now(json.loads(json.dumps(config))))
    different = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    different = [name for name in different if of(name).later is not Later.ANY]
    dropped = sum(row.key not in planned for row in read_rows(path / TABLE))
    if dropped or any(of(name).later is Later.SAME for name in different):
        changes = ", ".join(f"{name} (there {there.get(name)}, here {here.get(name)})" for name in different)
        changes = changes or f"{dropped} of its reconstructions are not asked for any more"
        raise UserError(f"{path}: was made by another config: {changes}; choose another folder or the same values")
    before = _read_json(path / "pictures.json")
    added = {name for name in before.keys() ^ pictures.keys() if name.startswith(OF_PARTS)}
    changed = [name for name in {**before, **pictures} if before.get(name) != pictures.get(name) and name not in added]
    if changed:
        raise UserError(
            f"{path}: was made of other pictures, features or code: {', '.join(changed)} differ; choose another folder"
        )


def _as_now(config: dict[str, Any]) -> dict[str, Any]:
    """A config, perhaps of an earlier version, with the defaults of this one.

    A field that did not exist yet had what is now its default; options that were not set were None, and an optimizer
    was told where the recipe had its own.
    """
    defaults = as_dict(default())
    before = "parameterization" not in config and config.get("optimizer") == OPTIMIZER_BEFORE
    config = defaults | config | ({"optimizer": defaults["optimizer"]} if before else {})
    return config | {"options": {name: value for name, value in config["options"].items() if value is not None}}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is missing or damaged; choose another folder")
    return content


def _digest(config: dict[str, Any], pictures: dict[str, str], planned: Iterable[Key]) -> str:
    """Of all that the processes of a run must agree on."""
    fixed = {name: value for name, value in flat(config).items() if of(name).later is not Later.ANY}
    digest = hashlib.sha256(json.dumps([fixed, pictures], sort_keys=True).encode())
    for key in planned:
        digest.update(repr(key).encode())
    return digest.hexdigest()


def _devices(device: jax.Device) -> str:
    return f"{jax.local_device_count()} × {device.device_kind}"


def environment(command: str, processes: int = 1) -> dict[str, Any]:
    """What the results may depend on: versions, machine, device, command."""
    device = jax.local_devices()[0]
    return {
        "command": command,
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": f"CPU, {devices.CORES} cores" if devices.sequential() else _devices(device),
        "processes": processes,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "invjax": __version__,
    } | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    """Of what is installed; what is only on the path has none that can be asked for."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
