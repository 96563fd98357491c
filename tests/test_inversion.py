"""The inversion: what it minimises, that reconstructions are independent, and that nothing bad happens."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import InputSpec, Representation, UserError, descent, devices, inversion, invert, masks, recipes
from invjax.objective import sigma
from invjax.recipes import Recipe
from invjax.representations import get

SHAPE = (16, 16, 1)
RNG = np.random.default_rng(0)
PHOTO = np.clip(np.cumsum(RNG.normal(0, 20, SHAPE), axis=1), -128, 127).astype(np.float32)
KEY = jax.random.key(7)
GENTLE = Recipe("gentle", 20, "momentum", 0.02, "constant")
NO_PRIOR = {"lambda_tv": 0.0, "lambda_alpha": 0.0}


def pixels(params, image):
    """The simplest representation: nothing is lost."""
    return image


def square_root(params, image):
    """Not a number for values above 300."""
    return jnp.sqrt(300 - image)


def never_a_number(params, image):
    return jnp.sqrt(-1 - image**2)


PIXELS = Representation({}, pixels, "pixels")
COLOURS = Representation({}, pixels, "pixels", InputSpec(channels=3, mean=(128.0,) * 3))


@jax.jit
def feature_of(phi, image):
    return phi(image)


def batch(phi, shape, recipe, restarts=2, target=None, **options):
    """(method, problems, steps) as `invert` makes them."""
    method, weights, steps = recipes.prepare(phi, shape, recipe, **options)
    keys = [inversion.restart_key(KEY, restart) for restart in range(restarts)]
    return method, inversion.batch_of(feature_of(phi, PHOTO) if target is None else target, keys, weights), steps


def assert_same(first, second):
    """Bit by bit."""
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_same_inversion(first, second):
    assert_same(dataclasses.asdict(first), dataclasses.asdict(second))


# --- what it does ------------------------------------------------------------------------------------------------


def test_the_start_is_noise_of_norm_one():
    method, problems, _ = batch(PIXELS, SHAPE, "paper", restarts=3)
    states = inversion.batched_start(method, *devices.place(PIXELS, problems))
    u = devices.trimmed(states.params, 3).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(u.reshape(3, -1), axis=1), 1, rtol=1e-6)
    correlations = u.reshape(3, -1) @ u.reshape(3, -1).T
    assert np.abs(correlations - np.eye(3)).max() < 0.3  # a normal variable over √256: five deviations
    assert abs(u.mean()) < 0.01


def energy(u, target, scale, weights):
    """The paper's objective in float64, term by term, and its derivative, for Φ(x) = x."""
    u, target = u.astype(np.float64), target.astype(np.float64)
    right, down = np.diff(u, axis=1), np.diff(u, axis=0)
    terms = {
        "data": np.sum((scale * u - target) ** 2) / np.sum(target**2),
        "alpha": weights["alpha"] * np.sum(u**6),
        "tv": weights["tv"] * (np.sum(right**2) + np.sum(down**2)),
    }
    across, along = [(0, 0), (1, 0), (0, 0)], [(1, 0), (0, 0), (0, 0)]
    divergence = np.pad(right, across) - np.pad(right, [pair[::-1] for pair in across])
    divergence += np.pad(down, along) - np.pad(down, [pair[::-1] for pair in along])
    slope = 2 * scale * (scale * u - target) / np.sum(target**2) + 6 * weights["alpha"] * u**5
    return terms | {"total": sum(terms.values())}, slope + 2 * weights["tv"] * divergence


def test_the_paper_recipe_step_by_step():
    steps, scale = 8, 27098.1157 * np.sqrt(256 / (227 * 227 * 3))
    method, problems, _ = batch(PIXELS, SHAPE, "paper", restarts=1, steps=steps)
    states = inversion.batched_start(method, PIXELS, problems)
    u, velocity = np.asarray(states.params[0], np.float64), 0.0
    for step in range(steps):
        keep = 0.9 if step % 2 else 0.0  # the rate changes every other step, which ends the momentum
        slope = energy(u, PHOTO, scale, {"alpha": 4e-10 * scale**4, "tv": 0.5})[1]
        velocity = keep * velocity - 0.004 * 0.1 ** (step // 2) * slope
        u = u + velocity
    moved = inversion.advance(method, PIXELS, problems, states, steps).params[0]
    np.testing.assert_allclose(moved, u, rtol=0, atol=1e-6)


def test_the_history_is_the_objective():
    shape = (6, 9, 3)
    target = RNG.normal(0, 50, shape).astype(np.float32)
    options = {"lambda_tv": 2.0, "lambda_alpha": 3e4, "steps": 10}
    method, problems, steps = batch(COLOURS, shape, GENTLE, target=target, **options)
    for progress in inversion.solve(method, COLOURS, problems, steps, every=4):
        for n in range(2):
            expected, _ = energy(np.asarray(progress.states.params[n]), target, sigma(shape), {"tv": 2.0, "alpha": 3e4})
            for name, value in expected.items():
                np.testing.assert_allclose(progress.history[name][n, -1], value, rtol=1e-4, err_msg=name)
    assert progress.history["step"].tolist() == [0, 4, 8, 10]


def test_shapes_of_the_result():
    out = invert(PIXELS, PHOTO, key=KEY, image_shape=SHAPE, restarts=3, recipe=GENTLE, steps=7, every=3)
    assert out.images.shape == (3, *SHAPE) and out.images.dtype == np.float32
    assert out.relative_error.shape == out.status.shape == (3,)
    assert out.history.keys() == {"data", "alpha", "tv", "total", "step"}
    assert out.history["step"].tolist() == [0, 3, 6, 7]
    assert all(out.history[name].shape == (3, 4) for name in ("data", "alpha", "tv", "total"))
    total = sum(out.history[name] for name in ("data", "alpha", "tv"))
    np.testing.assert_allclose(out.history["total"], total, rtol=1e-6)


@pytest.mark.parametrize(
    "name, cell, recipe, remaining",
    [("hog", 4, "fast", 0.5), ("dsift", 2, "paper", 0.7), ("hog", 4, "paper", 0.9)],
)
def test_the_error_falls(name, cell, recipe, remaining):
    phi = get(name, cell=cell)
    out = invert(phi, feature_of(phi, PHOTO), key=KEY, image_shape=SHAPE, recipe=recipe, steps=30)
    assert out.relative_error[0] < remaining * out.history["data"][0, 0]
    difference = np.asarray(feature_of(phi, out.images[0])) - np.asarray(feature_of(phi, PHOTO))
    expected = np.sum(difference**2) / np.sum(np.asarray(feature_of(phi, PHOTO)) ** 2)
    np.testing.assert_allclose(out.relative_error[0], expected, rtol=1e-3)
    assert out.status.tolist() == ["ok"]


@pytest.mark.parametrize("optimizer, rate", [("lbfgs", 0.5), ("lbfgs_linesearch", 1.0), ("adam", 8.0), ("sgd", 0.1)])
def test_other_optimizers(optimizer, rate):
    recipe = Recipe("mine", 25, optimizer, rate, "constant")
    out = invert(PIXELS, PHOTO, key=KEY, image_shape=SHAPE, restarts=2, recipe=recipe, **NO_PRIOR)
    assert out.relative_error.max() < 0.1 * out.history["data"][:, 0].min()


def test_lambda_range_keeps_pixels_real():
    too_bright = np.full(SHAPE, 300.0, np.float32)  # 428 grey levels
    recipe = Recipe("plain", 150, "sgd", 0.3, "constant")
    free, bound = (
        invert(PIXELS, too_bright, key=KEY, image_shape=SHAPE, recipe=recipe, lambda_range=weight, **NO_PRIOR)
        for weight in (0.0, 1.0)
    )
    assert free.images.min() > 250 and "range" not in free.history
    curvature = sigma(SHAPE) ** 2 / np.sum(too_bright**2)  # where the two parabolas balance
    balance = (curvature * 300 + 1.0 * 127) / (curvature + 1.0)
    np.testing.assert_allclose(bound.images, balance, rtol=1e-3)
    excess = (balance - 127) / sigma(SHAPE)
    np.testing.assert_allclose(bound.history["range"][0, -1], 256 * excess**2, rtol=1e-2)


def test_a_mask_inverts_only_what_it_keeps():
    phi = get("hogb", cell=4)
    mask = np.zeros((4, 4, 1), np.float32)
    mask[0, 0] = 1
    masked = masks.apply(phi, mask)
    recipe = Recipe("plain", 40, "adam", 8.0, "constant")
    out = invert(masked, feature_of(masked, PHOTO), key=KEY, image_shape=SHAPE, recipe=recipe, **NO_PRIOR)
    assert out.relative_error[0] < 0.3 * out.history["data"][0, 0]
    method, problems, _ = batch(masked, SHAPE, recipe, restarts=1, target=feature_of(masked, PHOTO), **NO_PRIOR)
    start = sigma(SHAPE) * np.asarray(inversion.batched_start(method, PIXELS, problems).params[0])
    outside = np.ones(SHAPE, bool)
    outside[:12, :12] = False  # the cell, its neighbours in a block, half a cell and a pixel
    np.testing.assert_allclose(out.images[0][outside], start[outside], rtol=1e-6)
    assert np.abs(out.images[0] - start).max() > 1


# --- reconstructions are independent -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["hog", "dsift"])
def five(request):
    """(a function that inverts, five restarts at once)."""
    phi, recipe = (get("hog", cell=4), "fast") if request.param == "hog" else (get("dsift", cell=2), "paper")

    def run(**options):
        return invert(
            phi, feature_of(phi, PHOTO), key=KEY, image_shape=SHAPE, recipe=recipe, steps=8, every=4, **options
        )

    return run, run(restarts=5, batch_size=5)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_batch_size_does_not_matter(five, size):
    run, together = five
    assert_same_inversion(run(restarts=5, batch_size=size), together)


def test_more_restarts_do_not_change_the_others(five):
    run, together = five
    two = run(restarts=2)
    np.testing.assert_array_equal(two.images, together.images[:2])
    np.testing.assert_array_equal(two.history["total"], together.history["total"][:2])


def test_restarts_differ(five):
    _, together = five
    assert len(np.unique(together.images.reshape(5, -1), axis=0)) == 5


def test_the_same_key_gives_the_same_pictures_and_another_does_not():
    first, second, other = (
        invert(PIXELS, PHOTO, key=jax.random.key(seed), image_shape=SHAPE, recipe=GENTLE) for seed in (1, 1, 2)
    )
    assert_same_inversion(first, second)
    assert np.abs(first.images - other.images).max() > 0.1


def test_a_batch_is_a_loop_over_steps_of_one():
    method, problems, _ = batch(PIXELS, SHAPE, GENTLE, restarts=3)
    placed = devices.place(PIXELS, problems)
    together = inversion.advance(method, *placed, inversion.batched_start(method, *placed), 5)
    step = jax.jit(lambda problem, state: descent.step(method, PIXELS, problem, state))
    for n in range(3):
        problem = jax.tree.map(lambda leaf, n=n: leaf[n], problems)
        state = descent.start(method, problem)
        for _ in range(5):
            state = step(problem, state)
        np.testing.assert_allclose(together.params[n], state.params, rtol=0, atol=1e-6)
        np.testing.assert_allclose(together.best_value[n], state.best_value, rtol=1e-5)
        assert together.step[n] == state.step == 5


def test_a_failing_reconstruction_does_not_disturb_its_neighbours():
    method, problems, steps = batch(PIXELS, SHAPE, GENTLE, restarts=3)
    target = np.array(problems.target)
    target[1] = np.nan
    broken = dataclasses.replace(problems, target=jnp.asarray(target))
    *_, healthy = inversion.solve(method, PIXELS, problems, steps)
    *_, mixed = inversion.solve(method, PIXELS, broken, steps)
    np.testing.assert_array_equal(mixed.states.params[::2], healthy.states.params[::2])
    assert mixed.states.failures.tolist()[::2] == [0, 0]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_split_covers_every_problem_once(count):
    _, problems, _ = batch(PIXELS, SHAPE, GENTLE, restarts=5)
    parts = list(inversion.split(problems, count))
    assert all(part.key.shape[0] == count for part in parts[:-1])
    assert all(part.key.shape[0] == len(part.target) == len(part.weights["tv"]) <= count for part in parts)
    keys = jnp.concatenate([part.key for part in parts])
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(problems.key))


@pytest.fixture
def log_compiles():
    """As jax.log_compiles(), in all threads."""
    jax.config.update("jax_log_compiles", True)
    yield
    jax.config.update("jax_log_compiles", False)


def test_a_second_run_compiles_nothing(caplog, log_compiles):
    shape = (17, 18, 1)  # that no other test has

    def run(seed, lambda_tv):
        phi = get("hogb", cell=4)
        target = np.asarray(feature_of(phi, RNG.normal(0, 40, shape).astype(np.float32)))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            key = jax.random.key(seed)
            invert(phi, target, key=key, image_shape=shape, restarts=2, recipe="paper", steps=12, lambda_tv=lambda_tv)
        return [record.getMessage() for record in caplog.records if "XLA compilation" in record.getMessage()]

    assert any("jit(steps_of)" in message for message in run(0, 0.5))
    assert run(1, 5.0) == []


# --- stopping and going on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, recipe", [("hog", "fast"), ("hogb", "paper")])
def test_going_on_is_the_same_as_not_stopping(name, recipe):
    phi = get(name, cell=4)
    method, problems, _ = batch(phi, SHAPE, recipe, target=feature_of(phi, PHOTO), steps=9)
    run = inversion.solve(method, phi, problems, 9, every=3)
    next(run)
    stopped = next(run)
    stopped = dataclasses.replace(stopped, states=jax.device_get(stopped.states))  # as a file would hold it
    *_, uninterrupted = run
    *_, resumed = inversion.solve(method, phi, problems, 9, every=3, resume=stopped)
    assert stopped.step == 3 and resumed.step == uninterrupted.step == 9
    assert_same(resumed.states, uninterrupted.states)
    assert_same(resumed.history, uninterrupted.history)


def test_going_on_after_the_end_does_nothing():
    method, problems, _ = batch(PIXELS, SHAPE, GENTLE)
    *_, done = inversion.solve(method, PIXELS, problems, 4)
    *_, again = inversion.solve(method, PIXELS, problems, 4, resume=done)
    assert again.step == 4
    assert_same(again.states.params, done.states.params)


# --- undoing -----------------------------------------------------------------------------------------------------


def run_plain(phi, target, rate, steps=40):
    recipe = Recipe("plain", steps, "sgd", rate, "constant")
    return invert(phi, target, key=KEY, image_shape=SHAPE, restarts=2, recipe=recipe, **NO_PRIOR)


def test_too_high_a_rate_recovers():
    out = run_plain(PIXELS, PHOTO, 100.0)
    assert out.status.tolist() == ["recovered"] * 2
    assert out.relative_error.max() < 0.01
    assert np.isfinite(out.history["total"][:, -1]).all()


def test_far_too_high_a_rate_diverges_and_leaves_the_best_picture():
    out = run_plain(PIXELS, PHOTO, 1e9)
    assert out.status.tolist() == ["diverged"] * 2
    assert np.isfinite(out.images).all()
    np.testing.assert_allclose(out.relative_error, out.history["data"][:, 0], rtol=1e-5)


def test_a_rate_beyond_float32():
    out = run_plain(PIXELS, PHOTO, 1e38)
    assert out.status.tolist() == ["diverged"] * 2
    assert np.isfinite(out.images).all()


def test_steps_into_what_is_not_a_number_are_undone():
    phi = Representation({}, square_root, "square_root")
    out = run_plain(phi, feature_of(phi, PHOTO), 2000.0)
    assert out.status.tolist() == ["recovered"] * 2
    assert np.isfinite(out.images).all() and out.images.max() < 300
    assert out.relative_error.max() < 0.5 * out.history["data"][:, 0].min()


def test_a_representation_that_is_never_a_number():
    out = run_plain(Representation({}, never_a_number, "never"), PHOTO, 0.1)
    assert out.status.tolist() == ["diverged"] * 2
    assert np.isfinite(out.images).all()


def test_a_failed_step_forgets_the_momentum_and_halves_the_rate():
    method, problems, _ = batch(PIXELS, SHAPE, GENTLE, restarts=1)
    states = inversion.advance(method, PIXELS, problems, inversion.batched_start(method, PIXELS, problems), 3)
    best = np.asarray(states.best)
    exploded = dataclasses.replace(states, params=states.params + jnp.inf)
    undone = inversion.advance(method, PIXELS, problems, exploded, 1)
    np.testing.assert_array_equal(undone.params, best)
    counter, velocity = undone.optimizer
    assert counter == 4 and not velocity.any()
    assert undone.rate_scale == 0.5 and undone.failures == 1


def test_the_rate_that_was_halved_stays_halved():
    method, problems, _ = batch(PIXELS, SHAPE, GENTLE, restarts=1)
    states = inversion.batched_start(method, PIXELS, problems)
    halved = dataclasses.replace(jax.tree.map(jnp.copy, states), rate_scale=jnp.full(1, 0.5))
    start = np.asarray(states.params)
    whole = inversion.advance(method, PIXELS, problems, states, 1).params - start
    half = inversion.advance(method, PIXELS, problems, halved, 1).params - start
    np.testing.assert_allclose(half, whole / 2, rtol=0, atol=1e-7)


def test_finish_takes_the_better_of_last_and_best():
    method, problems, _ = batch(PIXELS, SHAPE, GENTLE, restarts=3, **NO_PRIOR)
    good, bad, broken = PHOTO + 1, PHOTO + 9, PHOTO + np.nan
    last, best = np.stack([good, bad, broken]), np.stack([bad, good, good])
    states = devices.trimmed(inversion.batched_start(method, *devices.place(PIXELS, problems)), 3)
    states = dataclasses.replace(states, params=np.float32(last / sigma(SHAPE)), best=np.float32(best / sigma(SHAPE)))
    _, states = devices.place(PIXELS, states)
    out = inversion.finish(method, PIXELS, problems, inversion.Progress(states, 0, {}))
    np.testing.assert_allclose(out.images, [good] * 3, rtol=0, atol=1e-3)
    np.testing.assert_allclose(out.relative_error, 256 / np.sum(PHOTO**2), rtol=1e-3)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, message",
    [
        (0 * PHOTO, "all zero"),
        (PHOTO[1:], r"features \(16, 16, 1\), the target has \(15, 16, 1\)"),
        ({"a": PHOTO}, "the target has"),
        (np.where(PHOTO > 0, PHOTO, np.nan), "not finite"),
        (np.where(PHOTO > 0, PHOTO, np.inf), "not finite"),
    ],
)
def test_targets_that_cannot_be_inverted(target, message):
    with pytest.raises(UserError, match=message):
        invert(PIXELS, target, key=KEY, image_shape=SHAPE)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"restarts": 0}, "restarts must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"lambda_tv": -1.0}, "lambda_tv must be at least 0"),
        ({"lambda_alpha": float("nan")}, "lambda_alpha must be at least 0"),
        ({"lambda_range": -1.0}, "lambda_range must be at least 0"),
        ({"recipe": "slow"}, "unknown recipe 'slow'. Valid: fast, paper"),
        ({"recipe": Recipe("mine", 5, "adam", 0.0, "constant")}, "learning rate must be positive"),
        ({"alpha": 0.5}, "alpha ≥ 1"),
        ({"alpha": 4.0}, "alpha = 4 needs a lambda_alpha"),
        ({"beta": 0.0}, "beta > 0"),
        ({"image_shape": (16, 16)}, r"shape \[H, W, 1\]"),
        ({"image_shape": (16, 16, 3)}, r"shape \[H, W, 1\]"),
    ],
)
def test_impossible_values(options, message):
    with pytest.raises(UserError, match=message):
        invert(PIXELS, PHOTO, **({"key": KEY, "image_shape": SHAPE} | options))


def test_too_small_a_picture():
    with pytest.raises(UserError, match="at least 16×16 pixels, got 15×20"):
        invert(get("hog"), np.ones((1, 2, 27)), key=KEY, image_shape=(15, 20, 1))


def test_a_batch_that_does_not_fit_is_halved_and_changes_nothing(monkeypatch):
    phi, shape = get("hogb", cell=4), (19, 19, 1)
    target = np.asarray(feature_of(phi, RNG.normal(0, 40, shape).astype(np.float32)))

    def run():
        return invert(phi, target, key=jax.random.key(0), image_shape=shape, restarts=5, steps=7, every=3)

    monkeypatch.setattr(devices, "_used", 1)  # which fills up nothing
    whole, advance, sizes = run(), inversion.advance, []

    def small_only(method, phi, problems, states, steps):
        sizes.append(len(problems.key))
        if sizes[-1] > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        return advance(method, phi, problems, states, steps)

    monkeypatch.setattr(inversion, "advance", small_only)
    assert_same_inversion(run(), whole)
    assert sizes == [5, 3, *[2] * 3, *[1] * 3, *[2] * 3]
    monkeypatch.setattr(
        inversion, "advance", lambda *_: (_ for _ in ()).throw(jax.errors.JaxRuntimeError("INTERNAL: x"))
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        run()
