"""The processes of a run: each shows that it is alive, sees when another is not, and the first one left concludes.

They meet once (invjax/distributed.py) and then speak through files of the run directory, which all of them see:

processes/saved.json     batches that an earlier start has left in the middle: everybody shares out by the same list
processes/<i>/pulse      what process i is doing, and a number that grows while it is alive
processes/<i>/.lock      held by process i
processes/<i>/           its part of the ledger (ledger.py), which the first process takes over at the end, or the next
                         start at its beginning
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import jax

from invjax import distributed
from invjax.errors import UserError, one_line
from invjax.files import lock, write_atomically
from invjax.runs.checkpoint import saved_batches
from invjax.runs.store import Key, Ledger

PATIENCE = 300.0  # seconds of silence after which a process is taken for dead
BEATS = 20  # in that time

RUNNING, FINISHED, LEFT, STOPPED, FAILED, DEAD = "running", "finished", "left", "stopped", "failed", "dead"
_WELL = (FINISHED, LEFT)  # its share is done


def claim(workdir: Path) -> IO[str]:
    """Makes a run directory this process's own, and brings together what the processes of an earlier start have left.

    Args:
        workdir: the run directory, made when missing.

    Returns:
        The lock, to be closed at the end.

    Raises:
        UserError: somebody is working there, or it is no run directory.
        OSError: it cannot be written.
    """
    refuse_strangers(workdir)
    busy = f"{workdir}: another process is running here; wait for it, or choose another folder"
    held = lock(workdir / ".lock", busy)
    try:
        collect(workdir, busy)
    except BaseException:
        held.close()
        raise
    return held


def collect(workdir: Path, busy: str = "", count: int = 0) -> Ledger | None:
    """Takes over the ledgers of processes that have ended, and removes them; one after the other, so that a kill at any
    moment loses nothing.

    Args:
        workdir: the run directory, claimed.
        busy: what to say where a process is alive; by default, it is passed over.
        count: of processes that have a ledger here, if known: a file system of several hosts may list them late.

    Returns:
        The ledger of the run; None where there was nothing to take over.

    Raises:
        UserError: a process is alive, or a table is damaged.
    """
    ledger = None
    known = {workdir / "processes" / str(index) for index in range(count)}
    for folder in sorted(known.union((workdir / "processes").glob("[0-9]*"))):
        if not folder.is_dir():
            continue
        try:
            held = lock(folder / ".lock", busy)
        except UserError:
            if busy:
                raise
            continue
        with held:
            ledger = ledger or Ledger(workdir)
            ledger.absorb(folder)
            for file in folder.iterdir():
                if file.name != ".lock":
                    file.unlink()
        # NFS keeps a name for an open file, so only now; an empty folder that stays does no harm
        shutil.rmtree(folder, ignore_errors=True)
    _tidy(workdir)
    return ledger


def _tidy(workdir: Path) -> None:
    """Removes the folder of processes where it holds no ledger, whatever a listing says."""
    (workdir / "processes" / "saved.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (workdir / "processes").rmdir()


def refuse_strangers(path: Path) -> None:
    """Raises UserError where a path is neither a run directory nor free to become one."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; the run needs a folder")
    if (path / "config.json").exists() or not path.is_dir():
        return
    # what a run that was killed before it had a config may have left
    strange = [file for file in path.iterdir() if not file.name.startswith(".") and file.suffix != ".json"]
    if any(file.name != "processes" for file in strange):
        raise UserError(f"{path}: is not empty and not a run directory; choose another folder")


@dataclasses.dataclass
class _Peer:
    """What is known of another process."""

    state: str = RUNNING
    reason: str = ""
    plan: str = ""
    beat: str = ""
    silence: int = 0  # beats of our own: where all were suspended together, nobody was silent


@dataclasses.dataclass(frozen=True)
class Lost:
    """A process that did not finish its share: which, and what became of it."""

    index: int
    fate: str


class Team:
    """This process among those of a run; a context manager. By default it is alone.

    Args:
        workdir: the run directory.
        seat: who this process is.
        claimed: the lock of the run directory, in process 0.
        patience: seconds of silence after which another process is taken for dead.
        say: prints a line.
    """

    def __init__(
        self,
        workdir: Path,
        seat: distributed.Seat | None = None,
        claimed: IO[str] | None = None,
        patience: float = PATIENCE,
        say: Callable[[str], None] = lambda line: print(f"invjax: {line}", file=sys.stderr, flush=True),
    ) -> None:
        seat = seat or distributed.Seat(0, 1)
        self.index, self.count = seat.index, seat.count
        self._workdir, self._patience, self._say = workdir, patience, say
        self._claimed, self._own = claimed, cast(IO[str] | None, None)
        self._pulse: dict[str, Any] = {"state": RUNNING, "reason": "", "plan": "", "beat": 0}
        self._peers = {index: _Peer() for index in range(seat.count) if index != seat.index}
        self._busy, self._ended = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    @property
    def name(self) -> str:
        """What to call this process."""
        return _name(self.index, self.count)

    @property
    def folder(self) -> Path:
        """Where the ledger of this process belongs."""
        return self._workdir if self.alone else self._folder(self.index)

    def __enter__(self) -> Team:
        """Shows the others that it is there."""
        if not self.alone:
            busy = f"{self._workdir}: another process {self.index} is running here; wait for it"
            self._own = lock(self.folder / ".lock", busy)
            self._show()
            self._thread = threading.Thread(target=self._live, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Tells the others how it ended, and lets go of everything."""
        self._hush()
        ends_early = self._pulse["state"] == RUNNING or (kind is not None and self._pulse["state"] == FINISHED)
        if not self.alone and self.folder.is_dir() and ends_early:
            stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
            self._show(state=STOPPED if stopped else FAILED, reason=one_line(error))
        self.release()

    def release(self) -> None:
        """Lets go of the run directory."""
        for held in (self._own, self._claimed):
            if held is not None:
                held.close()

    def claim(self) -> None:
        """Makes the run directory this process's own, where it is not yet.

        Raises:
            UserError: somebody else is working there.
        """
        if self._claimed is None:
            busy = f"{self._workdir}: another process is running here; wait for it, or choose another folder"
            self._claimed = claim(self._workdir) if self.alone else lock(self._workdir / ".lock", busy)

    def agree(self, plan: str) -> None:
        """Waits until process 0 has found the directory fit for the run, and sees to it that both have the same plan.

        Args:
            plan: a digest of everything that the processes have to agree on.

        Raises:
            UserError: it has another one, or has ended, or this process does not compute by itself.
        """
        if self.alone:
            return
        if jax.process_count() > 1:  # checkpoints, for one, would wait for the others
            raise UserError(f"JAX sees devices of {jax.process_count()} hosts as one; see TPU pods in docs/scaling.md")
        self._show(plan=plan)
        first = self._peers.get(0)
        while first is not None and not first.plan:
            if first.state != RUNNING:
                raise UserError(f"{_fate(0, self.count, first)}; the run has not begun")
            self._pause()
        if first is not None and first.plan != plan:
            raise UserError(
                "other pictures, features, weights or fields of the config than process 0 has: "
                "give all processes the same command, and the same files"
            )

    def saved(self) -> list[list[Key]]:
        """Keys of the batches that were left in the middle; the same in all processes, as of the start."""
        if self.alone:
            return saved_batches(self._workdir / "checkpoints")
        saved = json.loads((self._workdir / "processes" / "saved.json").read_text(encoding="utf-8"))
        return [[Key(*key) for key in keys] for keys in saved]

    def wait(self) -> list[Lost]:
        """Tells the others that the share of this process is done, and waits until theirs are, or they have ended.

        Returns:
            Those that have ended before; afterwards, `leads` tells whether this process is to conclude the run.
        """
        if self.alone:
            return []
        self._show(state=FINISHED)
        waiting = False
        while any(peer.state == RUNNING for peer in self._peers.values()):
            if not waiting:
                waiting = True
                self._say(f"{self.name} has done its share, and waits for the others")
            self._pause()
        self._hand_over()
        if self._own is not None:
            self._own.close()
        self._hush()
        self._show(state=LEFT)
        lost = {index: peer for index, peer in self._peers.items() if peer.state not in _WELL}
        return [Lost(index, _fate(index, self.count, peer)) for index, peer in sorted(lost.items())]

    def _hand_over(self) -> None:
        """Waits until it is sure who concludes the run: nobody leaves before the one who will has shown a sign of life,
        and that one begins when all others have left, so that nobody looks into a folder while it is taken over."""
        heard = {index: peer.beat for index, peer in self._peers.items()}
        while (index := self._first_before()) is not None:
            first = self._peers[index]
            if first.state == LEFT or first.beat != heard[index]:
                return
            self._pause()
        while any(peer.state == FINISHED for peer in self._peers.values()):
            self._show()
            self._pause()

    @property
    def leads(self) -> bool:
        """Whether this process is the first of those that have done their share."""
        return self._first_before() is None

    def _first_before(self) -> int | None:
        """The first of the processes before this one that have done their share."""
        done = (index for index, peer in self._peers.items() if index < self.index and peer.state in _WELL)
        return min(done, default=None)

    def _pause(self) -> None:
        time.sleep(min(0.5, self._patience / BEATS))
        self._look()

    def _hush(self) -> None:
        """Ends the pulse."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _live(self) -> None:
        while not self._ended.wait(self._patience / BEATS):
            self._show()
            self._look(beat=1)

    def _folder(self, index: int) -> Path:
        return self._workdir / "processes" / str(index)

    def _show(self, **changes: str) -> None:
        """Writes the pulse; what cannot be written, others take for silence."""
        with self._busy, contextlib.suppress(OSError):
            self._pulse |= {**changes, "beat": self._pulse["beat"] + 1}
            # in place: a file system of several hosts may show a renamed one late
            (self.folder / "pulse").write_text(json.dumps(self._pulse), encoding="utf-8")

    def _look(self, beat: int = 0) -> None:
        """Reads the others' pulses, and tells of each that ends early."""
        with self._busy:
            for index, peer in self._peers.items():
                before = peer.state
                self._feel(index, peer, beat)
                if peer.state != before and peer.state not in _WELL:
                    self._say(f"{_fate(index, self.count, peer)}; the others go on")

    def _feel(self, index: int, peer: _Peer, beat: int) -> None:
        try:
            text = (self._folder(index) / "pulse").read_text(encoding="utf-8")
            pulse = json.loads(text)
        except (OSError, ValueError):  # not there yet, or just being written
            text, pulse = peer.beat, None
        peer.silence += beat
        if pulse and text != peer.beat:
            peer.beat, peer.silence = text, 0
            peer.state, peer.reason, peer.plan = pulse["state"], pulse["reason"], pulse["plan"]
        elif peer.state in (RUNNING, FINISHED) and peer.silence > BEATS:
            # one that comes after this one may leave unheard; one before it would have concluded the run
            peer.state = LEFT if peer.state == FINISHED and index > self.index else DEAD


def _name(index: int, count: int) -> str:
    return f"process {index} of {count}"


def _fate(index: int, count: int, peer: _Peer) -> str:
    name = _name(index, count)
    if peer.state == STOPPED:
        return f"{name} was stopped"
    return f"{name} has failed: {peer.reason}" if peer.state == FAILED else f"{name} has died"


def join(
    workdir: Path, coordinator: str | None, count: int | None, index: int | None, patience: float = PATIENCE
) -> Team:
    """Waits for the other processes of a run; process 0 claims the run directory meanwhile.

    Args:
        workdir: the run directory, the same for all.
        coordinator, count, index: of `distributed.meet`.
        patience: seconds of silence after which a process is taken for dead, or one that does not come is given up.

    Raises:
        UserError: as `distributed.meet` and `claim`, or a patience that is no positive number.
    """
    claims: list[IO[str]] = []

    def prepare() -> None:
        claims.append(claim(workdir))
        saved = json.dumps(saved_batches(workdir / "checkpoints"))
        write_atomically(workdir / "processes" / "saved.json", saved)

    if not 0 < patience < math.inf:
        raise UserError(f"--patience must be a positive number of seconds, got {patience:g}")
    distributed.check(coordinator, count, index)
    where = f" at {coordinator}" if coordinator else ""
    print(f"invjax: waiting for the other processes{where}", file=sys.stderr, flush=True)
    seat = distributed.meet(coordinator, count, index, prepare, patience)
    if seat.count == 1:
        _tidy(workdir)
    return Team(workdir, seat, claims[0] if claims else None, patience)
