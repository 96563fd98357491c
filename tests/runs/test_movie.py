"""Movies, read back with Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from invjax.runs import movie
from invjax.types import InputSpec

from ..conftest import blobs

NOISES = np.linspace(1, 0, 9)  # shares of noise in the frames of a movie


def descent(side=64, channels=3, noises=NOISES):
    """Noise that turns into a picture, uint8 [points, side, side, channels]."""
    noise = np.random.default_rng(0).uniform(0, 255, (side, side, channels))
    picture = np.repeat(blobs(side)[..., None], channels, axis=-1)
    shares = noises[:, None, None, None]
    return np.round(shares * noise + (1 - shares) * picture).astype(np.uint8)


def decoded(data):
    """(frames as float [points, H, W, 3], durations in milliseconds, times it is played)."""
    file, frames, durations = Image.open(io.BytesIO(data)), [], []
    for number in range(file.n_frames):
        file.seek(number)
        frames.append(np.asarray(file.convert("RGB"), float))
        durations.append(file.info["duration"])
    return np.stack(frames), durations, file.info["loop"]


@pytest.mark.parametrize("channels", [1, 3])
def test_shows_every_frame_and_stands_still_on_the_last(channels):
    source = descent(channels=channels)
    frames, durations, loop = decoded(movie.frames_to_webp(source, seconds=2))
    assert frames.shape == (9, 64, 64, 3)
    assert durations == [250] * 8 + [1000]
    assert loop == 0  # for ever
    assert np.abs(frames[-1] - source[-1]).mean() < 6
    grey = frames[0].mean(axis=-1)  # of coloured noise, WebP keeps the colours of 2×2 pixels only
    correlation = np.corrcoef(grey.ravel(), source[0].mean(axis=-1).ravel())[0, 1]
    assert correlation > 0.8


def test_frames_that_do_not_differ_take_their_time_all_the_same():
    source = np.concatenate([descent(), np.repeat(descent()[-1:], 4, axis=0)])
    _, durations, _ = decoded(movie.frames_to_webp(source))
    assert sum(durations) == 12 * 250 + 1000


def test_a_single_frame_is_a_picture():
    frames, _, _ = decoded(movie.frames_to_webp(descent()[-1:]))
    assert frames.shape == (1, 64, 64, 3)


def test_a_frame_has_the_full_range_whatever_the_state_has():
    noise = np.random.default_rng(1).normal(size=(8, 8, 3)).astype(np.float32)
    spec = InputSpec(3, (120.0, 110.0, 100.0))
    for scale in (0.1, 5000.0):
        pixels = movie.frame(noise, scale, spec)
        exact = scale * noise + np.array(spec.mean)
        np.testing.assert_allclose(pixels, 255 * (exact - exact.min()) / np.ptp(exact), atol=0.51)
        assert pixels.dtype == np.uint8


def test_a_movie_of_usual_size_is_small():
    assert len(movie.frames_to_webp(descent(227, noises=np.geomspace(1, 0.01, 41)))) < 300_000
