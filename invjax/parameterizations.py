"""Parameterizations: the numbers that are optimised, and the picture u they stand for.

Descent takes the steps that its variables make easy: pixels favour noise, Fourier coefficients in natural proportions
favour smooth shapes, an untrained network favours what convolutions draw. A parameterization is three functions, made
by a factory for pictures of one shape. Equal arguments give the same object, so that jit does not compile it twice.
Pictures are in units of σ (see `objective`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from invjax import images, named
from invjax.errors import UserError, one_line
from invjax.types import Array, Image, InputSpec, Params

Shape: TypeAlias = tuple[int, int, int]

# Colours of ImageNet: columns are grey, red against blue, and green against red and blue, each as long as its standard
# deviation; rows are R, G, B. From lucid (optvis/param/color.py), explained in Olah et al., Distill 2017.
COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])

NOISE_CHANNELS = 8  # of what an untrained network is shown
SLOPE = 0.2  # of its leaky ReLUs below zero, as in the program of Ulyanov et al.


@dataclasses.dataclass(frozen=True)
class Parameterization:
    """Pictures as functions of something else: static, hashable, for pictures of one shape.

    Attributes:
        start: key → params at random, of which `decode` makes a picture of norm one.
        decode: params → u, float32 [H, W, C] in units of σ; differentiable.
        encode: u → params with decode(encode(u)) = u; None where not every picture has params.
    """

    start: Callable[[Array], Params]
    decode: Callable[[Params], Image]
    encode: Callable[[Image], Params] | None


def pixels(image_shape: Sequence[int]) -> Parameterization:
    """The picture itself; it starts as Gaussian noise.

    Args:
        image_shape: [H, W, C].

    Returns:
        Its params are u, float32 [H, W, C].

    Raises:
        UserError: image_shape is no shape of a picture.

    Source: Mahendran & Vedaldi, CVPR 2015, section 3.
    """
    return _pixels(_checked(image_shape))


@functools.cache
def _pixels(shape: Shape) -> Parameterization:
    return Parameterization(functools.partial(_noise, shape=shape), _same, _same)


def _noise(key: Array, shape: Shape) -> Array:
    values = jax.random.normal(key, shape, jnp.float32)
    return values / jnp.linalg.norm(values)


def _same(u: Image) -> Image:
    return u


def fourier(image_shape: Sequence[int], decay: float = 1.0, decorrelate: bool = False) -> Parameterization:
    """Fourier coefficients, scaled by 1 / frequency^decay: steps of one size are in the proportions of pictures.

    The coefficients are those of Hartley's transform, which is Fourier's in real numbers, Re − Im: there are as many
    as pixels, they are orthonormal, the transform is its own inverse, and white ones are white in Fourier's, too. The
    scale has a root mean square of one, so that pictures have the norm of white params, on average.

    Args:
        image_shape: [H, W, C].
        decay: exponent 0..4; natural pictures have 1. Frequencies (cycles per pixel) below 1 / max(H, W) count as it.
        decorrelate: whether params are of uncorrelated colours, mixed as they are in ImageNet; needs RGB.

    Returns:
        Its params are float32 [H, W, C], starting as scaled Gaussian noise. `encode` is exact to rounding.

    Raises:
        UserError: decay out of range, or decorrelate with other than 3 channels.

    Source: Olah, Mordvintsev & Schubert, Feature Visualization, Distill 2017, and their program lucid; Bracewell,
    The Discrete Hartley Transform, 1983.
    """
    shape = _checked(image_shape)
    if not 0 <= decay <= 4:
        raise UserError(f"the parameterization 'fourier' needs a decay from 0 to 4, got {decay}")
    if decorrelate and shape[2] != 3:
        raise UserError(f"decorrelate is for RGB pictures of 3 channels, got {shape[2]}: leave it out")
    return _fourier(shape, float(decay), bool(decorrelate))


@functools.cache
def _fourier(shape: Shape, decay: float, decorrelate: bool) -> Parameterization:
    gain = _frequencies(shape[0], shape[1]) ** -decay
    gain = (gain / np.sqrt(np.mean(gain**2))).astype(np.float32)[..., None]
    mix = COLOURS / np.sqrt(np.sum(COLOURS**2) / 3) if decorrelate else np.eye(shape[2])
    mixed, unmixed = (functools.partial(_mixed, matrix=matrix) for matrix in (mix, np.linalg.inv(mix)))

    def decode(params: Params) -> Image:
        return mixed(_hartley(gain * params))

    def encode(u: Image) -> Params:
        return _hartley(unmixed(u)) / gain

    def start(key: Array) -> Params:
        params = jax.random.normal(key, shape, jnp.float32)
        return params / jnp.linalg.norm(decode(params))

    return Parameterization(start, decode, encode)


def _frequencies(height: int, width: int) -> np.ndarray:
    """Cycles per pixel of each coefficient of fft2, float64 [H, W], at least 1 / max(H, W)."""
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    return np.maximum(frequencies, 1 / max(height, width))


def _hartley(values: Array) -> Array:
    """Hartley's transform over rows and columns, orthonormal: its own inverse."""
    spectrum = jnp.fft.fft2(values, axes=(0, 1), norm="ortho")
    return spectrum.real - spectrum.imag


def _mixed(values: Array, matrix: np.ndarray) -> Array:
    """The colours of each pixel times a matrix [C, C]; nothing is computed for the identity."""
    if np.array_equal(matrix, np.eye(len(matrix))):
        return values
    return jnp.einsum("dc,ijc->ijd", matrix.astype(np.float32), values, precision=lax.Precision.HIGHEST)


def magnitude_of(pictures: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The mean magnitude of the spectra of pictures, for `phase`.

    Args:
        pictures: [N, H, W, C] or a sequence of [H, W, C], N ≥ 1, minus their mean colour; any unit.

    Returns:
        float32 [H, W//2+1, C], the magnitudes of an orthonormal rfft2.

    Raises:
        UserError: no pictures, pictures of several shapes, or values that are not finite.
    """
    shapes = {np.shape(picture) for picture in pictures}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise UserError(f"magnitude_of needs pictures of one shape [H, W, C], got {sorted(shapes)}")
    spectra = np.fft.rfft2(np.asarray(pictures, np.float64), axes=(1, 2), norm="ortho")
    if not np.isfinite(spectra).all():
        raise UserError("magnitude_of needs finite pictures: some value is infinite or not a number")
    return np.mean(np.abs(spectra), axis=0).astype(np.float32)


def magnitude_of_files(pictures: str | Sequence[str], image_shape: Sequence[int]) -> np.ndarray:
    """`magnitude_of` files, minus the mean colour of all of them.

    Args:
        pictures: one or more files, folders or glob patterns.
        image_shape: [H, W, C]; each picture is scaled to cover it, and the middle is taken.

    Returns:
        As of `magnitude_of`.

    Raises:
        UserError: no pictures, or one that cannot be read.
    """
    files = _found(pictures)
    versions = tuple((path, path.stat().st_mtime_ns if path.is_file() else 0) for path in files)
    return _magnitude_of_files(versions, _checked(image_shape))


def _found(pictures: str | Sequence[str]) -> list[Path]:
    patterns = [pictures] if isinstance(pictures, str) else pictures
    if not (isinstance(patterns, Sequence) and patterns and all(isinstance(pattern, str) for pattern in patterns)):
        raise UserError(f"pictures must be files, folders or patterns, got {one_line(repr(pictures))}")
    return list(dict.fromkeys(path for pattern in patterns for path in images.expand(pattern)))


def files_of(text: str) -> list[Path]:
    """The pictures that the options of a name point at, as in "phase(pictures='photos')": what it depends on."""
    asked = named.parse(text)
    if named.is_path(asked.name) or "pictures" not in asked.kwargs:
        return []
    return _found(asked.kwargs["pictures"])


@functools.lru_cache(maxsize=16)
def _magnitude_of_files(versions: tuple[tuple[Path, int], ...], shape: Shape) -> np.ndarray:
    spec = InputSpec(shape[2], (0.0,) * shape[2])
    colours, magnitudes = [], np.zeros((shape[0], shape[1] // 2 + 1, shape[2]), np.float32)
    for path, _ in versions:  # one at a time: there may be thousands
        picture = images.load_image(path, spec, shape[:2])
        colours.append(picture.mean((0, 1)))
        magnitudes += magnitude_of([picture]) / len(versions)
    # the mean colour is in the first coefficient only
    magnitudes[0, 0] = math.sqrt(math.prod(shape[:2])) * np.abs(colours - np.mean(colours, axis=0)).mean(axis=0)
    return magnitudes


def phase(
    image_shape: Sequence[int], magnitude: Any = None, pictures: str | Sequence[str] | None = None
) -> Parameterization:
    """Phases of Fourier coefficients whose magnitudes are fixed: contrast and sharpness cannot run away.

    Up to four coefficients are their own mirror images, the mean and those of the highest frequencies of even sides.
    They must be real, magnitude · cos(phase), so that their magnitude is an upper bound. They start at zero, from
    where descent is free to go either way. All other magnitudes are kept whatever the params.

    Args:
        image_shape: [H, W, C], sides of at least 3.
        magnitude: [H, W//2+1, C] ≥ 0, as `magnitude_of` makes it of pictures; None: 1 / frequency, the mean of natural
            pictures. Only proportions count: all is scaled so that the start has norm one.
        pictures: instead of a magnitude, files, folders or glob patterns of pictures that have it, see
            `magnitude_of_files`.

    Returns:
        Its params are phases in radians, float32 [H, W//2+1, C], uniform at the start. In the first column, and the
        last one of an even width, rows of negative frequency have no effect: they mirror the positive ones.

    Raises:
        UserError: sides too short; a magnitude of another shape, negative, not finite, or zero but for the mean;
            pictures that cannot be read; both.

    Source: Fel et al., Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization
    (MACO), NeurIPS 2023.
    """
    shape = _checked(image_shape)
    if min(shape[:2]) < 3:
        raise UserError(f"the parameterization 'phase' needs sides of at least 3 pixels, got {shape[0]}×{shape[1]}")
    half = (shape[0], shape[1] // 2 + 1, shape[2])
    if pictures is not None:
        if magnitude is not None:
            raise UserError("phase takes a magnitude or pictures that have it, not both")
        magnitude = magnitude_of_files(pictures, shape)
    if magnitude is None:
        magnitude = np.broadcast_to(1 / _frequencies(*shape[:2])[:, : half[1], None], half)
    values = np.asarray(magnitude, np.float32)
    if values.shape != half:
        raise UserError(f"a picture {list(shape)} has magnitudes of shape {list(half)}, got {list(values.shape)}")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise UserError("magnitudes must be finite and at least 0: take those of magnitude_of(pictures)")
    if not values[~(_own_mirrors(*shape[:2]) | _mirrored(*shape[:2]))].any():
        raise UserError("magnitudes are all zero but for the mean: flat pictures have no phases")
    return _phase(shape, values.tobytes())


@functools.lru_cache(maxsize=64)  # of magnitudes of any size
def _phase(shape: Shape, magnitudes: bytes) -> Parameterization:
    height, width, channels = shape
    fixed = np.frombuffer(magnitudes, np.float32).reshape(height, width // 2 + 1, channels)
    own, mirrored = _own_mirrors(height, width)[..., None], _mirrored(height, width)[..., None]
    fixed = np.where(mirrored, fixed[-np.arange(height)], fixed)
    imaginary = np.where(own, 0, fixed)
    # every coefficient but those of the own columns stands for its mirror image as well
    twice = np.where(_own_columns(width)[:, None], 1, 2)
    norm = np.sqrt(np.sum(twice * imaginary.astype(np.float64) ** 2))
    real, imaginary = ((part / norm).astype(np.float32) for part in (fixed, imaginary))

    def decode(params: Params) -> Image:
        angle = jnp.where(mirrored, -jnp.roll(jnp.flip(params, 0), 1, 0), params)
        spectrum = lax.complex(real * jnp.cos(angle), imaginary * jnp.sin(angle))
        return jnp.fft.irfft2(spectrum, s=(height, width), axes=(0, 1), norm="ortho")

    def start(key: Array) -> Params:
        angles = jax.random.uniform(key, fixed.shape, jnp.float32, -math.pi, math.pi)
        return jnp.where(own, math.pi / 2, angles)

    return Parameterization(start, decode, None)


def _own_columns(width: int) -> np.ndarray:
    """Which columns of an rfft2 are their own mirror images, bool [W//2+1]."""
    return 2 * np.arange(width // 2 + 1) % width == 0


def _own_mirrors(height: int, width: int) -> np.ndarray:
    """Which coefficients of an rfft2 are their own mirror images, and thereby real, bool [H, W//2+1]."""
    return (2 * np.arange(height)[:, None] % height == 0) & _own_columns(width)


def _mirrored(height: int, width: int) -> np.ndarray:
    """Which coefficients of an rfft2 are the conjugate of one in an earlier row, bool [H, W//2+1]."""
    return (np.arange(height)[:, None] > height / 2) & _own_columns(width)


class Hourglass(nn.Module):
    """A convolutional encoder and decoder, joined at every scale.

    Attributes:
        features: channels inside.
        depth: how often the encoder halves the sides.
        channels: of the picture.
    """

    features: int
    depth: int
    channels: int

    @nn.compact
    def __call__(self, values: Array) -> Array:
        """Of noise [H, W, N] a picture [H, W, channels]; the layer `picture`, the last one, is linear."""
        passed = []
        for _ in range(self.depth):
            passed.append(values)
            values = self._block(values, stride=2)
        for finer in reversed(passed):
            larger = jax.image.resize(values, (*finer.shape[:2], values.shape[2]), "bilinear")
            values = self._block(jnp.concatenate([larger, finer], axis=-1))
        return nn.Conv(self.channels, (1, 1), name="picture")(values)

    def _block(self, values: Array, stride: int = 1) -> Array:
        values = nn.Conv(self.features, (3, 3), strides=stride, padding="REFLECT", use_bias=False)(values)
        # over the picture: the batch of a batch normalisation is one
        return nn.leaky_relu(nn.LayerNorm(reduction_axes=(0, 1), use_fast_variance=False)(values), SLOPE)


def network(image_shape: Sequence[int], features: int = 32, depth: int = 4) -> Parameterization:
    """Weights of an untrained network, which draws the picture from noise that never changes (deep image prior).

    It is a small relative of the paper's: an encoder that halves the sides `depth` times, and a decoder that doubles
    them and sees what the encoder saw, of 3×3 convolutions throughout. Its last layer is linear: it starts with a
    picture of mean zero and norm one, and may leave any range. It draws pixels of size one, which are divided by the
    root of their number, so that weights, and the rates that suit them, do not depend on the size of the picture.

    Args:
        image_shape: [H, W, C], sides of at least 2^(depth + 1).
        features: channels inside, ≥ 1.
        depth: halvings, ≥ 1.

    Returns:
        Its params are the weights, a dict of float32 arrays as Flax makes them.

    Raises:
        UserError: features or depth below 1, or sides too short for that depth.

    Source: Ulyanov, Vedaldi & Lempitsky, Deep Image Prior, CVPR 2018 and IJCV 2020.
    """
    shape = _checked(image_shape)
    if features < 1 or depth < 1:
        raise UserError(f"a network needs features and depth of at least 1, got {features} and {depth}")
    if min(shape[:2]) < 2 ** (depth + 1):
        raise UserError(
            f"a network of depth {depth} needs sides of at least {2 ** (depth + 1)} pixels, got {shape[0]}×{shape[1]}: "
            "take a smaller depth"
        )
    return _network(shape, int(features), int(depth))


@functools.cache
def _network(shape: Shape, features: int, depth: int) -> Parameterization:
    model = Hourglass(features, depth, shape[2])
    # NumPy's own generator: the same noise in every process, on every device
    noise = np.random.default_rng(0).uniform(-1, 1, (*shape[:2], NOISE_CHANNELS)).astype(np.float32)
    scale = math.sqrt(math.prod(shape))

    def decode(params: Params) -> Image:
        return cast(Image, model.apply({"params": params}, noise)) / scale

    def start(key: Array) -> Params:
        params = _weights(key, jax.eval_shape(model.init, key, noise)["params"])
        u = decode(params)
        mean = jnp.mean(u, axis=(0, 1))
        norm = jnp.linalg.norm(u - mean)
        last = {"kernel": params["picture"]["kernel"] / norm, "bias": -mean * scale / norm}
        return params | {"picture": last}

    return Parameterization(start, decode, None)


def _weights(key: Array, shapes: Params) -> Params:
    """Weights of those shapes at random, all cut from one draw: each draw takes the compiler half a second."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    sizes = [leaf.size for _, leaf in leaves]
    draws = jnp.split(jax.random.normal(key, (sum(sizes),), jnp.float32), np.cumsum(sizes)[:-1])
    weights = [
        _weight(path[-1].key, draw.reshape(leaf.shape)) for draw, (path, leaf) in zip(draws, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, weights)


def _weight(name: str, draw: Array) -> Array:
    """Kernels by He's rule, scales of one and biases of zero."""
    if name == "kernel":
        return draw * math.sqrt(2 / math.prod(draw.shape[:-1]))
    return jnp.ones_like(draw) if name == "scale" else jnp.zeros_like(draw)


def _checked(image_shape: Sequence[int]) -> Shape:
    """Three positive whole numbers as a tuple; raises UserError for anything else."""
    try:
        height, width, channels = map(operator.index, image_shape)
    except (TypeError, ValueError):
        raise UserError(f"image_shape must be three whole numbers, [H, W, C], got {image_shape}") from None
    if min(height, width, channels) < 1:
        raise UserError(f"image_shape must be at least 1 in all of [H, W, C], got {list(image_shape)}")
    return height, width, channels


PARAMETERIZATIONS: dict[str, Callable[..., Parameterization]] = {
    "pixels": pixels,
    "fourier": fourier,
    "phase": phase,
    "network": network,
}


def get(chosen: str | Parameterization, image_shape: Sequence[int]) -> Parameterization:
    """A parameterization by name for pictures of one shape, or the user's own.

    Args:
        chosen: one of `PARAMETERIZATIONS`, as in "fourier(decay=1.5)"; "my_file.py:make", a factory that takes
            image_shape and options; or a Parameterization.
        image_shape: [H, W, C].

    Raises:
        UserError: unknown name, unknown option, a value out of range, or no parameterization.
    """
    made = chosen
    if isinstance(chosen, str):
        made = named.make("parameterization", chosen, PARAMETERIZATIONS, _checked(image_shape))
    if not isinstance(made, Parameterization):
        what = chosen if isinstance(chosen, str) else "parameterization"
        raise UserError(f"{what} must be a Parameterization, or its name, got {one_line(repr(made))}")
    return named.check_hashable("parameterization", made)
