"""Real processes on this machine that share a run: some are killed, nothing is lost, and nothing is there twice."""

import csv
import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from invjax import cli
from invjax.runs import rundir

from ..conftest import blobs

pytestmark = pytest.mark.slow

PATIENCE = 10


def command(workdir, pictures, *more):
    return [
        *("run", "demo", "--workdir", str(workdir), f"--config.images={pictures}", "--config.size=0"),
        *("--config.representations=hog", "--config.restarts=8", "--config.steps=40", "--config.every=5"),
        *("--config.checkpoint_seconds=0.0", "--config.batch_size=2", *more),
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """(pictures, run directory) of a run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "pictures").mkdir()
    for seed in range(2):
        Image.fromarray(blobs(32, seed)).save(folder / "pictures" / f"blob{seed}.png")
    assert cli.main(command(folder / "out", folder / "pictures")) == 0
    return folder / "pictures", folder / "out"


def started(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "invjax", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def meeting(workdir, pictures, count, *more):
    """So many processes that meet, just started."""
    flags = "--distributed", "--coordinator", address(), "--num_processes", str(count), "--patience", str(PATIENCE)
    return [started(*command(workdir, pictures, *flags, "--process_id", str(index), *more)) for index in range(count)]


def ended(processes):
    """Exit codes, and what was said."""
    texts = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], texts


def wait_for(there, processes):
    for _ in range(6000):
        if there():
            return
        assert all(process.poll() is None for process in processes), ended(processes)
        time.sleep(0.01)
    pytest.fail("the run never got there")


def rows_of(workdir):
    with (workdir / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.pop("seconds")
    return rows


def same(workdir, expected):
    """Every row once and in the same order, every history once, every pixel the same, nothing left over."""
    assert rows_of(workdir) == rows_of(expected)
    histories = [sorted((run / "history.jsonl").read_text().splitlines()) for run in (workdir, expected)]
    assert histories[0] == histories[1]
    files = [sorted(str(path.relative_to(run)) for path in (run / "images").rglob("*")) for run in (workdir, expected)]
    assert files[0] == files[1]
    for row in rows_of(expected):
        exact = [np.load((run / row["picture"]).with_suffix(".npz"))["image"] for run in (workdir, expected)]
        np.testing.assert_array_equal(*exact)
    assert (workdir / "report.html").exists()
    assert not any((workdir / name).exists() for name in ("processes", "checkpoints", "failures.json"))
    return True


def test_two_that_meet_find_what_one_finds(alone, tmp_path):
    pictures, expected = alone
    codes, texts = ended(meeting(tmp_path / "out", pictures, 2))
    assert codes == [0, 0], texts
    assert same(tmp_path / "out", expected)
    assert json.loads((tmp_path / "out" / "environment.json").read_text())["processes"] == 2


def test_one_of_three_is_killed_and_one_process_finishes_the_rest(alone, tmp_path, capsys):
    pictures, expected = alone
    processes = meeting(tmp_path / "out", pictures, 3)
    part = tmp_path / "out" / "processes" / "1-of-3" / "results.csv"
    wait_for(lambda: part.exists() and part.read_text().count("\n") > 1, processes)
    processes[1].send_signal(signal.SIGKILL)
    assert cli.main(command(tmp_path / "out", pictures)) == 2
    assert "another process is running here" in capsys.readouterr().err
    codes, _ = ended(processes)
    assert codes[1] == -signal.SIGKILL and codes[0] and codes[2]  # JAX ends the others
    read = rundir.read(tmp_path / "out")
    assert 2 <= len(read.rows) == len({row.key for row in read.rows}) == len(read.histories)
    written = {row.picture: (tmp_path / "out" / row.picture).stat().st_mtime_ns for row in read.rows}
    assert cli.main(command(tmp_path / "out", pictures, "--config.batch_size=3")) == 0
    assert same(tmp_path / "out", expected)
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == moment for name, moment in written.items())


def test_two_are_stopped_and_three_go_on_from_their_checkpoints(alone, tmp_path):
    pictures, expected = alone
    processes = meeting(tmp_path / "out", pictures, 2)
    wait_for(lambda: len(list((tmp_path / "out").glob("checkpoints/*.checkpoint"))) == 2, processes)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    codes, texts = ended(processes)
    assert codes == [130, 130] and all("the same command goes on" in text for text in texts)
    codes, texts = ended(meeting(tmp_path / "out", pictures, 3))
    assert codes == [0, 0, 0], texts
    assert same(tmp_path / "out", expected)


def test_three_shards_of_which_one_is_killed(alone, tmp_path, capsys):
    pictures, expected = alone
    out = tmp_path / "out"
    killed, other = (started(*command(out, pictures, "--shard", part)) for part in ("0/3", "2/3"))
    wait_for(lambda: list(out.glob("checkpoints/*.checkpoint")), [killed, other])
    killed.send_signal(signal.SIGKILL)
    codes, _ = ended([killed, other])
    assert codes == [-signal.SIGKILL, 0]
    shutil.copytree(out, tmp_path / "copy")
    for part in ("0/3", "1/3"):
        assert not (out / "report.html").exists()
        assert cli.main(command(out, pictures, "--shard", part)) == 0
    assert same(out, expected)
    capsys.readouterr()
    assert cli.main(["report", str(tmp_path / "copy")]) == 0  # of what there is, brought together
    assert len(rows_of(tmp_path / "copy")) >= 5 and not (tmp_path / "copy" / "processes").exists()
    assert cli.main(command(tmp_path / "copy", pictures)) == 0
    assert same(tmp_path / "copy", expected)


def test_mistakes_of_one_or_all_are_told_in_a_line(alone, tmp_path):
    pictures, _ = alone
    flags = "--coordinator", address(), "--num_processes", "2", "--patience", str(PATIENCE), "--process_id"
    codes, texts = ended(
        [started(*command(tmp_path / "out", pictures, *flags, str(seed), f"--config.seed={seed}")) for seed in range(2)]
    )
    assert codes == [2, 2] and all("different pictures, features, weights or fields" in text for text in texts)
    codes, texts = ended(meeting(tmp_path / "out", "nowhere", 2))
    assert codes == [2, 2] and all("nowhere" in text and "Traceback" not in text for text in texts)
    assert not (tmp_path / "out" / "config.json").exists()


def test_who_comes_to_no_meeting_is_told_in_a_line_within_patience(alone, tmp_path):
    pictures, _ = alone

    def process(folder, where, count, index):
        numbers = "--num_processes", str(count), "--process_id", str(index), "--patience", "4"
        return started(*command(tmp_path / folder, pictures, "--coordinator", where, *numbers))

    here = address()
    waiting = [process("lost", "no.such.host:1", 2, 1), process("out", here, 3, 0)]
    wait_for((tmp_path / "out" / "processes" / "0-of-3" / ".lock").exists, waiting)
    began = time.monotonic()
    codes, texts = ended([process("out", here, 3, 0), process("out", here, 4, 3), *waiting])
    assert time.monotonic() - began < 30  # of which most is for starting them
    assert codes == [2] * 4 and all(text.startswith("invjax: error: ") and text.count("\n") == 1 for text in texts)
    assert "another process 0 of 3 is running here" in texts[0] and "process 0-of-3 is running here" in texts[1]
    assert "not come in 4 s at no.such.host:1" in texts[2] and f"not come in 4 s at {here}" in texts[3]
    assert cli.main(command(tmp_path / "out", pictures, "--distributed")) == 2  # there is no cluster
