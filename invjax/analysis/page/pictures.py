"""What the page holds of pictures and error maps: data URIs, and bytes that the browser colours."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pillow

THUMBNAIL = 256  # pixels, the longer side
WEBP_QUALITY = 75
WEBP_EFFORT = 2  # of 6; more takes twice the time for a twentieth of the bytes
MAP_SIDE = 64  # larger error maps are averaged in blocks
ERROR_COLORS = "magma"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        uri: all of it, or a thumbnail, as a data URI.
        width: of the picture, pixels.
        height: of the picture, pixels.
        stretch: the CSS filter that shows its darkest value black and its brightest white; "" where it has no range.
    """

    uri: str
    width: int
    height: int
    stretch: str = ""


def picture(data: bytes, thumbnail: bool) -> Picture:
    """Puts a picture file into the page.

    Args:
        data: content of the file.
        thumbnail: a small WebP instead of the file as it is.

    Returns:
        The picture.

    Raises:
        Exception: the file is damaged; decoders raise whatever they like.
    """
    with pillow.open(io.BytesIO(data)) as image:
        image.load()
        kind = image.get_format_mimetype() or "image/png"
        if thumbnail:
            data, kind = _webp(image), "image/webp"
        return Picture(_data_uri(data, kind), *image.size, stretch=_stretch(image))


def _stretch(image: pillow.Image) -> str:
    """brightness(b) contrast(c) maps v to c·b·v + (1 − c)/2; b and c that take the range to 0..1, without clipping."""
    ranges = np.reshape(image.convert("RGB").getextrema(), (3, 2)) / 255
    low, high = ranges[:, 0].min(), ranges[:, 1].max()
    if low == high:
        return ""
    return f"brightness({1 / (high + low):.4f}) contrast({1 + 2 * low / (high - low):.4f})"


def _webp(image: pillow.Image) -> bytes:
    small = image.convert("L" if image.mode == "L" else "RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT)
    return buffer.getvalue()


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def error_map(path: Path) -> dict[str, Any] | None:
    """The feature error of each position, from 0 to 1; worse than 1 is shown as 1.

    Args:
        path: a reconstruction's .npz.

    Returns:
        shape [h, w] and base64 of as many bytes, of which 255 stands for `top`, the greatest of them, and their
        `mean`; None for features without positions.

    Raises:
        Exception: the file is damaged.
    """
    with np.load(path, allow_pickle=False) as arrays:
        values = arrays["error_map"] if "error_map" in arrays.files else None
    if values is None:
        return None
    if values.ndim != 2 or not values.size:
        raise ValueError(f"an error map has positions [h, w], this has shape {list(values.shape)}")
    values = in_blocks(np.clip(np.nan_to_num(values.astype(np.float64), nan=1.0), 0, 1))
    top = values.max()
    levels = np.round(255 * values / (top or 1)).astype(np.uint8)
    text = base64.b64encode(levels.tobytes()).decode()
    return {
        "shape": list(values.shape),
        "top": float(f"{top:.4g}"),
        "mean": float(f"{values.mean():.4g}"),
        "bytes": text,
    }


def in_blocks(values: np.ndarray) -> np.ndarray:
    """Means of square blocks, as few as leave at most MAP_SIDE positions on a side.

    Args:
        values: float [h, w].

    Returns:
        float [⌈h/block⌉, ⌈w/block⌉]; blocks at the end may have fewer positions.
    """
    block = -(-max(values.shape) // MAP_SIDE)
    for axis in (0, 1):
        starts = np.arange(0, values.shape[axis], block)
        counts = np.diff([*starts, values.shape[axis]])
        sums = np.add.reduceat(values, starts, axis=axis)
        values = sums / np.expand_dims(counts, 1 - axis)
    return values


def palette(name: str = ERROR_COLORS) -> np.ndarray:
    """256 colours of Matplotlib from the least to the greatest value, uint8 [256, 3]."""
    import matplotlib

    return np.asarray(matplotlib.colormaps[name](np.arange(256), bytes=True))[:, :3]
