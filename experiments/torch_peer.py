"""A gradient step of the paper's recipe in PyTorch, as a good PyTorch programmer would write it for a CPU: what `bench`
compares ours with. Needs `pip install invjax[bench]`.

Eager mode; weights without gradients, the network cut off at the layer wanted, `batch` reconstructions at once. Tried
and no faster: `F.local_response_norm`, `avg_pool3d`, a banded 1×1 convolution or matrix product for local response
normalisation, strided convolutions as they are, the gradient of a convolution as another one, `torch.compile`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from invjax.nets import Network, layers
from invjax.nets.network import PICTURE
from invjax.objective import sigma

Operation = Callable[..., Tensor]

MOMENTUM = 0.9
# the paper's last and lowest: nothing here undoes a step that diverges, and a step takes as long at every rate
RATE = 0.004 * 0.01


class Inversion:
    """Reconstructions on their way, all of one picture's feature.

    Attributes:
        u: pictures in units of σ, float32 [N, 3, H, W].
    """

    def __init__(
        self,
        network: Network,
        params: dict[str, dict[str, Any]],
        image: np.ndarray,
        weights: dict[str, float],
        batch: int,
        channels_last: bool,
    ) -> None:
        """Starts from Gaussian noise of norm one.

        Args:
            network: cut off at one layer, `nets.get("caffenet").until("norm1")`.
            params: its weights, {layer: {"kernel", "bias"}}.
            image: whose feature is to be found, float32 [H, W, 3] minus the network's mean.
            weights: λ of the 6-norm "alpha" and of the quadratic total variation "tv".
            batch: N, reconstructions.
            channels_last: whether channels vary fastest in memory.
        """
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.weights, self.scale = weights, sigma(image.shape)
        self.features = features(network, params, self.layout)
        noise = np.random.default_rng(0).standard_normal((batch, *image.shape), np.float32)
        self.u = self.pictures(noise / np.linalg.norm(noise.reshape(batch, -1), axis=1).reshape(-1, 1, 1, 1))
        self.velocity = torch.zeros_like(self.u)
        with torch.no_grad():
            self.target = self.features(self.pictures(image[None]))
        self.target_square = self.target.square().sum()

    def pictures(self, images: np.ndarray) -> Tensor:
        """[N, H, W, C] → [N, C, H, W] in the layout chosen."""
        return torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=self.layout)

    @torch.no_grad()
    def value_and_gradient(self) -> tuple[Tensor, Tensor]:
        """E(u) [N] and its gradient with respect to u [N, 3, H, W]."""
        with torch.enable_grad():
            pixels = (self.scale * self.u).requires_grad_()
            feature = self.features(pixels)
        error = feature - self.target
        pull = error / self.target_square
        data = _dot(error, pull)
        [slope] = torch.autograd.grad(feature, pixels, pull.mul_(2))
        prior, gradient = self.regularize()
        return data + prior, gradient.add_(slope, alpha=self.scale)

    def regularize(self) -> tuple[Tensor, Tensor]:
        """λ_α Σu⁶ + λ_V Σ((∂x u)² + (∂y u)²) [N] and its gradient [N, 3, H, W]."""
        alpha, tv = self.weights["alpha"], self.weights["tv"]
        gradient = self.u.square().square_().mul_(self.u).mul_(6 * alpha)
        value = _dot(self.u, gradient) / 6
        for dim in (2, 3):
            slope = self.u.diff(dim=dim)
            value += tv * _dot(slope, slope)
            gradient.narrow(dim, 1, slope.shape[dim]).add_(slope, alpha=2 * tv)
            gradient.narrow(dim, 0, slope.shape[dim]).sub_(slope, alpha=2 * tv)
        return value, gradient

    def advance(self, steps: int) -> None:
        """Steps of gradient descent with momentum."""
        for _ in range(steps):
            _, gradient = self.value_and_gradient()
            self.velocity.mul_(MOMENTUM).add_(gradient, alpha=-RATE)
            self.u.add_(self.velocity)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of the reconstructions' arrays, [N]; no `flatten`, which would copy channels_last ones."""
    return (a * b).sum(tuple(range(1, a.dim())))


def features(
    network: Network, params: dict[str, dict[str, Any]], layout: torch.memory_format
) -> Callable[[Tensor], Tensor]:
    """The network's output as a function of pictures [N, 3, H, W] minus the mean; arguments as in `Inversion`."""
    tensors = {
        name: {key: torch.tensor(np.asarray(array)) for key, array in params[name].items()}
        for name in network.weighted()
    }
    table = [(layer, operation(layer.op, tensors.get(layer.name, {}), layout)) for layer in network.needed()]

    def function(pictures: Tensor) -> Tensor:
        values = {PICTURE: pictures}
        for layer, compute in table:
            values[layer.name] = compute(*(values[name] for name in layer.of))
        return values[table[-1][0].name]

    return function


def operation(op: nn.Module, weights: dict[str, Tensor], layout: torch.memory_format) -> Operation:
    """A layer of `invjax.nets.layers` as a function of tensors [N, C, H, W].

    Raises:
        NotImplementedError: another kind of layer.
    """
    match op:
        case layers.Conv():
            return convolution(op, weights["kernel"], weights["bias"], layout)
        case layers.Dense():
            kernel, bias = weights["kernel"].T.contiguous(), weights["bias"]
            return lambda x: F.linear(_flat(x), kernel, bias)
        case layers.Relu():
            return F.relu_  # nothing else reads what a ReLU reads
        case layers.MaxPool():
            return lambda x: F.max_pool2d(x, op.window, op.stride, ceil_mode=True)
        case layers.GlobalAverage():
            return lambda x: x.mean((2, 3), keepdim=True)
        case layers.LocalResponse():
            return lambda x: LocalResponse.apply(x, op.size, op.alpha / op.size, op.k)
        case layers.Concat():
            return lambda *parts: torch.cat(parts, 1)
        case layers.Dropout():
            return lambda x: x
    raise NotImplementedError(type(op).__name__)


def _flat(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x


def convolution(op: layers.Conv, kernel: Tensor, bias: Tensor, layout: torch.memory_format) -> Operation:
    """A convolution with a kernel [h, w, I, O]; of stride s as one of stride 1 over blocks of s × s pixels, whose
    gradient is two to three times as fast."""
    kernel = kernel.permute(3, 2, 0, 1)
    if op.stride == 1:
        kernel = kernel.contiguous(memory_format=layout)
        return lambda x: F.conv2d(x, kernel, bias, padding=op.pad, groups=op.groups)
    missing = -op.window % op.stride
    kernel = F.pixel_unshuffle(F.pad(kernel, (0, missing, 0, missing)), op.stride).contiguous(memory_format=layout)
    return lambda x: F.conv2d(blocks(x, op), kernel, bias, groups=op.groups)


def blocks(x: Tensor, op: layers.Conv) -> Tensor:
    """Space to depth: [N, C, H, W] → [N, s² C, H / s, W / s], as far as the convolution's windows reach."""
    count = [(side + 2 * op.pad - op.window) // op.stride + 1 for side in x.shape[2:]]
    after = [(n - 1 + math.ceil(op.window / op.stride)) * op.stride - op.pad for n in count]
    margins = [need - side for need, side in zip(after, x.shape[2:], strict=True)]  # negative ones cut off
    return F.pixel_unshuffle(F.pad(x, (op.pad, margins[1], op.pad, margins[0])), op.stride)


class LocalResponse(torch.autograd.Function):
    """x · (k + α Σ x²)^−¾ over the channels around each: five to six times as fast as `F.local_response_norm`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, alpha: float, k: float) -> Tensor:
        """x [N, C, H, W] → the same shape."""
        scale = _windows(x * x, size).mul_(alpha).add_(k)
        root = scale.rsqrt()
        power = root * root.sqrt()
        y = x * power
        ctx.save_for_backward(x, scale, power, y)
        ctx.size, ctx.alpha = size, alpha
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient with respect to x."""
        x, scale, power, y = ctx.saved_tensors
        [g] = gradients
        spread = _windows((g * y).div_(scale), ctx.size)
        return (g * power).addcmul_(x, spread, value=-1.5 * ctx.alpha), None, None, None


def _windows(x: Tensor, size: int) -> Tensor:
    """Sums over `size` neighbouring channels."""
    total = x.clone()
    for shift in range(1, size // 2 + 1):
        total[:, shift:] += x[:, :-shift]
        total[:, :-shift] += x[:, shift:]
    return total
