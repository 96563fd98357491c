"""What a user gets is right: descents at once are those alone, and reported errors those of the pictures returned.

XLA computes wrong numbers on a CPU when as many long programs run at once as its pool has threads and their loops are
cut into parts (experiments/xla_cpu_race.py), and may show Φ a picture of more digits than a float32 has.
"""

import jax
import numpy as np
import pytest

from invjax import images, invert, recipes, representations, selfcheck
from invjax.networks import cpu

from .conftest import blobs
from .representations.test_dsift import dsift_by_definition

# layers from first to last, with more steps in a stretch than the fault needed to show
STRETCHES = {"relu_conv1": 100, "fire4/concat": 60, "fire8/concat": 30, "fire9/concat": 30, "relu_conv_final": 30}


@pytest.mark.slow
@pytest.mark.parametrize("layer, steps", STRETCHES.items())
def test_at_once_are_the_bits_of_one_at_a_time(layer, steps):
    phi = representations.get("squeezenet", layer=layer, weights="random")
    image = images.load_image(images.astronaut(), phi.input, size=227)
    target = jax.jit(lambda phi, image: phi(image))(phi, image)

    def inverted(batch_size):
        options = {"key": jax.random.key(0), "image_shape": image.shape, "recipe": "paper", "every": steps}
        return invert(phi, target, restarts=2, steps=steps, batch_size=batch_size, **options)

    at_once, alone = inverted(2), inverted(1)
    assert np.isfinite(alone.images).all() and np.abs(alone.images[0] - alone.images[1]).max() > 1
    np.testing.assert_array_equal(at_once.images, alone.images)
    np.testing.assert_array_equal(at_once.relative_error, alone.relative_error)


def nearly_flat(side, scale):
    """u of a picture whose lower half differs from one grey level by roundings only, float32 [side, side, 1]."""
    picture = blobs(side).astype(np.float32)[..., None] - 128
    noise = np.random.default_rng(0).integers(-4, 5, picture[side // 2 :].shape)
    picture[side // 2 :] = 77.7 * (1 + noise * np.finfo(np.float32).eps)
    return picture / np.float32(scale)


@pytest.mark.parametrize("fusion", ["", "DOT", "INVALID"])
@pytest.mark.parametrize("name", ["hog", "hogb", "dsift", "hog_uoctti"])
def test_errors_are_those_of_the_picture_whatever_xla_is_told(name, fusion):
    phi, shape = representations.get(name), (112, 112, 1)
    objective = recipes.prepare(phi, shape, "paper")[0].objective
    u = nearly_flat(shape[0], objective.scale)
    picture = np.float32(objective.scale) * u
    target = np.asarray(phi(blobs(shape[0], 1).astype(np.float32)[..., None] - 128))
    options = {next(iter(cpu.NO_CONVOLUTIONS)): f"LIBRARY_FUSION_TYPE_{fusion}"} if fusion else None

    def terms(u, phi, target):
        return objective(u, phi, target, {"alpha": 1.0, "tv": 1.0})[1]

    def with_gradient(u, phi, target):
        return jax.value_and_grad(lambda u: terms(u, phi, target)["data"])(u)[0]

    try:
        found = [jax.jit(run, compiler_options=options)(u, phi, target) for run in (terms, with_gradient)]
    except jax.errors.JaxRuntimeError:
        pytest.skip("XLA has no such option here")
    # op by op nothing is fused; of DSIFT, the definition in float64
    feature = dsift_by_definition(picture, 5, 8) if name == "dsift" else np.asarray(phi(picture), np.float64)
    expected = np.sum((feature - target) ** 2.0) / np.sum(np.square(target, dtype=np.float64))
    np.testing.assert_allclose([found[0]["data"], found[1]], expected, rtol=1e-6)


def test_the_error_of_an_inversion_is_that_of_its_picture():
    phi, image = representations.get("dsift"), blobs(64).astype(np.float32)[..., None] - 128
    target = np.asarray(phi(image), np.float64)
    options = {"key": jax.random.key(0), "image_shape": image.shape, "recipe": "paper", "every": 60}
    found = invert(phi, target.astype(np.float32), restarts=2, steps=60, **options)
    features = np.stack([dsift_by_definition(picture, 5, 8) for picture in found.images])
    expected = np.sum((features - target) ** 2, (1, 2, 3)) / np.sum(target**2)
    np.testing.assert_allclose(found.relative_error, expected, rtol=1e-6)


def test_this_machine_passes_its_own_check():
    assert [answer.right for answer in selfcheck.check()] == [True, True]
