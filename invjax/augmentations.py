"""Augmentations: small random changes of the picture, new in every step, before Φ sees it.

What must look right wherever it stands, at any size and angle, cannot hide in single pixels. An augmentation is a
function (key, u) → u of one picture float32 [H, W, C]; it keeps the shape, is differentiable and may be vmapped over
keys and pictures. A factory such as `jitter(4)` returns it; factories are cached, so that the same arguments give the
same function and jit does not compile it twice. What lies outside of the picture is taken to be like the nearest pixel
of its border.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import jax.scipy.ndimage
from jax import lax

from invjax import named
from invjax.errors import UserError
from invjax.types import Array, Image

Augmentation: TypeAlias = Callable[[Array, Image], Image]  # (key, u) → u
Augment: TypeAlias = str | Augmentation | Sequence[str | Augmentation]  # what `get` takes


@functools.cache
def jitter(pixels: int) -> Augmentation:
    """A random shift: the crop at one of T × T places of the picture enlarged by T − 1 pixels.

    The border is repeated to enlarge it. A circular shift would bring the opposite side next to it, an edge that no
    picture has, and that Φ would be matched with.

    Args:
        pixels: T ≥ 1, places along each side. The shift is uniform in −⌊(T − 1)/2⌋..⌊T/2⌋; T = 1 changes nothing.

    Returns:
        The augmentation.

    Raises:
        UserError: pixels is no whole number ≥ 1.

    Source: Mahendran & Vedaldi, IJCV 2016; there the picture that is optimised is the enlarged one.
    """
    if not (pixels >= 1 and pixels == int(pixels)):
        raise UserError(f"jitter needs a whole number of pixels, at least 1, got {pixels}")
    after = (int(pixels) - 1) // 2
    before = int(pixels) - 1 - after

    def augmentation(key: Array, u: Image) -> Image:
        enlarged = jnp.pad(u, ((before, after), (before, after), (0, 0)), mode="edge")
        top, left = jax.random.randint(key, (2,), 0, int(pixels))
        return lax.dynamic_slice(enlarged, (top, left, 0), u.shape)

    return augmentation


@functools.cache
def scale(lowest: float, highest: float) -> Augmentation:
    """A random enlargement around the centre, bilinear; half the size is as likely as twice.

    Args:
        lowest: least factor > 0; below 1 the picture shrinks, and its border is repeated around it.
        highest: greatest factor ≥ lowest. The logarithm of the factor is uniform in between.

    Returns:
        The augmentation.

    Raises:
        UserError: not 0 < lowest ≤ highest < ∞.

    Source: Olah, Mordvintsev & Schubert, Feature Visualization, Distill 2017.
    """
    if not 0 < lowest <= highest < math.inf:
        raise UserError(f"scale needs 0 < lowest ≤ highest, both finite, got {lowest} and {highest}")

    def augmentation(key: Array, u: Image) -> Image:
        factor = jnp.exp(jax.random.uniform(key, (), jnp.float32, math.log(lowest), math.log(highest)))
        return _window(u, 1 / factor, jnp.zeros(2))

    return augmentation


@functools.cache
def crop(fraction: float) -> Augmentation:
    """A random part of the picture, enlarged to its size, bilinear.

    Args:
        fraction: least share of each side, 0 < fraction ≤ 1. The share is uniform in fraction..1, the same for both
            sides, and so is the place, inside the picture. 1 changes nothing.

    Returns:
        The augmentation.

    Raises:
        UserError: fraction out of range.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"crop needs a fraction above 0 and at most 1, got {fraction}")

    def augmentation(key: Array, u: Image) -> Image:
        for_share, for_place = jax.random.split(key)
        share = jax.random.uniform(for_share, (), jnp.float32, fraction, 1.0)
        place = jax.random.uniform(for_place, (2,), jnp.float32, -0.5, 0.5)
        return _window(u, share, place * (1 - share))

    return augmentation


def _window(u: Image, share: Array, offset: Array) -> Image:
    """The part of a picture that is `share` of its sides, enlarged to its size.

    Args:
        u: [H, W, C].
        share: of each side, > 0; above 1 the window reaches beyond the picture.
        offset: [2], of the window's centre from the picture's, in sides.
    """
    rows, columns = (_interpolation(side, share, offset[axis]) for axis, side in enumerate(u.shape[:2]))
    # two products of matrices: unlike those of gathers, their derivatives have the same bits on every run
    return jnp.einsum("ih,hwc,jw->ijc", rows, u, columns, precision=lax.Precision.HIGHEST)


def _interpolation(side: int, share: Array, offset: Array) -> Array:
    """Weights [side, side] with which pixels of a window are made of those of the picture, along one axis."""
    centre = (side - 1) / 2
    places = centre + share * (jnp.arange(side) - centre) + offset * side
    distances = jnp.clip(places, 0, side - 1)[:, None] - jnp.arange(side)
    return jnp.maximum(1 - jnp.abs(distances), 0)


@functools.cache
def rotation(degrees: float) -> Augmentation:
    """A random rotation around the centre, bilinear.

    Args:
        degrees: greatest angle either way, 0..180; the angle is uniform. 0 changes nothing.

    Returns:
        The augmentation.

    Raises:
        UserError: degrees out of range.

    Source: Olah, Mordvintsev & Schubert, Feature Visualization, Distill 2017.
    """
    if not 0 <= degrees <= 180:
        raise UserError(f"rotation needs degrees from 0 to 180, got {degrees}")

    def augmentation(key: Array, u: Image) -> Image:
        angle = math.radians(degrees) * jax.random.uniform(key, (), jnp.float32, -1.0, 1.0)
        centre = [(side - 1) / 2 for side in u.shape[:2]]
        down, across = jnp.arange(u.shape[0])[:, None] - centre[0], jnp.arange(u.shape[1]) - centre[1]
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        places = [centre[0] + cosine * down - sine * across, centre[1] + sine * down + cosine * across]

        def turned(channel: Array) -> Array:
            return jax.scipy.ndimage.map_coordinates(channel, places, order=1, mode="nearest")

        return jax.vmap(turned, in_axes=-1, out_axes=-1)(u)

    return augmentation


@functools.lru_cache(maxsize=256)  # some may be the user's
def compose(*augmentations: Augmentation) -> Augmentation:
    """One augmentation after the other, the first one first, each with a key of its own.

    Args:
        *augmentations: any number; none changes nothing.

    Returns:
        The augmentation.
    """

    def augmentation(key: Array, u: Image) -> Image:
        for index, each in enumerate(augmentations):
            u = each(jax.random.fold_in(key, index), u)
        return u

    return augmentation


AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
    "jitter": jitter,
    "scale": scale,
    "rotation": rotation,
    "crop": crop,
}


def get(chosen: Augment) -> Augmentation:
    """An augmentation by name, or the user's own.

    Args:
        chosen: one of `AUGMENTATIONS`, as in "jitter(pixels=8)"; "my_file.py:name", with brackets a factory of an
            augmentation; a function (key, u) → u; several of these in a sequence, or several texts joined by " + ",
            as in "jitter(8) + rotation(5)": one after the other, see `compose`.

    Raises:
        UserError: unknown name, an option unknown or missing, a value out of range, or no function.
    """
    parts = named.split(chosen) if isinstance(chosen, str) else chosen
    several = [parts] if callable(parts) or not isinstance(parts, Sequence) else parts
    functions = [named.function("augment", part, AUGMENTATIONS) for part in several]
    return functions[0] if len(functions) == 1 else compose(*functions)
