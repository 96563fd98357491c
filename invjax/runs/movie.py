"""How a picture came about: frames of the descent, as an animated WebP."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from invjax import images
from invjax.types import InputSpec

QUALITY = 60  # of WebP: 41 frames of 227×227×3 take 200 to 300 kB, most of it the noise of the first ones
LAST_SECONDS = 1.0  # for which the finished picture stands still


def frame(u: np.ndarray, objective_scale: float, spec: InputSpec) -> np.ndarray:
    """A state of the descent as pixels, each frame stretched to the full range.

    The noise of the start spans two to four times the grey levels of the finished picture. In true values the picture
    therefore fades to grey as it becomes clear, and in the range of the last frame most of the beginning is clipped;
    stretched one by one, frames gain contrast as they gain structure, and the last one looks as in the report.

    Args:
        u: float32 [H, W, C], in units of σ.
        objective_scale: σ, grey levels.
        spec: of the representation, `phi.input`.

    Returns:
        uint8 [H, W, C].
    """
    return images.to_pixels(objective_scale * np.asarray(u), spec, stretch=True)


def frames_to_webp(frames: np.ndarray, seconds: float = 3.0) -> bytes:
    """An animation that loops and stands still on the last frame for a second.

    Args:
        frames: uint8 [points, H, W, C], C 1 or 3, from noise to the finished picture.
        seconds: of the way there.

    Returns:
        The bytes of a WebP file. Frames that hardly differ are one that stands longer.
    """
    pictures = [Image.fromarray(pixels) for pixels in np.broadcast_to(frames, (*frames.shape[:-1], 3))]
    moving = max(1, round(1000 * seconds / max(1, len(pictures) - 1)))
    durations = [moving] * (len(pictures) - 1) + [round(1000 * LAST_SECONDS)]
    file = io.BytesIO()
    settings = {"duration": durations, "loop": 0, "quality": QUALITY, "method": 4}
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], **settings)
    return file.getvalue()
