"""Kinds of layers: small Flax modules on a batch of features [N, H, W, C].

A layer's `geometry` is how far it sees: window, stride and padding in positions of its input. Layers compute in the
type of what they are given, float32 or bfloat16; those that multiply have a `precision` for products of float32.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from invjax.networks import ops
from invjax.types import Array


class Geometry(NamedTuple):
    """Positions of the input that a position of the output sees: `window` ones, `stride` apart, after `pad`."""

    window: int = 1
    stride: int = 1
    pad: int = 0


class Conv(nn.Module):
    """A convolution with bias.

    Attributes:
        features: output channels.
        window: side of the kernel.
        stride, pad, groups: see `ops.conv`.
    """

    features: int
    window: int
    stride: int = 1
    pad: int = 0
    groups: int = 1
    precision: lax.Precision = ops.EXACT

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[N, H, W, I] → [N, h, w, features]."""
        shape = (self.window, self.window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        prepared: tuple[Any, ...] = self.get_variable("prepared", "kernels") or self.prepare(kernel.astype(x.dtype))
        return ops.conv(x, prepared, self.window, self.stride, self.pad, self.precision) + bias.astype(x.dtype)

    def prepare(self, kernel: Array) -> tuple[Any, ...]:
        """See `ops.prepare`."""
        return ops.prepare(kernel, self.stride, self.groups)

    def geometry(self) -> Geometry:
        """See Geometry."""
        return Geometry(self.window, self.stride, self.pad)


class Dense(nn.Module):
    """A fully connected layer with bias, on everything flattened as [H, W, C]."""

    features: int
    precision: lax.Precision = ops.EXACT

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[N, …] → [N, features]."""
        kernel = self.param("kernel", nn.initializers.he_normal(), (math.prod(x.shape[1:]), self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return ops.dense(x, kernel.astype(x.dtype), self.precision) + bias.astype(x.dtype)


class Relu(nn.Module):
    """max(x, 0)."""

    def __call__(self, x: Array) -> Array:
        """Same shape."""
        return nn.relu(x)


class MaxPool(nn.Module):
    """Max pooling at Caffe's positions."""

    window: int = 3
    stride: int = 2

    def __call__(self, x: Array) -> Array:
        """[N, H, W, C] → [N, h, w, C]."""
        return ops.max_pool(x, self.window, self.stride)

    def geometry(self) -> Geometry:
        """See Geometry."""
        return Geometry(self.window, self.stride)


class GlobalAverage(nn.Module):
    """The mean over all positions."""

    def __call__(self, x: Array) -> Array:
        """[N, H, W, C] → [N, 1, 1, C]."""
        return ops.average_pool(x)


class LocalResponse(nn.Module):
    """Local response normalisation, Caffe's constants."""

    size: int = 5
    alpha: float = 1e-4
    k: float = 1.0

    def __call__(self, x: Array) -> Array:
        """Same shape."""
        return ops.local_response(x, self.size, self.alpha, self.k)


class Dropout(nn.Module):
    """Does nothing: networks are only looked at, not trained."""

    def __call__(self, x: Array) -> Array:
        """The same."""
        return x


class Concat(nn.Module):
    """Channels of several features, one after the other."""

    def __call__(self, *features: Array) -> Array:
        """[N, H, W, C₁], [N, H, W, C₂] … → [N, H, W, ΣC]."""
        return jnp.concatenate(features, -1)
