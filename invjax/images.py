"""Pictures: from files to what a representation wants to be shown, and back."""

from __future__ import annotations

import io
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image as pillow
from PIL import ImageOps

from invjax.errors import UserError
from invjax.files import write_atomically
from invjax.types import InputSpec

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MAX_PIXELS = 178_956_970  # Pillow's own limit: larger ones are refused before they are decoded
MAX_ENLARGEMENT = 8
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Matlab's rgb2gray


def load_image(path: str | Path, spec: InputSpec, size: int | None = None) -> np.ndarray:
    """Reads a picture as a representation wants to see it.

    Any 8-bit or 16-bit picture of Pillow's formats: turned upright by its EXIF tag, transparency put on white, the
    first frame of an animation, CMYK and palettes as RGB, grey by ITU-R 601.

    Args:
        path: of the file.
        spec: what the representation wants, `phi.input`.
        size: side in pixels; the shortest side is scaled to it and the middle square taken. None: as it is.

    Returns:
        float32 [H, W, C], 0..255 minus the spec's mean.

    Raises:
        UserError: no such file, not a picture, broken, too large to decode, or too small for `size`.
    """
    path = Path(path)
    if size is not None and size < 1:
        raise UserError(f"size must be at least 1 pixel, got {size}")
    if not path.is_file():
        raise UserError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
            with pillow.open(path) as file:
                planes = _planes(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except pillow.UnidentifiedImageError:
        raise UserError(f"{path}: not a picture that Pillow can read") from None
    except pillow.DecompressionBombError:
        raise UserError(f"{path}: larger than {MAX_PIXELS / 1e6:.0f} million pixels: scale it down first") from None
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # decoders raise whatever they like on a broken file
        raise UserError(f"{path}: the picture is damaged ({error})") from None
    if size is not None:
        planes = [_fit(plane, size, path) for plane in planes]
    pixels = np.stack([np.asarray(plane, np.float32) for plane in planes], axis=-1)
    return _channels(pixels, spec.channels) - np.asarray(spec.mean, np.float32)


def _planes(file: pillow.Image) -> list[pillow.Image]:
    """Upright planes of floats 0..255, one or three."""
    image = ImageOps.exif_transpose(file)
    if image.mode.startswith(("I", "F")):  # 16 bits, or numbers of any range
        wide = np.asarray(image, np.float32)
        # older Pillows open 16-bit PNGs in mode I
        if image.mode == "F" or (image.mode == "I" and not (wide.min() >= 0 and 255 < wide.max() <= 65535)):
            raise UserError(f"pixels of mode {image.mode} have no known range: save it with 8 or 16 bits per channel")
        return [pillow.fromarray(wide / 257)]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    grey = image.mode in ("1", "L")
    return [plane.convert("F") for plane in image.convert("L" if grey else "RGB").split()]


def _fit(plane: pillow.Image, size: int, path: Path) -> pillow.Image:
    """Scales the shortest side to `size` and takes the middle square."""
    width, height = plane.size
    if min(width, height) * MAX_ENLARGEMENT < size:
        raise UserError(
            f"{path}: {width}×{height} pixels are too few to be shown at {size}: take a larger picture, or a size of "
            f"at most {min(width, height) * MAX_ENLARGEMENT}"
        )
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    scaled = plane.resize((size, size), pillow.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    # what is flat stays flat: HOG would make a picture of rounding errors
    return pillow.fromarray(np.round(np.asarray(scaled) * 256) / 256)


def _channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.shape[-1] == channels:
        return pixels
    return pixels @ LUMA[:, None] if channels == 1 else np.repeat(pixels, channels, axis=-1)


def to_pixels(image: np.ndarray, spec: InputSpec, stretch: bool = False) -> np.ndarray:
    """True pixel values of an image in the representation's units.

    Args:
        image: float32 [H, W, C], minus the mean.
        spec: of the representation, `phi.input`.
        stretch: map the least value to 0 and the greatest to 255, as the paper shows pictures; else values outside
            0..255 are clipped.

    Returns:
        uint8 [H, W, C].
    """
    pixels = np.asarray(image, np.float32) + np.asarray(spec.mean, np.float32)
    if stretch:
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) * (255 / max(high - low, 1e-12))
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def save_image(path: str | Path, image: np.ndarray, spec: InputSpec, stretch: bool = False) -> None:
    """Writes an image as a picture file, in one piece or not at all.

    Args:
        path: of the file; its suffix is the format, e.g. ".png".
        image: float32 [H, W, C], in the representation's units.
        spec: of the representation, `phi.input`.
        stretch: see `to_pixels`.

    Raises:
        UserError: a suffix that Pillow cannot write.
        OSError: the file cannot be written.
    """
    pixels = to_pixels(image, spec, stretch)
    format_name = pillow.registered_extensions().get(Path(path).suffix.lower())
    if format_name not in pillow.SAVE:
        raise UserError(f"{path}: unknown picture format '{Path(path).suffix}': use .png")
    buffer = io.BytesIO()
    pillow.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, format_name)
    write_atomically(path, buffer.getvalue())


def astronaut() -> Path:
    """The bundled photograph: NASA's portrait of Eileen Collins, in the public domain (see data/README.txt)."""
    return Path(str(resources.files("invjax") / "data" / "astronaut.jpg"))
