"""Compiled programs are found again by the next process, and nothing is written where the user does not want it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from invjax import compile_cache

PROGRAM = """
import jax, jax.numpy as jnp
from invjax import compile_cache
told = []
jax.monitoring.register_event_listener(lambda event, **_: told.append(event.rpartition("/")[2]))
print(compile_cache.turn_on() is not None)
print(jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.arange(9.0).reshape(3, 3)).item().hex())
print(told.count("cache_hits"), told.count("cache_misses"))
"""


def start(cache, **variables):
    """Runs a program in a process of its own; what it printed, and what it complained about."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"INVJAX_CACHE": str(cache), **variables}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split(), done.stderr


def files(cache):
    return sorted(path.name for path in cache.rglob("*-cache"))


def test_a_second_process_compiles_nothing(tmp_path):
    (on, first, hits, misses), said = start(tmp_path)
    assert (on, hits, said) == ("True", "0", "") and int(misses) > 0
    kept = files(tmp_path / "compiled")
    assert len(kept) == int(misses)
    (_, second, hits, misses), said = start(tmp_path)
    assert (int(hits), misses, said) == (len(kept), "0", "")
    assert files(tmp_path) == kept and first == second  # the very same bits


@pytest.mark.parametrize(
    "variables", [{"JAX_ENABLE_COMPILATION_CACHE": "0"}, {"JAX_COMPILATION_CACHE_DIR": "elsewhere"}]
)
def test_what_the_user_has_chosen_stays(tmp_path, variables):
    if "JAX_COMPILATION_CACHE_DIR" in variables:
        variables = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "elsewhere")}
    (on, *_), said = start(tmp_path / "ours", **variables)
    assert on == "False" and not said and not (tmp_path / "ours").exists()


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    (on, _, hits, misses), said = start(tmp_path / "file")
    assert (on, hits, misses) == ("False", "0", "0")
    assert said.startswith("invjax: ") and said.count("\n") == 1 and str(tmp_path / "file") in said


def test_the_command_line_keeps_programs(tmp_path, picture):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment["INVJAX_CACHE"] = str(tmp_path / "cache")
    words = ["invert", str(picture), "--representation", "hog", "--size", "0", "--steps", "2"]
    kept = []
    for out in (tmp_path / "first", tmp_path / "second"):
        command = [sys.executable, "-m", "invjax", *words, "--out", str(out)]
        subprocess.run(command, env=environment, capture_output=True, check=True)
        kept.append(files(tmp_path / "cache"))
    assert kept[0] and kept[0] == kept[1]
    first, second = (np.load(next((tmp_path / out).rglob("*.npz")))["image"] for out in ("first", "second"))
    np.testing.assert_array_equal(first, second)


def test_the_oldest_programs_go_first(tmp_path, monkeypatch):
    (tmp_path / "cpu").mkdir()
    for age, name in enumerate(("new", "old", "oldest")):
        path = tmp_path / "cpu" / f"{name}-cache"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    monkeypatch.setattr(compile_cache, "LIMIT", 150)
    compile_cache._prune(tmp_path)
    assert files(tmp_path) == ["new-cache"]
