"""What the positions of a feature see of the picture, measured: for networks that no table describes."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from invjax.types import Layer, Representation

ENLARGED = 3  # times that the picture may be doubled until a field lies inside of it


def placed(phi: Representation) -> Representation:
    """The same Φ, whose own layer knows what it sees.

    Args:
        phi: of a network; what its layer sees is measured if it is not known yet, by up to some hundred forward passes.

    Returns:
        phi with that layer of `origin.layers` filled in. What does not pass NaN on, a comparison say, stays unknown.
    """
    if not any(layer.name == phi.layer and layer.window is None for layer in phi.origin.layers):
        return phi
    found = measure(phi)
    layers = tuple(found if layer.name == phi.layer else layer for layer in phi.origin.layers)
    return dataclasses.replace(phi, origin=dataclasses.replace(phi.origin, layers=layers))


def measure(phi: Representation) -> Layer:
    """What the positions of phi's feature see: rows of the picture are NaN, and so is what has seen them.

    Two neighbours in the middle are looked at, which are taken for typical; what rows and columns differ in is not
    known. A field that is cut off by the border of every picture that phi takes is the whole picture.

    Returns:
        phi's layer; see `types.Layer` for what is not known.
    """
    whole = Layer(phi.layer, 0, 0, 0)
    for doubled in range(1 if phi.input.fixed else ENLARGED):
        side = phi.input.size * 2**doubled
        try:
            shape = phi.feature_shape((side, side, phi.input.channels))
        except Exception:  # of a network of the user's, which takes its own size only
            return Layer(phi.layer)
        if not isinstance(shape, tuple) or len(shape) != 3 or min(shape[:2]) < 2:
            return whole
        rows, columns = (_measure_along(phi, axis, side, shape[axis]) for axis in (0, 1))
        if rows is None or rows != columns:
            return Layer(phi.layer)
        if rows.window:
            return rows
    return whole


def _measure_along(phi: Representation, axis: int, side: int, positions: int) -> Layer | None:
    """What positions see along an axis; a window of 0 where the border cuts it, None where NaN does not tell."""
    reached = _reached(phi, axis, side)
    first, second = positions // 2 - 1, positions // 2
    if reached(0, 0, first) or not reached(0, side, first):
        return None
    (begin, end), (next_begin, next_end) = (_window(reached, side, position) for position in (first, second))
    if begin == 0 or next_end == side:
        return Layer(phi.layer, 0, 0, 0)
    stride = next_begin - begin
    return Layer(phi.layer, begin - first * stride, end - begin, stride)


def _window(reached: Callable[[int, int, int], bool], side: int, position: int) -> tuple[int, int]:
    """The first row that a position sees, and the one behind the last."""
    begin = bisect.bisect_left(range(side), True, key=lambda row: reached(0, row + 1, position))
    end = bisect.bisect_left(range(side), True, key=lambda row: not reached(row, side, position))
    return begin, end


def _reached(phi: Representation, axis: int, side: int) -> Callable[[int, int, int], bool]:
    """Whether rows first..last − 1 of the picture, being NaN, make a position NaN."""
    noise = np.random.default_rng(0).uniform(-100, 100, (side, side, phi.input.channels)).astype(np.float32)
    rows = np.arange(side).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))

    @jax.jit
    def seen(phi: Representation, first: int, last: int) -> jax.Array:
        feature = phi.apply(phi.params, jnp.where((first <= rows) & (rows < last), jnp.nan, noise))
        return jnp.isnan(feature).any((1 - axis, 2))

    return lambda first, last, position: bool(seen(phi.bare, first, last)[position])
