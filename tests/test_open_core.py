"""Any objective, optimiser, start, parameterisation and augmentation of the user's, through `invert`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from invjax import (
    InputSpec,
    Representation,
    UserError,
    augmentations,
    descent,
    inversion,
    invert,
    parameterizations,
    recipes,
    regularizers,
)
from invjax.objective import sigma

SHAPE = (12, 10, 1)
RNG = np.random.default_rng(0)
PICTURE = (40 * RNG.standard_normal(SHAPE)).astype(np.float32)
QUIET = {"lambda_tv": 0.0, "lambda_alpha": 0.0}  # no prior


def same(params, image):
    """Φ is the picture itself."""
    return image


def rectified(params, image):
    """Φ is one rectified unit, which is off for dark pictures."""
    return jax.nn.relu(jnp.mean(image) - 1.0)[None]


PIXELS = Representation({}, same, "pixels", InputSpec(1, (128.0,)))
UNIT = Representation({}, rectified, "unit", InputSpec(1, (128.0,)))


def found(phi=PIXELS, target=PICTURE, **options):
    """An inversion of few steps."""
    return invert(phi, target, **({"key": 0, "image_shape": SHAPE, "steps": 20} | options))


def test_any_optax_transformation_takes_its_own_steps():
    """Gradient descent on ‖σu − Φ₀‖² / ‖Φ₀‖², by hand."""
    scale = sigma(SHAPE)
    rate = 0.1 * np.sum(PICTURE.astype(np.float64) ** 2) / scale**2
    out = found(optimizer=optax.sgd(rate), start=np.zeros(SHAPE), steps=3, **QUIET)
    x = np.zeros(SHAPE)
    for _ in range(3):
        x = x + 0.2 * (PICTURE - x)
    np.testing.assert_allclose(out.images[0], x, rtol=1e-5)


def test_an_optimiser_of_optaxs_by_name_and_options():
    options = {"learning_rate": 0.05, "b1": 0.8}
    by_name = found(optimizer="adamw(learning_rate=0.05, b1=0.8)")
    for same in (("adamw", options), optax.adamw(**options)):
        np.testing.assert_array_equal(by_name.images, found(optimizer=same).images)
    assert by_name.history["total"][0, -1] < by_name.history["total"][0, 0]
    ours = found(optimizer="adam")
    assert np.abs(ours.images - by_name.images).max() > 0.1


@pytest.mark.parametrize(
    "optimizer",
    ["adamm", "apply_updates", ("adam", {"learning": 1}), ("adam", None), ("sigmoid_binary_cross_entropy", {}), 3],
)
def test_what_is_no_optimiser_is_refused(optimizer):
    with pytest.raises(UserError):
        found(optimizer=optimizer)


def test_a_loss_of_the_users():
    def huber(feature, target):
        return jnp.mean(optax.losses.huber_loss(feature, target))

    out = found(loss=huber)
    expected = np.mean(optax.losses.huber_loss(out.images[0], PICTURE))
    np.testing.assert_allclose(out.history["data"][0, -1], expected, rtol=0.05)  # the best of the way may be another
    assert out.history["data"][0, -1] < out.history["data"][0, 0]


def test_regularizers_are_added_replaced_and_taken_away():
    def brightness(u):
        return jnp.sum(u) ** 2

    out = found(
        regularizers={"bright": (3.0, brightness), "alpha": None, "tv": (0.25, regularizers.total_variation(1))}
    )
    assert set(out.history) == {"step", "data", "bright", "tv", "total"}
    u = parameterizations.pixels(SHAPE).start(inversion.restart_key(jax.random.key(0), 0))
    np.testing.assert_allclose(out.history["bright"][0, 0], 3 * float(np.sum(u)) ** 2, rtol=1e-4)
    np.testing.assert_allclose(out.history["tv"][0, 0], 0.25 * regularizers.total_variation(1)(u), rtol=1e-5)
    terms = sum(out.history[name] for name in ("data", "bright", "tv"))
    np.testing.assert_allclose(out.history["total"], terms, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tv": 3},
        {"mine": (1.0, "tv")},
        {"mine": (-1.0, jnp.sum)},
        {"mine": ("x", jnp.sum)},
        {"mine": jnp.sum},
        {"data": (1.0, jnp.sum)},
        {"total": (1.0, jnp.sum)},
        {"TV": None},
    ],
)
def test_what_is_no_regularizer_is_refused(wrong):
    with pytest.raises(UserError):
        found(regularizers=wrong)


def test_restarts_begin_where_they_are_told():
    several = np.stack([PICTURE, -PICTURE, 0 * PICTURE])
    out = found(start=several, restarts=3, steps=1, recipe="paper", **QUIET)
    np.testing.assert_allclose(out.history["data"][:, 0], [0, 4, 1], atol=1e-6)
    one = found(start=PICTURE, restarts=2, steps=1, augment=lambda key, u: u, **QUIET)
    np.testing.assert_allclose(one.images, np.stack([PICTURE] * 2), rtol=1e-6)
    with pytest.raises(UserError):  # they would all be the same
        found(start=PICTURE, restarts=2)

    def drawn(key, shape):
        return 5 * jax.random.normal(key, shape)

    out = found(start=drawn, restarts=2, steps=1, **QUIET)
    first = [drawn(inversion.restart_key(jax.random.key(0), restart), SHAPE) for restart in range(2)]
    expected = [np.sum((picture - PICTURE) ** 2) / np.sum(PICTURE**2) for picture in first]
    np.testing.assert_allclose(out.history["data"][:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "start", [np.zeros((3, 3, 1)), np.zeros((4, *SHAPE)), np.full(SHAPE, np.nan), np.full(SHAPE, 9, np.uint8), "x"]
)
def test_a_start_that_is_none_is_refused(start):
    with pytest.raises(UserError):
        found(start=start, restarts=2)


@pytest.mark.parametrize(
    "name, rate", [("pixels", 0.003), ("fourier", 0.003), ("phase", 0.1), (parameterizations.pixels(SHAPE), 0.003)]
)
def test_parameterisations_find_the_picture(name, rate):
    wide = (16, 16, 1)
    target = np.asarray(np.add.outer(np.arange(16.0), np.arange(16.0)) * 4 - 60, np.float32)[..., None]
    if not isinstance(name, str):
        wide, target = SHAPE, PICTURE
    options = {"parameterization": name, "optimizer": ("adam", {"learning_rate": rate}), "image_shape": wide}
    out = found(target=target, steps=60, **options, **QUIET)
    assert out.images.shape == (1, *wide) and out.status.tolist() == ["ok"]
    assert out.history["data"][0, -1] < 0.9 * out.history["data"][0, 0]
    error = np.sum((out.images[0] - target) ** 2) / np.sum(target**2)
    np.testing.assert_allclose(out.relative_error[0], error, rtol=1e-4)


def test_a_start_in_another_parameterisation_is_exact_or_refused():
    fourier = {"parameterization": "fourier", "optimizer": optax.sgd(1e-9)}
    out = found(start=PICTURE, steps=1, **fourier, **QUIET)
    np.testing.assert_allclose(out.images[0], PICTURE, atol=1e-3)
    with pytest.raises(UserError):
        found(start=PICTURE, **(fourier | {"parameterization": "phase"}))
    for optimizer in (None, "sobolev_adam"):  # the preconditioner is for pixels
        with pytest.raises(UserError):
            found(parameterization="fourier", optimizer=optimizer)
    same = parameterizations.pixels(SHAPE)
    np.testing.assert_array_equal(found(parameterization=same).images, found().images)


@pytest.mark.parametrize("wrong", [{"augment": 3}, {"loss": 3}, {"parameterization": 3}])
def test_what_is_no_function_is_refused(wrong):
    with pytest.raises(UserError):
        found(**wrong)


class Unhashable:
    """A loss that cannot tell compiled programs apart."""

    def __call__(self, feature, target):
        return jnp.sum(feature - target)

    def __eq__(self, other):
        return True


def fails(*arguments):
    raise ZeroDivisionError("first line\nsecond line")


WRONG = {
    "an array": {"loss": lambda f, t: f - t},
    "whole numbers": {"loss": lambda f, t: jnp.sum(f > t)},
    "nothing": {"loss": lambda f, t: None},
    "two": {"loss": lambda f, t: (jnp.sum(f), jnp.sum(t))},
    "too few arguments": {"loss": jnp.tanh},
    "no hash": {"loss": Unhashable()},
    "a regularizer's array": {"regularizers": {"mine": (1.0, jnp.square)}},
    "a regularizer's whole number": {"regularizers": {"mine": (1.0, lambda u: 3)}},
    "an unknown regularizer": {"regularizers": {"mine": (1.0, "total_variations")}},
    "another shape": {"augment": lambda key, u: u[1:]},
    "of another picture": {"parameterization": parameterizations.pixels((9, 9, 1)), "optimizer": "sgd"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_functions_are_tried_before_anything_is_computed(wrong, monkeypatch):
    monkeypatch.setattr(inversion, "solve", fails)
    with pytest.raises(UserError) as told:
        found(**wrong)
    assert "\n" not in str(told.value) and any(name in str(told.value) for name in [*wrong, "mine"])


@pytest.mark.parametrize("wrong", [{"loss": fails}, {"augment": fails}, {"regularizers": {"mine": (0.0, fails)}}])
def test_what_a_function_raises_is_told(wrong):
    with pytest.raises(UserError, match=r"ZeroDivisionError: first line$") as told:
        recipes.prepare(PIXELS, SHAPE, **wrong)
    assert isinstance(told.value.__cause__, ZeroDivisionError)


def test_a_loss_of_parts_is_tried_on_them():
    def both(params, image):
        return {"a": image, "b": image[1:]}

    phi = Representation({}, both, "both", InputSpec(1, (128.0,)), parts=(("a", 1.0), ("b", 1.0)))
    target = {"a": PICTURE, "b": PICTURE[1:]}
    assert found(phi, target, loss=lambda f, t: jnp.sum((f - t) ** 2), steps=1).images.shape == (1, *SHAPE)
    with pytest.raises(UserError):
        found(phi, target, loss=lambda f, t: f["a"] - t["a"])


@pytest.mark.parametrize(
    "argument, term",
    [("lambda_tv", "tv"), ("beta", "tv"), ("lambda_alpha", "alpha"), ("alpha", "alpha"), ("lambda_range", "range")],
)
@pytest.mark.parametrize("change", [None, (1.0, jnp.sum)])
def test_what_has_no_effect_is_refused(argument, term, change):
    given = {argument: 1.5} if argument != "alpha" else {"alpha": 1.5, "lambda_alpha": 1.0}
    with pytest.raises(UserError, match="has no effect"):
        recipes.prepare(PIXELS, SHAPE, regularizers={term: change}, **given)
    other = "tv" if term == "alpha" else "alpha"
    assert recipes.prepare(PIXELS, SHAPE, regularizers={other: change}, **given)


def test_everything_by_name_is_the_same_as_made_in_python(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("""
import jax.numpy as jnp
import optax

def loss(power):
    return lambda feature, target: jnp.mean(jnp.abs(feature - target) ** power)

def bright(u):
    return jnp.sum(u) ** 2
""")
    texts = {
        "loss": f"{path}:loss(power=4)",
        "regularizers": {"bright": (0.5, f"{path}:bright"), "tv": (0.25, "total_variation(beta=1)")},
        "optimizer": "lion(learning_rate=0.01)",
        "parameterization": "fourier(decay=1.5)",
        "augment": "jitter(pixels=3) + rotation(5)",
    }
    functions = {
        "loss": lambda f, t: jnp.mean(jnp.abs(f - t) ** 4),
        "regularizers": {
            "bright": (0.5, lambda u: jnp.sum(u) ** 2),
            "tv": (0.25, regularizers.total_variation(1.0)),
        },
        "optimizer": optax.lion(0.01),
        "parameterization": parameterizations.fourier(SHAPE, 1.5),
        "augment": augmentations.compose(augmentations.jitter(3), augmentations.rotation(5)),
    }
    named, made = found(**texts, steps=5), found(**functions, steps=5)
    np.testing.assert_array_equal(named.images, made.images)
    assert named.history.keys() == made.history.keys()
    assert recipes.prepare(PIXELS, SHAPE, **texts)[0] == recipes.prepare(PIXELS, SHAPE, **texts)[0]  # one compilation


def test_augmentations_are_new_in_every_step_and_seen_by_phi_only():
    shown = []

    def spied(key, u):
        jax.debug.callback(lambda data: shown.append(np.asarray(data)), jax.random.key_data(key))
        return augmentations.jitter(3)(key, u)

    out = found(augment=spied, steps=4, restarts=2)
    jax.effects_barrier()
    assert len(shown) == 8 and len({key.tobytes() for key in shown}) == 8
    np.testing.assert_array_equal(found(augment=spied, steps=4, restarts=3).images[:2], out.images)
    # the error is of the picture itself
    error = np.sum((out.images - PICTURE) ** 2, (1, 2, 3)) / np.sum(PICTURE**2)
    np.testing.assert_allclose(out.relative_error, error, rtol=1e-5)


def test_a_unit_that_is_off_is_told():
    dark = -50 * np.ones(SHAPE, np.float32)
    out = found(phi=UNIT, target=np.ones(1, np.float32), start=dark, steps=8, recipe="paper")
    assert out.status.tolist() == ["stuck"]
    unit = {"loss": "inner_product", "steps": 8, "recipe": "paper"}
    assert found(phi=UNIT, target=np.ones(1, np.float32), start=dark, **unit).status.tolist() == ["stuck"]
    lit = found(phi=UNIT, target=np.ones(1, np.float32), start=-dark, steps=8, recipe="paper")
    assert lit.status.tolist() != ["stuck"]


def test_keys_are_seeds_or_keys():
    np.testing.assert_array_equal(found(key=3).images, found(key=jax.random.key(3)).images)
    for wrong in (1.5, "0", None, True, np.zeros(2), -1, 2**32, jax.random.split(jax.random.key(0)), jnp.uint32(3)):
        with pytest.raises(UserError):
            found(key=wrong)


def test_step_may_be_vmapped_by_anyone():
    method, weights, _ = recipes.prepare(PIXELS, SHAPE, "fast", steps=5)
    keys = [jax.random.key(seed) for seed in range(3)]
    problems = inversion.batch_of(jnp.asarray(PICTURE), keys, weights)
    states = jax.vmap(lambda problem: descent.start(method, problem))(problems)
    for _ in range(5):
        states = jax.vmap(lambda problem, state: descent.step(method, PIXELS, problem, state))(problems, states)
    for restart in range(3):
        problem = jax.tree.map(lambda leaf, restart=restart: leaf[restart], problems)
        state = descent.start(method, problem)
        for _ in range(5):
            state = descent.step(method, PIXELS, problem, state)
        np.testing.assert_allclose(states.params[restart], state.params, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "picture",
    [
        np.full(SHAPE, 7, np.uint8),
        np.ones(SHAPE, np.int32),
        RNG.random(SHAPE).astype(np.float32),
        (255 * RNG.random(SHAPE)).astype(np.float32),
    ],
)
def test_a_picture_with_its_mean_is_refused(picture):
    with pytest.raises(UserError):
        PIXELS(picture)
