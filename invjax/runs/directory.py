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
processes/        what each of several processes has found so far, while running: distributed.py
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
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from invjax import devices
from invjax.errors import UserError
from invjax.files import write_atomically
from invjax.runs.config import as_dict, default
from invjax.runs.distributed import ALONE, Share, agree, bring_together
from invjax.runs.fields import Later, flat, of
from invjax.runs.store import FAILURES, PARTS, TABLE, Failure, History, Key, Ledger, Row, files, read_rows
from invjax.version import __version__

OF_PARTS = ("weights of ", "code of ", "options of ", "start ")  # fingerprints of which there may be more by then
OPTIMIZER_BEFORE = {"name": "adam", "rate": None, "schedule": "cosine"}  # the default when only "custom" looked at it
PACKAGES = ("jax", "jaxlib", "optax", "numpy", "pillow", "dm-pix")


class RunDirectory:
    """An open run directory, which only those that have another share can open meanwhile; a context manager.

    Args:
        path: the folder, made when missing.
        config: of `config.as_dict`.
        pictures: of `plan.fingerprints`.
        representations: of `origins.as_dict`.
        planned: keys of all reconstructions that the config asks for, in order.
        command: what was typed.
        share: what this process computes of it; by default, everything.

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
        share: Share = ALONE,
    ) -> None:
        self.path, self._planned, self._share = path, planned, share
        refuse_strangers(path)
        self._held = share.claim(path)
        agree(_digest(config, pictures, planned))
        refuse_another_run(path, config, pictures, planned)
        if share.index == 0 or not share.meets:
            # config.json last: it is what makes the folder a run directory
            surroundings = environment(command, share.count)
            records = {"environment": surroundings, "representations": representations, "pictures": pictures}
            for name, content in (records | {"config": config}).items():
                write_atomically(path / f"{name}.json", json.dumps(content, indent=2) + "\n")
        self._ledger = bring_together(path) if share.count == 1 else Ledger(share.folder(path))
        (share.folder(path) / FAILURES).unlink(missing_ok=True)  # they are tried again
        self._ledger.failures, self._logged = [], ""

    def __enter__(self) -> RunDirectory:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Lets other processes in."""
        for file in self._held:
            file.close()

    def unite(self) -> bool:
        """Brings together what all processes have found, if that is up to this one; rows in the order of the plan.

        Returns:
            Whether this directory now is of the whole run.
        """
        if self._share.count > 1:
            self.__exit__()
            held = self._share.last(self.path, self._planned)
            if held is None:
                return False
            self._held = (held,)
            self._ledger = bring_together(self.path)
        self._ledger.sort(self._planned)
        return True

    @property
    def failures(self) -> list[Failure]:
        """What could not be computed since it was opened."""
        return self._ledger.failures

    def finished(self) -> set[Key]:
        """Keys of all reconstructions that are done, by whichever process."""
        if self._share.count == 1:
            return self._ledger.finished
        return {row.key for table in files(self.path, TABLE) for row in read_rows(table)}

    def checkpoint_path(self, keys: Sequence[Key]) -> Path:
        """Where the state of a batch in flight belongs: a name that only the same reconstructions have."""
        name = hashlib.sha256(repr(list(keys)).encode()).hexdigest()
        return self.path / "checkpoints" / f"{name[:16]}.checkpoint"

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


def refuse_strangers(path: Path) -> None:
    """Raises UserError where a path is neither a run directory nor free to become one."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; the run needs a folder")
    # what a run that was killed before it had a config may have left
    found = list(path.iterdir()) if path.is_dir() else []
    strange = any(file.name[0] != "." and file.suffix != ".json" and file.name != PARTS for file in found)
    if strange and not (path / "config.json").exists():  # afterwards: another process may just make the folder its own
        raise UserError(f"{path}: is not empty and not a run directory; choose another folder")


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
