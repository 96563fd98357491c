"""Optimisers against loops written from their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import fft

from invjax import UserError, optimizers
from invjax.sobolev import cosines, sobolev

RATES = {"momentum": 0.1, "sgd": 0.3, "adam": 10, "lbfgs": 0.5, "lbfgs_linesearch": 1.0}
SHAPE = (1, 3, 1)
CURVATURE = jnp.array([1.0, 3.0, 0.5]).reshape(SHAPE)
START = np.float32([1, -2, 4]).reshape(SHAPE)


def rates(name, steps, count=None):
    schedule = optimizers.SCHEDULES[name](1.0, steps)
    return np.array([schedule(step) for step in range(count or steps)])


def minimise(optimizer, start, gradient, steps, value=None):
    """The path from start; value is for optimisers that search along a line."""

    def step(state, _):
        u, inner = state
        extra = {"value": value(u), "grad": gradient(u), "value_fn": value} if value else {}
        updates, inner = optax.with_extra_args_support(optimizer).update(gradient(u), inner, u, **extra)
        return (u + updates, inner), u + updates

    start = jnp.asarray(start, jnp.float32)
    return np.asarray(jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1])


def test_momentum_forgets_when_the_rate_changes():
    steps, etas = 12, [0.3] * 3 + [0.03] * 3 + [0.003] * 3 + [0.0003] * 3
    u, velocity, expected = START.astype(np.float64), 0.0, []
    for step in range(steps):
        if step > 0 and etas[step] != etas[step - 1]:
            velocity = 0.0
        velocity = 0.9 * velocity - etas[step] * np.asarray(CURVATURE, np.float64) * u
        u = u + velocity
        expected.append(u)
    path = minimise(
        optimizers.scheduled("momentum", 0.3, "decades", steps, SHAPE), START, lambda u: CURVATURE * u, steps
    )
    np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)


def test_momentum_keeps_its_speed_at_a_constant_rate():
    path = minimise(optimizers.momentum(0.1, decay=0.5), [0.0], lambda u: jnp.ones(1), 4)
    np.testing.assert_allclose(path[:, 0], [-0.1, -0.25, -0.425, -0.6125], rtol=1e-5)


def test_momentum_keeps_its_speed_when_the_rate_falls_smoothly():
    path = minimise(optimizers.scheduled("momentum", 1.0, "linear", 10, SHAPE), [0.0], lambda u: jnp.ones(1), 3)
    velocities = [-1.0, -0.9 - 0.9, 0.9 * -1.8 - 0.8]  # v ← 0.9 v − η
    np.testing.assert_allclose(path[:, 0], np.cumsum(velocities), rtol=1e-5)


def test_decades():
    expected = np.repeat([1, 0.1, 0.01, 0.001], 200)
    np.testing.assert_allclose(rates("decades", 800), expected, rtol=1e-6)


def test_paper_cnn():
    expected = np.repeat([1, 0.1, 0.01], [100, 200, 100])
    np.testing.assert_allclose(rates("paper_cnn", 400), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["decades", "paper_cnn"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 37])
def test_schedules_of_any_length_only_slow_down(name, steps):
    values = rates(name, steps, steps + 10)
    assert values[0] == 1
    assert np.all(np.diff(values) <= 0) and values.min() > 0


def test_the_last_stretch_goes_on():
    np.testing.assert_allclose(rates("decades", 8, 20)[6:], 0.001, rtol=1e-6)


def test_smooth_schedules():
    np.testing.assert_allclose(rates("cosine", 10), (1 + np.cos(np.pi * np.arange(10) / 10)) / 2, atol=1e-6)
    np.testing.assert_allclose(rates("budget", 200), (1 - np.arange(200) / 200) ** 2, atol=1e-6)
    np.testing.assert_allclose(rates("budget", 50), 2 * (1 - np.arange(50) / 50) ** 2, atol=1e-6)
    np.testing.assert_allclose(rates("budget", 4), [2, 2 * 0.75**2, 2 * 0.5**2, 2 * 0.25**2], atol=1e-6)
    np.testing.assert_allclose(rates("linear", 10), 1 - np.arange(10) / 10, atol=1e-6)
    assert optimizers.SCHEDULES["constant"](0.7, 10) == 0.7


@pytest.mark.parametrize("name", RATES)
def test_each_minimises_a_quadratic(name):
    def value(u):
        return jnp.sum(CURVATURE * (u - 1) ** 2) / 2

    path = minimise(optimizers.scheduled(name, RATES[name], "constant", 80, SHAPE), START, jax.grad(value), 80, value)
    assert np.linalg.norm(path[-1] - 1) < 0.05 * np.linalg.norm(START - 1)


def test_adam_moves_by_its_rate_in_grey_levels():
    gradient = jnp.array([1e-3, -50, 7]).reshape(SHAPE)
    path = minimise(optimizers.scheduled("adam", 8.0, "constant", 10, SHAPE), 0 * START, lambda u: gradient, 2)
    grey_level = 1 / (27098.1157 * np.sqrt(3 / (227 * 227 * 3)))
    np.testing.assert_allclose(path[0].ravel(), np.array([-8, 8, -8]) * grey_level, rtol=1e-3)
    np.testing.assert_allclose(path[1].ravel(), np.array([-16, 16, -16]) * grey_level, rtol=1e-3)


@pytest.mark.parametrize("side", [1, 2, 5, 224, 227, 1000])
def test_cosines_are_those_of_scipy(side):
    np.testing.assert_allclose(cosines(side), fft.dct(np.eye(side), axis=0, norm="ortho"), rtol=0, atol=1e-15)


def test_sobolev_steps_are_those_of_the_screened_laplacian():
    """K² = s² / (floor − Δ), solved here as a dense system; s² makes the mean of the eigenvalues one."""
    height, width, floor = 4, 5, 0.01
    laplacian = np.zeros((height, width, height, width))
    for i, j in np.ndindex(height, width):
        for y, x in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if 0 <= y < height and 0 <= x < width:
                laplacian[i, j, i, j] -= 1
                laplacian[i, j, y, x] += 1
    inverse = np.linalg.inv(floor * np.eye(20) - laplacian.reshape(20, 20))
    inverse *= 20 / np.trace(inverse)
    gradient = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    optimizer = sobolev(optax.sgd(0.5), gradient.shape, floor)
    step, _ = optimizer.update(gradient, optimizer.init(gradient))
    np.testing.assert_allclose(step, -0.5 * (inverse @ gradient.reshape(20, 3)).reshape(gradient.shape), atol=1e-5)


def test_momentum_moves_by_its_rate_in_units_of_u():
    path = minimise(optimizers.scheduled("momentum", 0.5, "constant", 10, SHAPE), 0 * START, jnp.ones_like, 1)
    np.testing.assert_allclose(path[0], -0.5)


def test_the_same_arguments_give_the_same_optimizer():
    """Otherwise jit would compile it again."""
    first = optimizers.scheduled("adam", 1.0, "cosine", 20, SHAPE)
    assert first is optimizers.scheduled("adam", 1.0, "cosine", 20, SHAPE)
    assert first is not optimizers.scheduled("adam", 1.0, "cosine", 21, SHAPE)


def test_unknown_names():
    with pytest.raises(UserError, match=r"unknown optimizer 'adamw'\. Valid: momentum, sgd"):
        optimizers.scheduled("adamw", 1.0, "constant", 10, SHAPE)
    with pytest.raises(UserError, match=r"unknown schedule 'step'\. Valid: constant, cosine"):
        optimizers.scheduled("adam", 1.0, "step", 10, SHAPE)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_rate_out_of_range(rate):
    with pytest.raises(UserError, match="learning rate must be positive"):
        optimizers.scheduled("sgd", rate, "constant", 10, SHAPE)


def named(chosen):
    return optimizers.get(chosen, "decades", 20, SHAPE)


def test_a_name_alone_is_the_recipes():
    for name, rate in optimizers.DEFAULT_RATES.items():
        assert named(name) is optimizers.scheduled(name, rate, "decades", 20, SHAPE)
    assert list(optimizers.DEFAULT_RATES) == list(optimizers.OPTIMIZERS)


def test_a_name_with_options_is_optaxs():
    gradient = jnp.array([1e-3, -50, 7]).reshape(SHAPE)
    [step] = minimise(named("adam(learning_rate=0.25)"), 0 * START, lambda u: gradient, 1)  # of any gradient
    np.testing.assert_allclose(step.ravel(), [-0.25, 0.25, -0.25], rtol=1e-3)
    path = minimise(named("sgd(0.1, momentum=0.5)"), 0 * START, jnp.ones_like, 3)
    np.testing.assert_allclose(path[:, 0, 0, 0], [-0.1, -0.25, -0.425], rtol=1e-5)
    again = named(("sgd", {"momentum": 0.5, "learning_rate": 0.1}))
    np.testing.assert_array_equal(minimise(again, 0 * START, jnp.ones_like, 3), path)
    assert named("sgd(0.1)") is named("sgd(0.1)")  # one compilation
    own = optax.sgd(0.1)
    assert named(own) is own


def test_options_that_are_lists():
    gradient = jnp.array([1.0, 2.0, 3.0]).reshape(SHAPE)
    optimizer = named(("adamw", {"learning_rate": 0.1, "weight_decay": 1.0, "mask": [False]}))
    state = optimizer.init([0 * START + 5])
    [update], _ = optimizer.update([gradient], state, [0 * START + 5])
    np.testing.assert_allclose(update, np.full(SHAPE, -0.1), rtol=1e-3)  # no decay


def test_an_optimizer_of_the_users(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import optax\nready = optax.sgd(1.0)\n\ndef make(rate=2.0):\n    return optax.sgd(rate)\n")
    for name, rate in {"ready": 1, "make": 2, "make()": 2, "make(rate=3)": 3}.items():
        [step] = minimise(named(f"{path}:{name}"), 0 * START, jnp.ones_like, 1)
        np.testing.assert_allclose(step, np.full(SHAPE, -rate))
    for wrong in ("ready()", "make(speed=1)", "optax", "absent"):
        with pytest.raises(UserError):
            named(f"{path}:{wrong}")


@pytest.mark.parametrize(
    "chosen, message",
    [
        ("adam()", "learning_rate"),
        (("adam", {}), "learning_rate"),
        ("adamw", "learning_rate"),
        ("polynomial_schedule", "init_value, end_value, power, transition_steps"),
        ("sgd(rate=0.1)", "no option 'rate'"),
        (("sgd", {3: 0.1}), "no option '3'"),
        (("sgd", {"learning_rate": 0.1, "momentum": [[1]], "x": 1}), "no option 'x'"),
        ("momentum(rate=0.1)", "takes no options"),
        ("contrib", "unknown optimizer 'contrib'"),
        ("constant_schedule(0.1)", "must be an optax transformation"),
        (optax.sgd, "must be"),
        (None, "must be"),
    ],
)
def test_what_is_no_optimizer(chosen, message):
    with pytest.raises(UserError, match=message) as told:
        named(chosen)
    assert "\n" not in str(told.value)
