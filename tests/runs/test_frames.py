"""From the command line to a step there are few calls, which a reader of a traceback can follow."""

import dataclasses
import itertools
import traceback
from pathlib import Path

import pytest

import invjax
from invjax import InputSpec, Representation, cli, devices, representations

PACKAGE = Path(invjax.__file__).parent
STACKS = []


@dataclasses.dataclass(frozen=True)
class Watched:
    """The picture itself, which keeps the calls by which it is traced."""

    def __call__(self, params, image):
        STACKS.append(traceback.extract_stack())
        return image


def watched():
    """A representation that keeps the calls by which it is traced."""
    return Representation({}, Watched(), "watched", InputSpec(minimum=1))


def calls_of(stack):
    """The functions of invjax from the command line to JAX, where it is called first."""
    [start] = [number for number, frame in enumerate(stack) if (frame.filename, frame.name) == (cli.__file__, "main")]
    ours = itertools.takewhile(lambda frame: Path(frame.filename).is_relative_to(PACKAGE), stack[start:])
    return [frame.name for frame in ours]


@pytest.mark.skipif(not devices.sequential(), reason="a CPU's calls")
def test_from_the_command_line_to_a_step_there_are_few_calls(picture, tmp_path):
    representations.register("watched", watched)
    STACKS.clear()
    overrides = [f"--config.images={picture}", "--config.size=0", "--config.steps=2", "--config.batch_size=1"]
    overrides.append("--config.representations=('watched',)")
    assert cli.main(["run", "base", "--workdir", str(tmp_path / "out"), *overrides]) == 0
    steps = [stack for stack in STACKS if any(frame.name == "step" for frame in stack)]
    assert steps and all(len(calls_of(stack)) <= 10 for stack in steps), list(map(calls_of, steps))
