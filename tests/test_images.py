"""Pictures of every kind, made on the fly."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as pillow

from invjax import InputSpec, UserError, images, load_image, save_image

RNG = np.random.default_rng(0)
GREY = InputSpec()
COLOUR = InputSpec(channels=3, mean=(123.0, 117.0, 104.0))
GREY_PIXELS = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
COLOUR_PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def luma(pixels):
    return pixels.astype(np.float64) @ [0.299, 0.587, 0.114]


def loaded(path, spec=GREY, **options):
    """True pixel values; grey ones without the axis of channels."""
    image = load_image(path, spec, **options)
    assert image.dtype == np.float32 and image.ndim == 3 and image.shape[2] == spec.channels
    pixels = image + np.asarray(spec.mean, np.float32)
    return pixels[..., 0] if spec.channels == 1 else pixels


def written(folder, pixels, name="picture.png", mode=None, **options):
    path = folder / name
    picture = pillow.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture.png"


# --- kinds of files ----------------------------------------------------------------------------------------------


def test_grey(tmp_path):
    file = written(tmp_path, GREY_PIXELS)
    np.testing.assert_array_equal(loaded(file), GREY_PIXELS)
    np.testing.assert_array_equal(loaded(file, COLOUR), np.repeat(GREY_PIXELS[..., None], 3, axis=2))


def test_the_mean_is_subtracted(tmp_path):
    np.testing.assert_array_equal(load_image(written(tmp_path, GREY_PIXELS), GREY)[..., 0], GREY_PIXELS - 128.0)
    expected = COLOUR_PIXELS - np.array([123.0, 117.0, 104.0])
    np.testing.assert_array_equal(load_image(written(tmp_path, COLOUR_PIXELS), COLOUR), expected)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_colour(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    file = written(tmp_path, COLOUR_PIXELS, f"picture{suffix}", **options)
    np.testing.assert_array_equal(loaded(file, COLOUR), COLOUR_PIXELS)
    np.testing.assert_allclose(loaded(file), luma(COLOUR_PIXELS), rtol=0, atol=1e-3)


def test_transparency_is_put_on_white(tmp_path):
    alpha = RNG.integers(0, 256, (6, 9, 1), dtype=np.uint8)
    file = written(tmp_path, np.concatenate([COLOUR_PIXELS, alpha], axis=2))
    share = alpha / 255
    np.testing.assert_allclose(loaded(file, COLOUR), share * COLOUR_PIXELS + (1 - share) * 255, rtol=0, atol=1)
    np.testing.assert_array_equal(loaded(file, COLOUR)[alpha[..., 0] == 0], 255)


def test_transparent_grey(tmp_path):
    alpha = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
    file = written(tmp_path, np.stack([GREY_PIXELS, alpha], axis=2))
    with pillow.open(file) as picture:
        assert picture.mode == "LA"
    share = alpha / 255
    np.testing.assert_allclose(loaded(file), share * GREY_PIXELS + (1 - share) * 255, rtol=0, atol=1)


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_palette(tmp_path, suffix):
    picture = pillow.fromarray(COLOUR_PIXELS).quantize(16)
    picture.save(tmp_path / f"picture{suffix}")
    palette = np.reshape(picture.getpalette(), (-1, 3))
    expected = palette[np.asarray(picture)]
    np.testing.assert_array_equal(loaded(tmp_path / f"picture{suffix}", COLOUR), expected)
    np.testing.assert_allclose(loaded(tmp_path / f"picture{suffix}"), luma(expected), rtol=0, atol=1e-3)


def test_palette_with_a_transparent_colour(path):
    picture = pillow.fromarray(COLOUR_PIXELS).quantize(16)
    index = np.asarray(picture)
    picture.save(path, transparency=int(index[0, 0]))
    expected = np.reshape(picture.getpalette(), (-1, 3))[index]
    expected[index == index[0, 0]] = 255
    np.testing.assert_array_equal(loaded(path, COLOUR), expected)


def test_one_bit(path):
    bits = GREY_PIXELS > 128
    pillow.fromarray(bits).save(path)
    with pillow.open(path) as picture:
        assert picture.mode == "1"
    np.testing.assert_array_equal(loaded(path), 255.0 * bits)


def test_cmyk_jpeg(tmp_path):
    flat = np.zeros((16, 16, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
    file = written(tmp_path, flat, "picture.jpg", mode="CMYK", quality=95)
    with pillow.open(file) as picture:
        assert picture.mode == "CMYK"
    np.testing.assert_allclose(loaded(file, COLOUR), flat, rtol=0, atol=4)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits(tmp_path, suffix):
    pixels = np.array([[0, 257, 65535], [32768, 1, 1000]], np.uint16)
    file = written(tmp_path, pixels, f"picture{suffix}")
    np.testing.assert_allclose(loaded(file), pixels / 257, rtol=0, atol=1e-4)
    np.testing.assert_allclose(loaded(file, COLOUR)[..., 2], pixels / 257, rtol=0, atol=1e-4)


def test_floats_are_refused(tmp_path):
    file = written(tmp_path, GREY_PIXELS.astype(np.float32), "picture.tif")
    with pytest.raises(UserError, match=r"picture\.tif: pixels of mode F have no known range"):
        load_image(file, GREY)


@pytest.mark.parametrize("extreme", [100_000, -100])
def test_integers_beyond_16_bits_are_refused(tmp_path, extreme):
    pixels = GREY_PIXELS.astype(np.int32)
    pixels[0, 0] = extreme
    with pytest.raises(UserError, match="have no known range"):
        load_image(written(tmp_path, pixels, "picture.tif"), GREY)


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_turned_upright(tmp_path, orientation, kind):
    exif = pillow.Exif()
    exif[0x0112] = orientation
    file = written(tmp_path, GREY_PIXELS * kind(np.iinfo(kind).max // 255), exif=exif)
    np.testing.assert_array_equal(np.round(loaded(file)), UPRIGHT[orientation](GREY_PIXELS))


def test_a_turned_jpeg(tmp_path):
    exif = pillow.Exif()
    exif[0x0112] = 6
    stored = np.repeat(np.repeat(np.array([[0, 255]], np.uint8), 16, 1), 16, 0)  # 16×32, dark on the left
    upright = loaded(written(tmp_path, stored, "picture.jpg", exif=exif))
    assert upright.shape == (32, 16)
    assert upright[:16].max() < 10 and upright[16:].min() > 245  # dark above


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_the_first_frame_of_an_animation(tmp_path, suffix):
    frames = [pillow.new("L", (9, 6), grey) for grey in (40, 200)]
    frames[0].save(tmp_path / f"moving{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(loaded(tmp_path / f"moving{suffix}"), np.full((6, 9), 40))


# --- what cannot be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".tif"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated(tmp_path, suffix, share):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = written(tmp_path, noise, f"picture{suffix}")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(UserError, match=f"picture{suffix}: (the picture is damaged|not a picture)"):
        load_image(file, GREY)


def test_a_damaged_png(path):
    written(path.parent, COLOUR_PIXELS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"picture\.png: the picture is damaged"):
        load_image(path, GREY)


@pytest.mark.parametrize("content", [b"", b"this is a letter, not a picture", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_not_a_picture(tmp_path, content):
    (tmp_path / "letter.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"letter\.jpg: (not a picture|the picture is damaged)"):
        load_image(tmp_path / "letter.jpg", GREY)


def test_missing(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.png: no such file"):
        load_image(tmp_path / "nowhere.png", GREY)


def test_folder(tmp_path):
    with pytest.raises(UserError, match="not a file"):
        load_image(tmp_path, GREY)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("side", [14_000, 100_000])  # 196 million pixels are more than the limit, too
def test_a_picture_too_large_to_decode(path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))))
    with pytest.raises(UserError, match=r"picture\.png: larger than 179 million pixels"):
        load_image(path, GREY)


# --- size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, top, left", [((6, 10), 0, 2), ((10, 6), 2, 0), ((6, 6), 0, 0)])
def test_the_middle_square_is_taken(tmp_path, shape, top, left):
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    expected = pixels[top : top + 6, left : left + 6]
    np.testing.assert_allclose(loaded(written(tmp_path, pixels), size=6), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(12, 21), (21, 12)])
def test_the_middle_is_exactly_the_middle(tmp_path, shape):
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    image = loaded(written(tmp_path, pixels), size=7)
    turned = loaded(written(tmp_path, np.ascontiguousarray(pixels[::-1, ::-1])), size=7)
    np.testing.assert_allclose(turned[::-1, ::-1], image, rtol=0, atol=1e-2)


def test_scaled_down_pixels_are_weighted_means(tmp_path):
    """Twice smaller, bilinear with anti-aliasing: a triangle over four pixels, weights 1, 3, 3, 1."""
    pixels = RNG.integers(0, 256, (12, 12), dtype=np.uint8)
    image = loaded(written(tmp_path, pixels), size=6)
    weights = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    for i, j in np.ndindex(4, 4):
        window = pixels[2 * i + 1 : 2 * i + 5, 2 * j + 1 : 2 * j + 5]
        np.testing.assert_allclose(image[i + 1, j + 1], np.sum(weights * window), rtol=0, atol=1e-3)


def test_scaling_does_not_round(tmp_path):
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None], 20, axis=0)
    image = loaded(written(tmp_path, ramp), size=40)
    np.testing.assert_allclose(image[20, 2:-2], (np.arange(2, 38) - 0.5) * 5, rtol=0, atol=1e-3)


def test_colour_pictures_are_scaled_too(tmp_path):
    file = written(tmp_path, COLOUR_PIXELS)
    assert loaded(file, COLOUR, size=4).shape == (4, 4, 3)
    np.testing.assert_allclose(loaded(file, size=4), luma(loaded(file, COLOUR, size=4)), rtol=0, atol=1e-3)


def test_as_it_is_without_a_size(tmp_path):
    assert load_image(written(tmp_path, GREY_PIXELS), GREY).shape == (6, 9, 1)
    assert load_image(written(tmp_path, GREY_PIXELS[:1, :1]), COLOUR).shape == (1, 1, 3)


def test_too_small_to_be_shown(tmp_path):
    file = written(tmp_path, GREY_PIXELS[:4])
    assert load_image(file, GREY, size=32).shape == (32, 32, 1)
    with pytest.raises(UserError, match=r"picture\.png: 9×4 pixels are too few to be shown at 33.* at most 32"):
        load_image(file, GREY, size=33)


@pytest.mark.parametrize("size", [0, -5])
def test_impossible_size(tmp_path, size):
    with pytest.raises(UserError, match="size"):
        load_image(written(tmp_path, GREY_PIXELS), GREY, size=size)


# --- writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec, pixels", [(GREY, GREY_PIXELS[..., None]), (COLOUR, COLOUR_PIXELS)])
def test_what_is_written_is_read_again(path, spec, pixels):
    image = (pixels - np.asarray(spec.mean)).astype(np.float32)
    save_image(path, image, spec)
    np.testing.assert_array_equal(load_image(path, spec), image)


def test_values_outside_are_clipped_and_others_rounded():
    pixels = images.to_pixels(np.float32([[-1000, -128.4, -0.6, 0.4, 126.7, 127.6, 1000]])[..., None], GREY)
    assert pixels.dtype == np.uint8
    assert pixels[0, :, 0].tolist() == [0, 0, 127, 128, 255, 255, 255]


def test_stretched():
    image = np.float32([[-500, 0], [250, 500]])[..., None]
    assert images.to_pixels(image, GREY, stretch=True)[..., 0].tolist() == [[0, 128], [191, 255]]


def test_a_flat_picture_can_be_stretched():
    assert not images.to_pixels(np.full((2, 2, 1), 5.0), GREY, stretch=True).any()


def test_stretching_keeps_hues():
    """One range for all channels: the channel that has the least value anywhere has the zero."""
    image = (np.stack([np.full((2, 2), value) for value in (0.0, 100.0, 200.0)], -1)).astype(np.float32)
    pixels = images.to_pixels(image, InputSpec(channels=3, mean=(0.0, 0.0, 0.0)), stretch=True)
    np.testing.assert_array_equal(pixels[0, 0], [0, 128, 255])


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp", ".bmp", ".tif", ".gif"])
@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
def test_other_formats(tmp_path, suffix, spec):
    save_image(tmp_path / f"picture{suffix}", np.zeros((20, 30, spec.channels)), spec)
    mean = np.round(np.mean(loaded(tmp_path / f"picture{suffix}", spec), axis=(0, 1)))
    np.testing.assert_allclose(mean, np.squeeze(spec.mean), rtol=0, atol=3)


@pytest.mark.parametrize("name", ["picture.xyz", "picture", "picture.mp4"])
def test_unknown_format(tmp_path, name):
    with pytest.raises(UserError, match=f"{name}: unknown picture format"):
        save_image(tmp_path / name, np.zeros((2, 2, 1)), GREY)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_older_picture(path, monkeypatch):
    save_image(path, np.zeros((2, 2, 1)), GREY)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        save_image(path, np.ones((3, 3, 1)), GREY)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_bundled_photograph():
    image = load_image(images.astronaut(), GREY, size=64)
    assert image.shape == (64, 64, 1) and image.std() > 20


def test_a_part_is_never_larger_than_the_picture():
    """227 · (w / 227) may be more than w."""
    for width in range(30, 600):
        assert load_image(np.zeros((3 * width, width), np.uint8), GREY, 227).shape == (227, 227, 1)


@pytest.mark.parametrize("size", [(30, 50), (50, 30), (20, 20), (40, 80)])
def test_sides_are_height_and_width(size):
    """A ramp along each axis stays one: the middle, at the scale at which it covers both sides."""
    rows, columns = np.mgrid[:60, :80].astype(np.float32)
    shrink = min(60 / size[0], 80 / size[1])
    for ramp, axis in ((rows, 0), (columns, 1)):
        found = load_image(ramp, GREY, size)[..., 0] + GREY.mean[0]
        assert found.shape == size
        inner = found[2:-2, 2:-2]
        np.testing.assert_allclose(np.diff(inner, axis=axis).mean(), shrink, atol=0.02)
        np.testing.assert_allclose(np.diff(inner, axis=1 - axis), 0, atol=0.02)
        np.testing.assert_allclose(inner.mean(), ramp.mean(), atol=0.02)


def test_arrays_and_pillows_pictures_are_pictures():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    expected = pixels.astype(np.float32) - np.asarray(COLOUR.mean, np.float32)
    for picture in (pixels, pixels.astype(np.float64), pillow.fromarray(pixels)):
        np.testing.assert_allclose(load_image(picture, COLOUR), expected, atol=1e-4)
    wrong = (pixels / 255, pixels - 128.0, pixels.astype(int), pixels[..., :2], np.full((4, 4), np.nan), pixels[None])
    for picture in wrong:
        with pytest.raises(UserError):
            load_image(picture, COLOUR)


@pytest.mark.parametrize("shape", [(4, 8, 8, 1), (8, 8), (8, 8, 2), (8, 8, 4), (8, 8, 5)])
def test_what_is_no_picture_is_not_saved(tmp_path, shape):
    with pytest.raises(UserError):
        save_image(tmp_path / "out.png", np.zeros(shape), COLOUR)
    assert not list(tmp_path.iterdir())
