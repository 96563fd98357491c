"""Parameterizations against NumPy's Fourier transforms, and by what they promise of their starts and spectra."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from invjax import UserError
from invjax import parameterizations as p

KEY = jax.random.key(0)
SHAPE = (16, 12, 3)
SHAPES = [(8, 6, 3), (7, 6, 1), (6, 9, 2)]  # even and odd sides


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


PICTURES = normal(3, *SHAPE).astype(np.float32)

EVERY = {
    "pixels": lambda: p.pixels(SHAPE),
    "fourier": lambda: p.fourier(SHAPE),
    "fourier in colours": lambda: p.fourier(SHAPE, decay=1.7, decorrelate=True),
    "phase": lambda: p.phase(SHAPE),
    "phase of pictures": lambda: p.phase(SHAPE, p.magnitude_of(PICTURES)),
    "network": lambda: p.network(SHAPE, features=3, depth=1),
}
every = pytest.mark.parametrize("name", EVERY)


@functools.cache
def starter(name):
    """Keys → params, and the pictures that they stand for."""
    it = EVERY[name]()
    return jax.jit(jax.vmap(lambda key: ((params := it.start(key)), it.decode(params))))


@functools.cache
def starts(name):
    """Params of 40 keys, and the pictures that they stand for."""
    return jax.device_get(starter(name)(jax.random.split(KEY, 40)))


def first(name):
    """Params of the first key."""
    return jax.tree.map(lambda leaf: leaf[0], starts(name)[0])


@every
def test_start_is_a_picture_of_norm_one(name):
    params, u = starts(name)
    assert u.shape == (40, *SHAPE) and u.dtype == np.float32
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(np.linalg.norm(u.reshape(40, -1), axis=1), 1, atol=2e-6)


@every
def test_every_key_has_its_own_start(name):
    _, u = starts(name)
    assert len(np.unique(u[:, 3, 4, 0])) == 40
    _, backwards = starter(name)(jax.random.split(KEY, 40)[::-1])
    np.testing.assert_allclose(backwards[::-1], u, atol=1e-6)


@every
def test_equal_arguments_do_not_compile_twice(name):
    traces = []

    def decode(parameterization, params):
        traces.append(1)
        return parameterization.decode(params)

    decode = jax.jit(decode, static_argnums=0)
    for _ in range(2):
        decode.lower(EVERY[name](), first(name))
    assert EVERY[name]() is EVERY[name]() and len(traces) == 1


def test_equal_arguments_are_the_same_however_they_are_put():
    assert p.fourier(SHAPE) is p.fourier(list(SHAPE), 1) is p.get("fourier(decay=1.0)", np.array(SHAPE))
    assert p.fourier(SHAPE) is not p.fourier(SHAPE, 2)
    magnitude = p.magnitude_of(PICTURES)
    assert p.phase(SHAPE, magnitude) is p.phase(SHAPE, magnitude.copy()) is p.phase(SHAPE, magnitude.tolist())
    assert p.phase(SHAPE, magnitude) is not p.phase(SHAPE, magnitude + 1)


@every
def test_derivative_against_central_differences(name):
    it, start = EVERY[name](), first(name)
    weights, direction = normal(*SHAPE), jax.tree.map(lambda leaf: normal(*leaf.shape, seed=1), start)

    def value(params):
        return jnp.vdot(weights.astype(jax.tree.leaves(params)[0].dtype), it.decode(params))

    gradient = jax.jit(jax.grad(value))(start)
    slope = sum(np.vdot(*pair) for pair in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    with jax.enable_x64(True):
        ahead, back = (
            jax.tree.map(lambda leaf, d, step=step: leaf.astype(np.float64) + step * d, start, direction)
            for step in (1e-6, -1e-6)
        )
        precise = jax.jit(value)
        expected = float(precise(ahead) - precise(back)) / 2e-6
    scale = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    assert abs(slope - expected) < 1e-4 * scale and abs(expected) > 0.01 * scale


@pytest.mark.parametrize("name", ["pixels", "fourier", "fourier in colours"])
def test_decode_undoes_encode(name):
    it = EVERY[name]()
    found = jax.jit(lambda u: it.decode(it.encode(u)))(PICTURES[0])
    np.testing.assert_allclose(found, PICTURES[0], atol=1e-5)


def test_where_every_picture_has_params():
    assert [EVERY[name]().encode is not None for name in EVERY] == [True, True, True, False, False, False]


def test_pixels_start_as_noise_of_norm_one():
    it = p.pixels(SHAPE)
    noise = np.asarray(jax.random.normal(KEY, SHAPE), np.float64)
    np.testing.assert_allclose(it.start(KEY), noise / np.linalg.norm(noise), rtol=1e-6)
    np.testing.assert_array_equal(it.decode(PICTURES[0]), PICTURES[0])


# ------------------------------------------------------------------------------------------------ Fourier


def frequencies(height, width):
    """Cycles per pixel, [H, W//2+1]."""
    return np.array(
        [[np.hypot(min(i, height - i) / height, j / width) for j in range(width // 2 + 1)] for i in range(height)]
    )


def mirrored(values):
    """f(−k) of f(k) along the first two axes."""
    return values[-np.arange(len(values))][:, -np.arange(values.shape[1])]


@pytest.mark.parametrize("decay", [0, 1, 2.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_fourier_against_numpy(shape, decay):
    height, width, _ = shape
    params = normal(*shape)
    # Hartley's coefficients of a real picture: even part real, odd part minus imaginary
    spectrum = (params + mirrored(params)) / 2 - 1j * (params - mirrored(params)) / 2
    gain = np.maximum(frequencies(height, width), 1 / max(height, width)) ** -float(decay)
    everywhere = np.concatenate([gain, gain[:, 1 : (width + 1) // 2]], axis=1)  # the columns that rfft2 leaves out
    gain /= np.sqrt(np.mean(everywhere**2))
    expected = np.fft.irfft2(gain[..., None] * spectrum[:, : width // 2 + 1], (height, width), (0, 1), norm="ortho")
    found = jax.jit(p.fourier(shape, decay).decode)(params.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=3e-6)


def test_without_decay_fourier_is_a_rotation():
    it = p.fourier(SHAPE, 0)
    params = jnp.asarray(PICTURES[1])
    assert jnp.linalg.norm(it.decode(params)) == pytest.approx(np.linalg.norm(params), rel=1e-6)


@pytest.mark.parametrize("decay", [0.5, 1, 2])
def test_white_params_make_spectra_that_fall(decay):
    shape = (32, 24, 2)
    white = (normal(200, *shape) / np.sqrt(np.prod(shape))).astype(np.float32)
    u = np.asarray(jax.jit(jax.vmap(p.fourier(shape, decay).decode))(white))
    assert np.mean(np.sum(u**2, axis=(1, 2, 3))) == pytest.approx(1, abs=0.05)  # norm one on average
    power = np.mean(np.abs(np.fft.rfft2(u, axes=(1, 2))) ** 2, axis=(0, 3))
    f = frequencies(32, 24)
    slope, _ = np.polyfit(np.log(f[f > 1 / 32]), np.log(power[f > 1 / 32]), 1)
    assert slope == pytest.approx(-2 * decay, abs=0.03)


def test_decorrelated_colours_become_correlated():
    columns = np.array([[0.26, 0.27, 0.27], [0.09, 0, -0.09], [0.02, -0.05, 0.03]])  # lucid's
    expected = columns.T @ columns
    white = normal(100, 100, 3).astype(np.float32)
    colours = np.asarray(p.fourier(white.shape, 0, True).decode(white)).reshape(-1, 3)
    np.testing.assert_allclose(np.cov(colours.T), 3 * expected / np.trace(expected), atol=0.05)


# ------------------------------------------------------------------------------------------------ phase


def own(height, width):
    """Coefficients of an rfft2 that are real: both frequencies zero or half the side."""
    return np.array(
        [[2 * i % height == 0 and 2 * j % width == 0 for j in range(width // 2 + 1)] for i in range(height)]
    )


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_phase_keeps_the_magnitude(shape, natural):
    height, width, channels = shape
    given = None if natural else p.magnitude_of(normal(2, *shape))
    falling = 1 / np.maximum(frequencies(height, width), 1 / max(height, width))
    magnitude = np.repeat(falling[..., None], channels, 2) if natural else given
    params = np.array([[[[1.0]]], [[[1000.0]]]]) * normal(2, *magnitude.shape, seed=1)
    u = jax.jit(jax.vmap(p.phase(shape, given).decode))(params.astype(np.float32))
    ratio = np.abs(np.fft.rfft2(u, axes=(1, 2))) / magnitude
    free = ~own(height, width)
    np.testing.assert_allclose(ratio[:, free], ratio[0, 0, 1, 0], rtol=2e-5)
    assert (ratio[:, ~free] <= ratio[0, 0, 1, 0] * (1 + 1e-5)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_phase_finds_a_picture_by_its_phases(shape):
    picture = normal(*shape)
    spectrum = np.fft.rfft2(picture, axes=(0, 1))
    decode = jax.jit(p.phase(shape, p.magnitude_of([picture])).decode)
    found = decode(np.angle(spectrum).astype(np.float32))
    spectrum[own(*shape[:2])] = 0
    norm = np.linalg.norm(np.fft.irfft2(spectrum, shape[:2], axes=(0, 1)))
    np.testing.assert_allclose(found, picture / norm, atol=1e-6)


def test_phase_starts_without_a_mean_and_can_get_one():
    params, u = starts("phase")
    np.testing.assert_allclose(np.mean(u, axis=(1, 2)), 0, atol=1e-7)
    gradient = jax.jit(jax.grad(lambda params: jnp.mean(p.phase(SHAPE).decode(params))))(params[0])
    assert (jnp.abs(gradient[0, 0]) > 1e-3).all()


def test_phases_start_everywhere():
    angles = starts("phase")[0][:, ~own(*SHAPE[:2])].ravel()
    shares = np.histogram(angles, 8, (-np.pi, np.pi))[0] / len(angles)
    np.testing.assert_allclose(shares, 1 / 8, atol=0.01)


def test_magnitude_of_against_sums():
    pictures = normal(2, 3, 4, 2)
    found = p.magnitude_of(pictures)
    assert found.shape == (3, 3, 2) and found.dtype == np.float32
    i, j = np.arange(3)[:, None, None], np.arange(4)[None, :, None]
    for *index, c in np.ndindex(found.shape):
        waves = np.exp(-2j * np.pi * (index[0] * i / 3 + index[1] * j / 4))
        expected = np.mean([abs(np.sum(picture * waves, axis=(0, 1))[c]) for picture in pictures]) / np.sqrt(12)
        assert found[*index, c] == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------------------------ network


def test_network_starts_without_a_mean():
    np.testing.assert_allclose(np.mean(starts("network")[1], axis=(1, 2)), 0, atol=1e-6)


def test_network_learns_a_picture():
    decode = EVERY["network"]().decode
    y, x = np.mgrid[:16, :12]
    target = np.stack([np.sin(y / 3), np.cos(x / 4), np.sin((x + y) / 5)], axis=-1).astype(np.float32)
    target /= np.linalg.norm(target)
    slope = jax.jit(jax.value_and_grad(lambda params: jnp.sum((decode(params) - target) ** 2)))
    params = first("network")
    speed = jax.tree.map(np.zeros_like, params)
    errors = []
    for _ in range(200):
        error, gradient = slope(params)
        errors.append(error)
        speed = jax.tree.map(lambda v, g: 0.9 * v - 0.02 * np.asarray(g), speed, gradient)
        params = jax.tree.map(np.add, params, speed)
    assert errors[0] > 1 and errors[-1] < 0.1


# ------------------------------------------------------------------------------------------------ messages

MISTAKES = [
    (lambda: p.pixels((4, 4)), r"three whole numbers, \[H, W, C\], got \(4, 4\)"),
    (lambda: p.pixels((4, 4, 1.5)), "three whole numbers"),
    (lambda: p.fourier((4, 0, 3)), r"at least 1 in all of \[H, W, C\], got \[4, 0, 3\]"),
    (lambda: p.fourier(SHAPE, -1), "needs a decay from 0 to 4, got -1"),
    (lambda: p.fourier(SHAPE, float("nan")), "needs a decay from 0 to 4, got nan"),
    (lambda: p.fourier((8, 8, 1), decorrelate=True), "RGB pictures of 3 channels, got 1"),
    (lambda: p.phase((2, 8, 1)), "sides of at least 3 pixels, got 2×8"),
    (lambda: p.phase((4, 4, 1), np.ones((4, 4, 1))), r"magnitudes of shape \[4, 3, 1\], got \[4, 4, 1\]"),
    (lambda: p.phase((4, 4, 1), -np.ones((4, 3, 1))), "finite and at least 0"),
    (lambda: p.phase((4, 4, 1), np.full((4, 3, 1), np.inf)), "finite and at least 0"),
    (lambda: p.phase((4, 4, 1), own(4, 4)[..., None]), "all zero but for the mean"),
    (lambda: p.magnitude_of([]), "pictures of one shape"),
    (lambda: p.magnitude_of([np.ones((4, 4, 3)), np.ones((4, 5, 3))]), "pictures of one shape"),
    (lambda: p.magnitude_of(np.ones((4, 4))), "pictures of one shape"),
    (lambda: p.magnitude_of([np.full((4, 4, 1), np.nan)]), "needs finite pictures"),
    (lambda: p.network((16, 16, 3)), "depth 4 needs sides of at least 32 pixels, got 16×16"),
    (lambda: p.network(SHAPE, features=0), "features and depth of at least 1, got 0 and 4"),
    (lambda: p.network(SHAPE, depth=0), "features and depth of at least 1, got 32 and 0"),
    (lambda: p.get("furier", SHAPE), "Did you mean fourier[?] Valid: pixels, fourier, phase, network"),
    (lambda: p.get("fourier(decai=1)", SHAPE), "fourier has no option 'decai'. Valid: decay, decorrelate"),
    (lambda: p.get("pixels(decay=1)", SHAPE), "pixels has no option 'decay'. It has none"),
    (lambda: p.get("fourier(image_shape=1)", SHAPE), "fourier has no option 'image_shape'"),
    (lambda: p.get("fourier(decay='steep')", SHAPE), "fourier failed: TypeError"),
    (lambda: p.get(3, SHAPE), "must be a Parameterization, or its name, got 3"),
    (lambda: p.get("json:loads(1)", SHAPE), "json:loads"),
    (lambda: p.phase(SHAPE, np.ones((16, 7, 3)), "photos"), "not both"),
    (lambda: p.phase(SHAPE, pictures=()), "files, folders or patterns"),
    (lambda: p.phase(SHAPE, pictures="none.jpg"), "none.jpg: no such file"),
]


@pytest.mark.parametrize("mistake, message", MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes(mistake, message):
    with pytest.raises(UserError, match=message) as error:
        mistake()
    assert "\n" not in str(error.value)


def test_every_name_is_there():
    assert list(p.PARAMETERIZATIONS) == ["pixels", "fourier", "phase", "network"]
    assert p.get("network(4, depth=2)", SHAPE) is p.network(SHAPE, 4, 2)
    mine = p.fourier(SHAPE)
    assert p.get(mine, SHAPE) is mine


def test_phase_of_pictures_that_a_text_points_at(tmp_path):
    shape = (8, 6, 3)
    pictures = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    magnitude = np.abs(np.fft.rfft2(pictures - pictures.mean((0, 1, 2)), axes=(1, 2))).mean(0)
    expected = p.phase(shape, magnitude)
    params = expected.start(KEY)
    for where in (f"'{tmp_path}'", f"['{tmp_path}/[01].png', '{tmp_path}/2.png']"):
        decode = p.get(f"phase(pictures={where})", shape).decode
        np.testing.assert_allclose(decode(params), expected.decode(params), atol=1e-6)


def test_a_factory_of_the_users(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("""
from invjax.parameterizations import Parameterization, pixels

def make(image_shape, gain=1.0):
    it = pixels(image_shape)
    return Parameterization(it.start, lambda params: gain * params, None)

def wrong(image_shape):
    return image_shape
""")
    u = p.get(f"{path}:make(gain=3)", SHAPE).decode(PICTURES[0])
    np.testing.assert_array_equal(u, 3 * PICTURES[0])
    assert p.get(f"{path}:make", SHAPE) is p.get(f"{path}:make", SHAPE)
    for name in ("wrong", "make(sum=3)", "make(1, 2)"):
        with pytest.raises(UserError):
            p.get(f"{path}:{name}", SHAPE)
