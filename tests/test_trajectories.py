"""Descents go where they went before they were rebuilt: golden/trajectories.npz holds those of commit aec7871.

Where the bits differ, a sum is added in another order. The bounds are from descents with other last bits: of that code
and of today's, compiled for AVX-512, AVX2 and SSE4.2, and of targets that were changed by one rounding.
"""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from invjax import invert, recipes, representations

from .conftest import blobs

GOLDEN = Path(__file__).parent / "golden" / "trajectories.npz"
STEPS, EVERY = 50, 10


def far(factor, recipe):
    """A recipe whose rate is that many times as large."""
    return recipes.Recipe("far", recipe.steps, recipe.optimizer, factor * recipe.rate, recipe.schedule)


RECIPES = {
    "paper": "paper",
    "fast": "fast",
    "paper, rate 1e3": far(1e3, recipes.PAPER),
    "fast, rate 1e9": far(1e9, recipes.FAST),
}
STATUS = {  # of both restarts, where it is not "ok"
    ("squeezenet", "conv1", "fast"): "recovered",
    ("hog", "", "paper, rate 1e3"): "recovered",
    ("squeezenet", "conv1", "fast, rate 1e9"): "diverged",
}
CASES = [
    *[(name, "", recipe) for name in ("hog", "hogb", "dsift") for recipe in ("paper", "fast")],
    *[("squeezenet", layer, recipe) for layer in ("conv1", "fire2/concat") for recipe in ("paper", "fast")],
    *[("caffenet", "norm1", recipe) for recipe in ("paper", "fast")],
    *[case for case in STATUS if case[2] not in ("paper", "fast")],
]
# From most starts of `fast` some pixel comes near a boundary between two votes and, votes being nearly hard in the end,
# falls on either side by its last bits. These starts go without, that of hog for 20 steps.
KEYS = {("hog", "", "fast"): 2, ("hogb", "", "fast"): 9, ("dsift", "", "fast"): 2}


def inverted(name, layer, recipe):
    phi = representations.get(name, **({"layer": layer, "weights": "random"} if layer else {}))
    picture = blobs(48)[..., None] if phi.input.channels == 1 else np.stack([blobs(40, seed) for seed in (1, 2, 3)], -1)
    image = picture - np.asarray(phi.input.mean, np.float32)
    target = jax.device_get(jax.jit(lambda phi, image: phi(image))(phi, image))
    return invert(
        phi,
        target,
        key=jax.random.key(KEYS.get((name, layer, recipe), 0)),
        image_shape=image.shape,
        restarts=2,
        recipe=RECIPES[recipe],
        steps=STEPS,
        every=EVERY,
        batch_size=1,  # two at once were computed wrong
    )


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_a_descent_goes_where_it_went(case):
    found = inverted(*case)
    with np.load(GOLDEN) as golden:
        images, status, *terms = (golden["/".join(filter(None, (*case, name)))] for name in ARRAYS)
    np.testing.assert_array_equal(found.status, status)
    assert set(status) == {STATUS.get(case, "ok")}
    np.testing.assert_array_equal(found.history["step"], np.arange(0, STEPS + 1, EVERY))
    assert found.history.keys() == {"step", *TERMS}
    sure = 3 if case == ("hog", "", "fast") else None  # points until a vote falls otherwise
    for name, expected in zip(TERMS, terms, strict=True):
        actual = found.history[name]
        np.testing.assert_allclose(actual[:, :sure], expected[:, :sure], rtol=3e-6, err_msg=name)
        np.testing.assert_allclose(actual, expected, rtol=5e-2 if sure else 3e-6, err_msg=name)
    apart = np.linalg.norm((found.images - images).reshape(2, -1), axis=1)
    norm = np.linalg.norm(images.reshape(2, -1), axis=1)
    assert (apart <= (0.1 if sure else 1e-5) * norm).all(), apart / norm


TERMS = ("data", "alpha", "tv", "total")
ARRAYS = ("images", "status", *TERMS)


def main(path):
    """Writes the golden file, by whatever invjax there is."""
    stored = {}
    for case in CASES:
        found = inverted(*case)
        arrays = {"images": found.images, "status": found.status} | found.history
        stored |= {"/".join(filter(None, (*case, name))): arrays[name] for name in ARRAYS}
    np.savez_compressed(path, **stored)


if __name__ == "__main__":
    main(sys.argv[1])
