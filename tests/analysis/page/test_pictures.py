"""Thumbnails, the stretch of their contrast, and error maps as bytes, against NumPy."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from invjax.analysis.page import pictures

MAP = np.array([[0.0, 0.25, 0.5], [1.0, 7.0, np.nan]], np.float32)


def levels(told: dict[str, Any]) -> np.ndarray:
    data = base64.b64decode(told["bytes"])
    return np.frombuffer(data, np.uint8).reshape(told["shape"]) * told["top"] / 255


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_the_stretch_filter_takes_the_range_to_black_and_white() -> None:
    values = np.random.default_rng(0).integers(90, 170, (8, 8), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    css = pictures.picture(buffer.getvalue(), thumbnail=False).stretch
    brightness, contrast = (float(number) for number in re.findall(r"\((.*?)\)", css))
    brightened = brightness * values / 255  # the filters, as CSS defines them, each clipping to 0..1
    assert brightened.max() <= 1
    shown = (brightened - 0.5) * contrast + 0.5
    expected = (values - values.min()) / (values.max() - values.min())
    np.testing.assert_allclose(shown, expected, atol=2e-3)


def test_the_stretch_is_of_all_channels_at_once() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[[0, 100, 200]]], np.uint8)).save(buffer, "PNG")
    assert pictures.picture(buffer.getvalue(), thumbnail=True).stretch == "brightness(1.2750) contrast(1.0000)"


def test_a_flat_picture_has_nothing_to_stretch() -> None:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), 90).save(buffer, "PNG")
    assert pictures.picture(buffer.getvalue(), thumbnail=True).stretch == ""


def test_error_maps_are_clipped_at_one_and_unknown_is_worst(tmp_path: Path) -> None:
    told = pictures.error_map(saved(tmp_path / "a.npz", error_map=MAP))
    assert told and told["shape"] == [2, 3] and told["top"] == 1
    np.testing.assert_allclose(levels(told), [[0, 0.25, 0.5], [1, 1, 1]], atol=1 / 510)
    assert told["mean"] == pytest.approx((0.25 + 0.5 + 3) / 6)


def test_small_errors_keep_their_digits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, 1e-3, (27, 27))
    told = pictures.error_map(saved(tmp_path / "a.npz", error_map=values))
    assert told
    np.testing.assert_allclose(levels(told), values, atol=1e-3 / 500)


def test_no_error_at_all(tmp_path: Path) -> None:
    told = pictures.error_map(saved(tmp_path / "a.npz", error_map=np.zeros((2, 2))))
    assert told and (told["top"], told["mean"]) == (0, 0) and not levels(told).any()


def test_features_without_positions_have_no_map(tmp_path: Path) -> None:
    assert pictures.error_map(saved(tmp_path / "a.npz", image=MAP)) is None


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (0, 3)])
def test_what_is_no_map_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="error map"):
        pictures.error_map(saved(tmp_path / "a.npz", error_map=np.zeros(shape)))


@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (111, 30), (129, 200)])
def test_large_maps_are_means_of_blocks(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random(shape)
    block = -(-max(shape) // pictures.MAP_SIDE)
    expected = [
        [values[row : row + block, column : column + block].mean() for column in range(0, shape[1], block)]
        for row in range(0, shape[0], block)
    ]
    found = pictures.in_blocks(values)
    assert max(found.shape) <= pictures.MAP_SIDE
    np.testing.assert_allclose(found, expected)


def test_the_palette_is_matplotlibs() -> None:
    import matplotlib

    colors = 255 * np.asarray(matplotlib.colormaps["magma"].colors)
    np.testing.assert_allclose(pictures.palette(), colors, atol=1)
