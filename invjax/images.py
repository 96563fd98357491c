"""Pictures: from files to what a representation wants to be shown, and back."""

from __future__ import annotations

import glob
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


def expand(pattern: str) -> list[Path]:
    """The files of pictures that a text stands for, sorted.

    Args:
        pattern: a file, a folder, a glob pattern, or several of these with commas between them.

    Raises:
        UserError: a folder without pictures, or a pattern that matches nothing. A file need not be there.
    """
    path = Path(pattern)
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if _is_picture(file))
        if not inside:
            raise UserError(f"{pattern}: no pictures in this folder ({', '.join(SUFFIXES)})")
        return inside
    if path.exists() or not glob.has_magic(pattern):
        if not path.exists() and "," in pattern:
            return [found for part in pattern.split(",") for found in expand(part.strip())]
        return [path]
    matches = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207, absolute patterns too
    found = [match for match in matches if match.is_file()]
    if not found:
        raise UserError(f"{pattern}: no file matches this pattern")
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def load_image(
    picture: str | Path | np.ndarray | pillow.Image, spec: InputSpec, size: int | tuple[int, int] | None = None
) -> np.ndarray:
    """A picture as a representation wants to see it.

    Any 8-bit or 16-bit picture of Pillow's formats: turned upright by its EXIF tag, transparency put on white, the
    first frame of an animation, CMYK and palettes as RGB, grey by ITU-R 601.

    Args:
        picture: path of a file; a picture of Pillow's; or pixels, [H, W], or [H, W, C] with 1, 3 or 4 channels: uint8,
            or floats 0..255.
        spec: what the representation wants, `phi.input`.
        size: side in pixels, or (height, width); the picture is scaled to cover it, and the middle is taken. None: as
            it is.

    Returns:
        float32 [H, W, C], 0..255 minus the spec's mean.

    Raises:
        UserError: no such file, not a picture, broken, too large to decode, too small for `size`, or pixels of another
            type or range.
    """
    sides = (size, size) if isinstance(size, int) else size
    if sides is not None and min(sides) < 1:
        raise UserError(f"size must be at least 1 pixel, got {size}")
    if isinstance(picture, str | Path):
        name, planes = str(picture), _read(Path(picture))
    elif isinstance(picture, pillow.Image):
        name, planes = "the picture", _planes(picture)
    else:
        name, planes = "the picture", _of_array(np.asarray(picture))
    if sides is not None:
        planes = [_fit(plane, sides, name) for plane in planes]
    pixels = np.stack([np.asarray(plane, np.float32) for plane in planes], axis=-1)
    return _channels(pixels, spec.channels) - np.asarray(spec.mean, np.float32)


def _read(path: Path) -> list[pillow.Image]:
    """The planes of a file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
            with pillow.open(path) as file:
                return _planes(file)
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


def _of_array(pixels: np.ndarray) -> list[pillow.Image]:
    """The planes of an array; refused where nobody can tell what its numbers mean."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise UserError(f"pixels must be [H, W] or [H, W, C] with 1, 3 or 4 channels, got {list(pixels.shape)}")
    if pixels.dtype == np.uint8:
        return _planes(pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    if not np.issubdtype(pixels.dtype, np.floating) or pixels.shape[2] == 4:
        raise UserError(f"pixels must be uint8, or floats of 1 or 3 channels, got {pixels.dtype} {list(pixels.shape)}")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 255):
        raise UserError(f"pixels must be 0..255, got values of {low:g}..{high:g}: is the mean taken off already?")
    if low < high <= 1:
        raise UserError(f"pixels must be 0..255, got values of {low:g}..{high:g}: multiply by 255")
    return [pillow.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in np.moveaxis(pixels, 2, 0)]


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


def _fit(plane: pillow.Image, sides: tuple[int, int], name: str) -> pillow.Image:
    """Scales a plane to cover (height, width) and takes the middle."""
    (width, height), (high, wide) = plane.size, sides
    shrink = min(height / high, width / wide)
    if shrink * MAX_ENLARGEMENT < 1:
        at_most = int(min(width, height) * MAX_ENLARGEMENT)
        raise UserError(
            f"{name}: {width}×{height} pixels are too few to be shown at {high if high == wide else f'{wide}×{high}'}: "
            f"take a larger picture, or a size of at most {at_most}"
        )
    across, down = min(wide * shrink, width), min(high * shrink, height)  # products may round up
    left, top = (width - across) / 2, (height - down) / 2
    scaled = plane.resize((wide, high), pillow.Resampling.BILINEAR, box=(left, top, left + across, top + down))
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
        UserError: a suffix that Pillow cannot write, a batch, or other than 1 or 3 channels.
        OSError: the file cannot be written.
    """
    if np.ndim(image) != 3 or np.shape(image)[2] not in (1, 3):
        advice = (
            "write each of a batch by itself, image[0], image[1] …" if np.ndim(image) == 4 else "1 and 3 can be saved"
        )
        raise UserError(f"{path}: a picture is [H, W, 1] or [H, W, 3], got {list(np.shape(image))}: {advice}")
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
