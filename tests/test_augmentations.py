"""Augmentations against slices and SciPy: shown a map of places, they tell where every pixel came from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from invjax import UserError
from invjax import augmentations as a

KEY = jax.random.key(0)
SHAPE = (10, 13, 3)
PICTURE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
PLACES = np.stack(np.mgrid[:10, :13], axis=-1).astype(np.float32)  # each pixel holds its row and column
CENTRE = np.array([4.5, 6.0])

EVERY = {
    "jitter": lambda: a.jitter(4),
    "scale": lambda: a.scale(0.8, 1.3),
    "rotation": lambda: a.rotation(25),
    "crop": lambda: a.crop(0.6),
    "compose": lambda: a.compose(a.jitter(3), a.rotation(10), a.scale(0.9, 1.1)),
}
every = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
NOTHING = {
    "jitter": lambda: a.jitter(1),
    "scale": lambda: a.scale(1, 1),
    "rotation": lambda: a.rotation(0),
    "crop": lambda: a.crop(1),
    "compose": lambda: a.compose(),
}


@functools.partial(jax.jit, static_argnums=0)
def jitted(augmentation, keys, u):
    return jax.vmap(augmentation, (0, None))(keys, u)


def drawn(augmentation, u=PLACES, count=400):
    """What it makes of u, for `count` keys."""
    return np.asarray(jitted(augmentation, jax.random.split(KEY, count), u))


def uniform(values, low, high):
    """Whether values fill the range, and only that, evenly."""
    near = 0.05 * (high - low)
    inside = low - 1e-4 <= values.min() < low + near and high - near < values.max() <= high + 1e-4
    shares = np.histogram(values, 4, (low, high))[0] / len(values)
    return inside and np.abs(shares - 0.25).max() < 4 * np.sqrt(0.19 / len(values))


@every
def test_shape_and_keys(make):
    pictures = drawn(make(), PICTURE, 6)
    assert pictures.shape == (6, *SHAPE) and pictures.dtype == np.float32 and np.isfinite(pictures).all()
    assert len({picture.tobytes() for picture in pictures}) > 3
    np.testing.assert_array_equal(drawn(make(), PICTURE, 6), pictures)


@pytest.mark.parametrize("make", NOTHING.values(), ids=NOTHING)
def test_what_changes_nothing(make):
    np.testing.assert_array_equal(drawn(make(), PICTURE, 3), [PICTURE] * 3)


@every
def test_equal_arguments_do_not_compile_twice(make):
    traces = []

    def augmented(augmentation, u):
        traces.append(1)
        return augmentation(KEY, u)

    augmented = jax.jit(augmented, static_argnums=0)
    for _ in range(2):
        augmented.lower(make(), PICTURE)
    assert make() is make() and len(traces) == 1


@every
def test_derivative(make):
    """All are linear in u: a step of any length shows the slope."""
    weights, direction = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    value = jax.jit(jax.value_and_grad(lambda u: jnp.vdot(weights, make()(KEY, u))))
    (before, gradient), (after, _) = value(PICTURE), value(PICTURE + direction)
    assert abs(np.vdot(gradient, direction) - (after - before)) < 1e-4 * np.linalg.norm(direction)
    assert np.linalg.norm(gradient) > 1


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"compose"}))  # which interpolates several times
def test_colours_come_from_their_places(name):
    both = drawn(EVERY[name](), np.concatenate([PLACES, PICTURE], axis=-1), 5)
    for found in both:
        places = np.moveaxis(found[..., :2].astype(np.float64), -1, 0)
        for channel in range(3):
            expected = ndimage.map_coordinates(PICTURE[..., channel], places, order=1, mode="nearest")
            np.testing.assert_allclose(found[..., 2 + channel], expected, atol=2e-5)


@pytest.mark.parametrize("pixels", [2, 3])
def test_jitter_against_slices(pixels):
    before = pixels // 2
    enlarged = np.pad(PICTURE, ((before, pixels - 1 - before),) * 2 + ((0, 0),), mode="edge")
    crops = [enlarged[top : top + 10, left : left + 13].tobytes() for top in range(pixels) for left in range(pixels)]
    found = [picture.tobytes() for picture in drawn(a.jitter(pixels), PICTURE)]
    assert set(found) == set(crops)
    shares = np.array([found.count(crop) for crop in crops]) / 400
    np.testing.assert_allclose(shares, 1 / pixels**2, atol=0.08)


@pytest.mark.parametrize("pixels", [2, 5])
def test_jitter_shifts_both_ways(pixels):
    shifts = PLACES[5, 6] - drawn(a.jitter(pixels))[:, 5, 6]
    assert shifts.min() == -((pixels - 1) // 2) and shifts.max() == pixels // 2


def test_scale_is_about_the_centre():
    places = drawn(a.scale(0.5, 3))
    np.testing.assert_allclose((places[:, 4, 6] + places[:, 5, 6]) / 2, [CENTRE] * 400, atol=1e-5)
    down, across = places[:, 5, 6, 0] - places[:, 4, 6, 0], places[:, 4, 7, 1] - places[:, 4, 6, 1]
    np.testing.assert_allclose(down, across, rtol=1e-4)
    assert uniform(-np.log(down), np.log(0.5), np.log(3))


def test_rotation_is_about_the_centre():
    places = drawn(a.rotation(30))
    np.testing.assert_allclose((places[:, 4, 6] + places[:, 5, 6]) / 2, [CENTRE] * 400, atol=1e-5)
    down, across = places[:, 5, 6] - places[:, 4, 6], places[:, 4, 7] - places[:, 4, 6]
    matrices = np.stack([down, across], axis=-1)
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), [np.eye(2)] * 400, atol=1e-4)
    assert (np.linalg.det(matrices) > 0).all()
    assert uniform(np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])), -30, 30)


def test_crop_is_a_part_of_the_picture():
    places = drawn(a.crop(0.4))
    down, across = places[:, 5, 6, 0] - places[:, 4, 6, 0], places[:, 4, 7, 1] - places[:, 4, 6, 1]
    np.testing.assert_allclose(down, across, atol=1e-4)
    assert uniform(down, 0.4, 1)
    offsets = (places[:, 4, 6] + places[:, 5, 6]) / 2 - CENTRE
    room = (1 - down)[:, None] / 2 * np.array(SHAPE[:2])
    inside = (1 - down) > 0.1
    assert all(uniform((offsets / room)[inside, axis], -1, 1) for axis in range(2))


def test_compose_takes_turns_with_keys_of_their_own():
    def in_turn(key, u):
        u = a.jitter(5)(jax.random.fold_in(key, 0), u)
        return a.crop(0.5)(jax.random.fold_in(key, 1), u)

    np.testing.assert_array_equal(drawn(a.compose(a.jitter(5), a.crop(0.5))), drawn(in_turn))


MISTAKES = [
    (lambda: a.jitter(0), "whole number of pixels, at least 1, got 0"),
    (lambda: a.jitter(2.5), "whole number of pixels, at least 1, got 2.5"),
    (lambda: a.scale(0, 1), "0 < lowest ≤ highest, both finite, got 0 and 1"),
    (lambda: a.scale(2, 1), "got 2 and 1"),
    (lambda: a.scale(1, float("inf")), "got 1 and inf"),
    (lambda: a.rotation(-1), "degrees from 0 to 180, got -1"),
    (lambda: a.rotation(float("nan")), "degrees from 0 to 180, got nan"),
    (lambda: a.crop(0), "above 0 and at most 1, got 0"),
    (lambda: a.crop(1.1), "above 0 and at most 1, got 1.1"),
    (lambda: a.get("jiter"), "Did you mean jitter[?] Valid: jitter, scale, rotation, crop"),
    (lambda: a.get("jitter(pixel=3)"), "jitter has no option 'pixel'. Valid: pixels"),
    (lambda: a.get("scale(lowest=1)"), "scale needs the option highest. It takes: lowest, highest"),
]


@pytest.mark.parametrize("mistake, message", MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes(mistake, message):
    with pytest.raises(UserError, match=message) as error:
        mistake()
    assert "\n" not in str(error.value)


def test_every_name_is_there():
    assert list(a.AUGMENTATIONS) == ["jitter", "scale", "rotation", "crop"]
    assert a.get("jitter(pixels=4)") is a.get("jitter(4)") is a.jitter(4)
    assert a.get("scale(highest=2, lowest=1)") is a.scale(1, 2)


def test_several_by_name_are_composed():
    expected = drawn(a.compose(a.jitter(5), a.crop(0.5)))
    for several in ("jitter(5) + crop(0.5)", "jitter(5)+crop(0.5)", ["jitter(5)", a.crop(0.5)]):
        np.testing.assert_array_equal(drawn(a.get(several)), expected)
    assert a.get(("jitter(5)",)) is a.jitter(5)
    np.testing.assert_array_equal(drawn(a.get([]), PICTURE, 1)[0], PICTURE)


def test_a_file_of_the_users_has_a_function_or_a_factory(tmp_path):
    path = tmp_path / "a + b.py"
    path.write_text("""
def flip(key, u):
    return u[::-1]

def times(factor):
    return lambda key, u: factor * u
""")
    np.testing.assert_array_equal(a.get([f"{path}:flip"])(KEY, PICTURE), PICTURE[::-1])
    np.testing.assert_array_equal(
        a.get([f"{path}:times(factor=3)", lambda key, u: u + 1])(KEY, PICTURE), 3 * PICTURE + 1
    )
