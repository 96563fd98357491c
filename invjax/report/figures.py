"""What the page shows: pictures as data URIs, error maps, loss curves."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image as pillow

COLORMAP = "magma"
THUMBNAIL = 192  # pixels, the longer side
JPEG_QUALITY = 80

# Qualitative colours after Paul Tol, of middling lightness: legible on white and on black.
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccaa33", "#44aacc", "#aa4499", "#ee8844", "#888888")
CURVE_INCHES = (3.1, 1.75)
CURVE_POINTS = tuple(round(72 * inches) for inches in CURVE_INCHES)
INK, GRID = "#010203", "#040506"  # stand-ins, replaced by the page's own colours: light or dark

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
        thumbnail: a small JPEG instead of the file as it is.

    Returns:
        The picture.

    Raises:
        Exception: the file is damaged; decoders raise whatever they like.
    """
    with pillow.open(io.BytesIO(data)) as image:
        image.load()
        kind = image.get_format_mimetype() or "image/png"
        if thumbnail:
            data, kind = _jpeg(image), "image/jpeg"
        return Picture(_data_uri(data, kind), *image.size, stretch=_stretch(image))


def _stretch(image: pillow.Image) -> str:
    """brightness(b) contrast(c) maps v to c·b·v + (1 − c)/2; b and c that take the range to 0..1, without clipping."""
    pixels = np.asarray(image.convert("RGB"))
    low, high = float(pixels.min()) / 255, float(pixels.max()) / 255
    if low == high:
        return ""
    return f"brightness({1 / (high + low):.4f}) contrast({1 + 2 * low / (high - low):.4f})"


def _jpeg(image: pillow.Image) -> bytes:
    small = image.convert("L" if image.mode == "L" else "RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def error_map(data: bytes) -> Picture | None:
    """Draws the feature error of each position: one pixel each, coloured from 0 to 1; worse than 1 is drawn as 1.

    Args:
        data: content of a reconstruction's .npz.

    Returns:
        The map, or None for features without positions.

    Raises:
        Exception: the file is damaged.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        values = arrays["error_map"] if "error_map" in arrays.files else None
    return None if values is None else _colored(values)


def color_bar() -> Picture:
    """The colours of `error_map` from 0 to 1, one pixel high."""
    return _colored(np.linspace(0, 1, 256)[None])


def _colored(values: np.ndarray) -> Picture:
    if values.ndim != 2 or not values.size:
        raise ValueError(f"an error map has positions [h, w], this has shape {list(values.shape)}")
    worst_if_nan = np.nan_to_num(values.astype(np.float64), nan=1.0)
    image = pillow.fromarray(np.round(255 * np.clip(worst_if_nan, 0, 1)).astype(np.uint8))
    image.putpalette(matplotlib.colormaps[COLORMAP](np.arange(256), bytes=True)[:, :3].tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return Picture(_data_uri(buffer.getvalue(), "image/png"), *image.size)


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def color(restart: int) -> str:
    """The colour of a restart in loss curves."""
    return COLORS[restart % len(COLORS)]


def loss_curve(lines: Sequence[tuple[np.ndarray, np.ndarray, str]], prefix: str) -> str:
    """Draws one term of the objective against the step, in logarithmic scale.

    Args:
        lines: (steps, values, colour) of each restart; values that are not finite or not positive are left out.
        prefix: of the ids inside, different for every curve of a page.

    Returns:
        The inside of an <svg> of CURVE_POINTS, in the page's colours.
    """
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "invjax",  # the same run gives the same page
        "font.size": 8,
        "text.color": INK,
        "axes.edgecolor": GRID,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": GRID,
    }
    buffer = io.StringIO()
    with matplotlib.rc_context(style):
        figure = Figure(figsize=CURVE_INCHES)
        _draw(figure.add_axes((0.15, 0.23, 0.82, 0.72)), lines)
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format")))
    return _inside(buffer.getvalue(), prefix)


def _draw(axes: Axes, lines: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("step")
    axes.tick_params(left=False, bottom=False)
    visible = [np.where(np.isfinite(values) & (values > 0), values, np.nan) for _, values, _ in lines]
    positive = np.concatenate([values[~np.isnan(values)] for values in visible])
    if not positive.size:
        finite = any(np.isfinite(values).any() for _, values, _ in lines)
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "zero throughout" if finite else "not finite", ha="center", transform=axes.transAxes)
        return
    for (steps, _, line_color), values in zip(lines, visible, strict=True):
        alone = np.count_nonzero(~np.isnan(values)) == 1  # a line through one point is invisible
        axes.plot(steps, values, color=line_color, linewidth=1.3, marker="." if alone else None)
    axes.set_yscale("log")
    axes.set_ylim(*_decades(positive))
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", linewidth=0.6)


def _decades(positive: np.ndarray) -> tuple[float, float]:
    """Limits at powers of ten, so that even a flat line has two labels beside it."""
    low, high = math.floor(np.log10(positive.min())), math.ceil(np.log10(positive.max()))
    return 10.0**low, 10.0 ** max(high, low + 1)


def power_of_ten(value: float) -> str:
    """A power of ten in a few letters: 0.01, 100, 10⁻⁶."""
    exponent = round(math.log10(value))
    return f"{value:g}" if -4 < exponent < 4 else f"10{str(exponent).translate(SUPERSCRIPTS)}"


def _inside(svg: str, prefix: str) -> str:
    """What lies between <svg> and </svg>, without names of groups and fonts, and with ids that no other figure has."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r'font-family: [^;"]*; | transform="rotate\(-0 [^"]*"', "", body)  # half of it, and no use
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", body)
    return body.replace(INK, "currentColor").replace(GRID, "var(--line)")
