"""The program of a chunk of steps: weights are its arguments, and nothing leaves the device before its end."""

import math
import re

import jax
import numpy as np
import pytest

from invjax import descent, devices, inversion, memory, recipes, representations

from .conftest import as_accelerators, blobs

BYTES = {"f32": 4, "bf16": 2, "i32": 4, "ui32": 4, "i64": 8, "f64": 8, "i1": 1, "i8": 1, "ui8": 1}
STEPS, BATCH = 3, 4
CASES = [("caffenet", "relu5", 195, 0), ("squeezenet", "fire4/concat", 64, 0), ("hog", "", 64, 0)]
FEW = 10_000  # bytes of whatever else is written out


def constants(text):
    """Bytes of the arrays that are written out in a program, not counting those of one repeated number."""
    found = re.findall(r"dense(?:_resource)?<(?:\"0x|\[|\w+>)[^>]*>? *:? *tensor<((?:\d+x)*)(\w+)>", text)
    return sum(BYTES[kind] * math.prod(int(side) for side in shape.split("x") if side) for shape, kind in found)


def problem_of(name, layer, side, recipe="paper"):
    """(method, phi, problems) of a batch."""
    options = {"layer": layer, "weights": "random"} if layer else {}
    phi = representations.get(name, **options)
    planes = [blobs(side, seed) for seed in range(phi.input.channels)]
    image = np.stack(planes, -1).astype(np.float32) - np.asarray(phi.input.mean, np.float32)
    method, weights, _ = recipes.prepare(phi, image.shape, recipe, steps=STEPS)
    keys = [inversion.restart_key(jax.random.key(0), restart) for restart in range(BATCH)]
    target = jax.jit(lambda phi, image: phi(image))(phi, image)
    return method, phi, inversion.batch_of(target, keys, weights)


def lowered(method, phi, problems):
    """The text of the program that `inversion.advance` runs, and how many arrays a state has."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), problems)
    state = jax.eval_shape(lambda problem: descent.start(method, problem), one)
    settings, numbers = descent.stretch(method, STEPS)
    program = devices.program(descent.steps_of, settings, BATCH, memory.together(phi))
    arguments = devices.shapes(len(numbers), phi, BATCH, (one,), (state,), memory.together(phi))
    return program.lower(*arguments).as_text(), len(jax.tree.leaves(state))


@pytest.fixture(params=["one core", "cores", "accelerator", "accelerators"])
def _every_way(request, monkeypatch):
    """As one core or accelerator computes a batch, and as several share it."""
    if request.param.startswith("accelerator"):
        as_accelerators(monkeypatch)
    with devices.using(1 if request.param in {"one core", "accelerator"} else devices.usable()):
        yield


def test_written_out_arrays_are_counted():
    written = np.random.default_rng(0).random((30, 50), np.float32)
    assert constants(jax.jit(lambda x: x @ written).lower(written.T).as_text()) == written.nbytes
    assert constants(jax.jit(lambda x, y: x @ y).lower(written.T, written).as_text()) == 0


@pytest.mark.usefixtures("_every_way")
@pytest.mark.parametrize(("name", "layer", "side", "written"), CASES)
def test_weights_are_arguments_and_the_state_is_used_again(name, layer, side, written):
    method, phi, problems = problem_of(name, layer, side)
    text, arrays = lowered(method, phi, problems)
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(phi))
    assert written <= constants(text) < written + FEW and (not layer or weights > 10 * (written + FEW))
    assert "stablehlo.while" in text  # steps are scanned
    assert not re.search("callback|infeed|outfeed|send|recv", text)
    assert text.count("tf.aliasing_output") + text.count("jax.buffer_donor") == arrays


def test_the_preconditioner_writes_out_what_a_side_has():
    """Two cosine transforms and the gains between them, whatever the weights."""
    method, phi, problems = problem_of("squeezenet", "fire4/concat", 64, "fast")
    text, _ = lowered(method, phi, problems)
    assert 3 * 4 * 64**2 <= constants(text) < 3 * 4 * 64**2 + FEW


@pytest.mark.usefixtures("_every_way")
def test_nothing_is_brought_to_the_device_on_the_way():
    method, phi, problems = problem_of("squeezenet", "conv1", 32)
    phi, problems = devices.place(phi, problems)
    states = inversion.batched_start(method, phi, problems)
    states = inversion.advance(method, phi, problems, states, STEPS)  # compiled
    before = jax.config.jax_transfer_guard
    jax.config.update("jax_transfer_guard", "disallow")  # of all threads
    try:
        with pytest.raises(Exception, match=r"[Dd]isallowed"):
            jax.numpy.sin(np.ones(3))
        states = inversion.advance(method, phi, problems, states, STEPS)
    finally:
        jax.config.update("jax_transfer_guard", before)
    assert devices.trimmed(states.step, BATCH).tolist() == [2 * STEPS] * BATCH
