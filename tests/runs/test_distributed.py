"""Real processes on this machine that share a run: some are killed, nothing is lost, and nothing is computed twice."""

import csv
import json
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from invjax import cli

from ..conftest import blobs

pytestmark = pytest.mark.slow

PATIENCE = 5.0
STEPS = 40


def command(workdir, pictures, *more):
    return [
        *("run", "demo", "--workdir", str(workdir), f"--config.images={pictures}", "--config.size=0"),
        *("--config.representations=hog", "--config.restarts=8", f"--config.steps={STEPS}", "--config.every=5"),
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


class Processes:
    """Processes of a run that were just started."""

    def __init__(self, workdir, pictures, count, *more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.workdir = workdir
        flags = "--coordinator", address, "--num_processes", str(count), "--patience", str(PATIENCE)
        self.running = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "invjax",
                    *command(workdir, pictures, *flags, "--process_id", str(index), *more),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]

    def kill_in_the_middle(self, index):
        """Ends a process that has finished some of its share and is at work on the next."""
        own = self.workdir / "processes" / str(index) / "results.csv"
        for _ in range(6000):
            if own.exists() and len(own.read_text().splitlines()) > 1:
                break
            assert self.running[index].poll() is None, self.running[index].stderr.read()
            time.sleep(0.01)
        self.running[index].send_signal(signal.SIGKILL)

    def end(self):
        """Exit codes, and what was said on each terminal."""
        texts = [process.communicate(timeout=120)[1] for process in self.running]
        for text in texts:
            assert "Traceback" not in text and "E1" not in text and "F1" not in text, text  # nor lines of XLA's
        return [process.returncode for process in self.running], texts


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
        exact = [np.load((run / row["picture"]).with_suffix(".npz")) for run in (workdir, expected)]
        np.testing.assert_array_equal(exact[0]["image"], exact[1]["image"])
    assert (workdir / "report.html").exists()
    assert not any((workdir / name).exists() for name in ("processes", "checkpoints", "failures.json"))
    return True


def test_one_of_three_is_killed_and_two_finish_it(alone, tmp_path):
    pictures, expected = alone
    team = Processes(tmp_path / "out", pictures, 3)
    team.kill_in_the_middle(1)
    codes, texts = team.end()
    assert codes == [3, -signal.SIGKILL, 3]
    assert "process 1 of 3 has died" in texts[0] and "process 1 of 3 has died" in texts[2]
    done = rows_of(tmp_path / "out")
    missing = len(rows_of(expected)) - len(done)
    assert 0 < missing < 6  # of 16, of which some of the dead one's share were finished
    assert f"{missing} reconstructions are missing: the same command finishes them" in texts[0]
    before = {row["picture"]: (tmp_path / "out" / row["picture"]).stat().st_mtime_ns for row in done}
    codes, texts = Processes(tmp_path / "out", pictures, 2, "--distributed").end()
    assert codes == [0, 0], texts
    assert same(tmp_path / "out", expected)
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == written for name, written in before.items())
    assert json.loads((tmp_path / "out" / "environment.json").read_text())["processes"] == 2


def test_the_first_of_two_is_killed_and_one_process_finishes_it(alone, tmp_path, capsys):
    pictures, expected = alone
    team = Processes(tmp_path / "out", pictures, 2)
    team.kill_in_the_middle(0)
    assert cli.main(command(tmp_path / "out", pictures)) == 2
    assert "another process is running here" in capsys.readouterr().err
    codes, texts = team.end()
    assert codes == [-signal.SIGKILL, 3]
    assert "process 0 of 2 has died" in texts[1]
    assert len(rows_of(tmp_path / "out")) > 8  # the other's share, and what it had finished of its own
    assert cli.main(command(tmp_path / "out", pictures, "--config.batch_size=3")) == 0
    assert same(tmp_path / "out", expected)


def test_all_are_stopped_and_one_goes_on_from_their_checkpoints(alone, tmp_path):
    pictures, expected = alone
    team = Processes(tmp_path / "out", pictures, 2)
    for _ in range(6000):
        if len(list((tmp_path / "out").glob("checkpoints/*.json"))) == 2:
            break
        time.sleep(0.01)
    for process in team.running:
        process.send_signal(signal.SIGTERM)
    codes, texts = team.end()
    assert codes == [130, 130]
    assert all("the same command goes on" in text for text in texts)
    begun = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("checkpoints/*.json"))]
    assert [len(keys) for keys in begun] == [2, 2]
    assert cli.main(command(tmp_path / "out", pictures, "--config.batch_size=5")) == 0
    assert same(tmp_path / "out", expected)


def test_who_comes_to_no_meeting_is_told_so_in_one_line(tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        flags = "--coordinator", f"127.0.0.1:{free.getsockname()[1]}", "--num_processes", "2", "--patience", "2"
        assert cli.main(command(tmp_path / "out", "nowhere", *flags, "--process_id", "1")) == 2
        assert "there is no process 0" in capsys.readouterr().err
        assert cli.main(command(tmp_path / "out", "nowhere", "--distributed")) == 2
        assert "neither SLURM nor a TPU pod here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
