"""Several processes that begin a run together: who is who, found by `jax.distributed`.

Reconstructions have nothing to say to each other, so the processes of a run need one moment together and no more: each
learns its number, and the first one gets the run directory ready before the others look into it. They meet through
`jax.distributed.initialize`, in a child process of each that ends when they have met, for three reasons. XLA ends all
processes of a runtime as soon as one of them dies, and a run is to outlive that. It ends the process, with a page of
stack, where a user has mistyped an address. And a process that computes as if alone computes the same bits as alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Any

from invjax.errors import UserError, one_line

JOIN_SECONDS = 300.0  # that the processes have to find each other
_READY = "invjax/ready"


@dataclasses.dataclass(frozen=True)
class Seat:
    """A process of a run: its number, from 0, and how many there are."""

    index: int
    count: int


def check(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Raises UserError for an address and numbers that cannot be; arguments as of `meet`."""
    given = {"coordinator": coordinator, "num_processes": count, "process_id": index}
    absent = [f"--{name}" for name, value in given.items() if value is None]
    if 0 < len(absent) < len(given):
        raise UserError(f"{' and '.join(absent)} missing: give all of --coordinator, --num_processes and --process_id")
    if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise UserError(f"--coordinator must be HOST:PORT, got '{coordinator}'")
    if count is not None and count < 1:
        raise UserError(f"--num_processes must be at least 1, got {count}")
    if count is not None and index is not None and not 0 <= index < count:
        raise UserError(f"--process_id must be from 0 to {count - 1} (--num_processes {count}), got {index}")


def meet(
    coordinator: str | None,
    count: int | None,
    index: int | None,
    prepare: Callable[[], None],
    seconds: float = JOIN_SECONDS,
) -> Seat:
    """Waits for the other processes of a run; call it before anything that touches a device.

    Where the launcher gives each process a GPU of its own (SLURM, Open MPI), JAX will see this one only.

    Args:
        coordinator: HOST:PORT of process 0, PORT any free one; None, with the two others: found by JAX (SLURM, Open
            MPI, TPU pods, Kubernetes).
        count: number of processes.
        index: of this one, from 0.
        prepare: called by process 0 when all are there, while the others wait.
        seconds: to wait for the others; `jax.distributed` takes up to twice as long.

    Returns:
        Who this process is.

    Raises:
        UserError: impossible numbers, no cluster, the others do not come, or, in all processes, that of `prepare`.
    """
    check(coordinator, count, index)
    command = [sys.executable, "-m", "invjax.distributed", json.dumps([coordinator, count, index, seconds])]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, start_new_session=True) as child:
        try:
            assert child.stdin and child.stdout and child.stderr
            joined = _heard(child, coordinator, count, index)
            seat = Seat(joined["index"], joined["count"])
            if seat.index == 0:
                _tell(child.stdin, _refusal(prepare))
            refused = _heard(child, coordinator, seat.count, seat.index)["refused"]
        except BaseException:
            child.kill()
            raise
    if refused:
        raise UserError(refused)
    os.environ.update(host_alone(joined["chips"]))
    if joined["devices"]:
        import jax

        for name, devices in joined["devices"].items():
            jax.config.update(name, devices)
    return seat


def host_alone(chips: int) -> dict[str, str]:
    """Variables that make a host of a TPU pod compute by itself, where libtpu would wait for all others at each start.

    Args:
        chips: of this host; 0: no TPU.

    Source: W. Cromar in pytorch/xla issue 7714, 2024; the names are libtpu's. Not tried on a pod.
    """
    bounds = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}.get(chips)
    if bounds is None:
        return {}
    hosts = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
    return hosts | {"TPU_PROCESS_BOUNDS": "1,1,1", "TPU_CHIPS_PER_PROCESS_BOUNDS": bounds}


def _refusal(prepare: Callable[[], None]) -> str:
    """Why the run cannot begin; empty when it can."""
    try:
        prepare()
    except UserError as error:
        return str(error)
    return ""


def _tell(pipe: IO[str], refused: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # what became of the child is told by its output
        pipe.write(json.dumps({"refused": refused}) + "\n")
        pipe.flush()


def _heard(
    child: subprocess.Popen[str], coordinator: str | None, count: int | None, index: int | None
) -> dict[str, Any]:
    """The next message of the child, or one line of why there is none."""
    assert child.stdout and child.stderr
    before = time.monotonic()
    line = child.stdout.readline()
    if line:
        return json.loads(line)
    raise UserError(_explanation(child.stderr.read(), coordinator, count, index, time.monotonic() - before))


def _explanation(log: str, coordinator: str | None, count: int | None, index: int | None, seconds: float) -> str:
    """What a user has to know of a page of XLA's."""
    if "should be defined" in log or "must be defined" in log:
        return "--distributed: neither SLURM nor a TPU pod here; give --coordinator, --num_processes and --process_id"
    where = f" at {coordinator}" if coordinator else ""
    if "in use" in log or "Failed to start RPC server" in log or "not start" in log:
        return f"--coordinator: process 0 cannot listen{where}: the port is taken; choose another one for all"
    if "different incarnation" in log or "already connected" in log or "ALREADY_EXISTS" in log or "ABORTED" in log:
        return f"--process_id {index}: there is another process of this number{where}"
    if "DEADLINE_EXCEEDED" in log and index == 0:
        return f"after {seconds:.0f} s not all of the {count} processes have come{where}: start the others as well"
    if "DEADLINE_EXCEEDED" in log:
        return f"after {seconds:.0f} s there is no process 0{where}: is it running, and is this its address?"
    if "UNAVAILABLE" in log:
        return f"process 0{where} has ended before the run began"
    found = [line for line in log.splitlines() if line.strip()] or ["no reason given"]
    return f"the processes of the run cannot meet{where}: {one_line(found[-1])}"


def _attend(coordinator: str | None, count: int | None, index: int | None, seconds: float) -> None:
    """The child: tells its parent who it is, and whether the run can begin."""
    import jax
    from jax._src import distributed, hardware_utils  # JAX has no public name for what it has found, nor for messages

    jax.distributed.initialize(coordinator, count, index, initialization_timeout=round(seconds))
    state: Any = distributed.global_state
    names = "jax_cuda_visible_devices", "jax_rocm_visible_devices"
    devices = {name: value for name in names if (value := jax.config._read(name)) != "all"}
    chips, _ = hardware_utils.num_available_tpu_chips_and_device_id()
    seat = {"index": state.process_id, "count": state.num_processes}
    print(json.dumps(seat | {"devices": devices, "chips": chips}), flush=True)
    if state.process_id == 0:
        message = sys.stdin.readline()
        state.client.key_value_set(_READY, message or json.dumps({"refused": "process 0 was stopped"}))
    else:
        message = state.client.blocking_key_value_get(_READY, round(3600e3))
    jax.distributed.shutdown()
    print(message.strip(), flush=True)


if __name__ == "__main__":
    _attend(*json.loads(sys.argv[1]))
