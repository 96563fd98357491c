"""A run of many pictures needs no more memory than one of few: what is finished is on disk and nowhere else."""

import os
import subprocess
import sys

import pytest

SIDE = 256  # a picture and its HOG are 0.37 MB
PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from invjax.analysis import conclude
from invjax.runs import config as configs, run

count, side, folder, page = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), len(sys.argv) > 4
(folder / "pictures").mkdir(parents=True)
for seed in range(count):
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5), dtype=np.uint8)
    Image.fromarray(noise).resize((side, side)).save(folder / "pictures" / f"{seed:05d}.png")
if not page:
    conclude = lambda *_: None
config = configs.default()
config.images, config.size, config.steps, config.every = (str(folder / "pictures"),), 0, 3, 3
run.run(config, folder / "out", conclude)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(count, folder, *page):
    """Megabytes that a process needs at most for a run of so many pictures."""
    arguments = [str(count), str(SIDE), str(folder), *page]
    # one arena: those of glibc, several for each thread, grow for a while by what nobody keeps
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return float(done.stdout.split()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    few, many = peak(60, tmp_path / "few"), peak(200, tmp_path / "many")
    assert many - few < 20  # and 52 if pictures and features were kept


if __name__ == "__main__":  # docs/performance.md: python -m tests.runs.test_memory_of_runs FOLDER
    for count in (100, 1000):
        for page in ((), ("with page",)):
            print(count, *page, f"{peak(count, f'{sys.argv[1]}/{count}{len(page)}', *page):.0f} MB", flush=True)
