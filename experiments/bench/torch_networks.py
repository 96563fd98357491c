"""Layers of networks in PyTorch, as a good PyTorch programmer would write them for inversion.

The network is cut off at the layer wanted, and there is no autograd through weights. Tried on a CPU and no faster:
`F.local_response_norm`, `avg_pool3d`, a banded 1×1 convolution or matrix product for local response normalisation,
strided convolutions as they are, the gradient of a convolution as another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.bench.torch_descent import DTYPES, Features, Setting
from invjax.networks import Network, layers
from invjax.networks.network import PICTURE

Operation = Callable[..., Tensor]


def features(network: Network, params: dict[str, dict[str, Any]], setting: Setting) -> Features:
    """The network's output as a function of pictures.

    Args:
        network: cut off at one layer, `networks.get("caffenet").until("norm1")`.
        params: its weights, {layer: {"kernel", "bias"}}.
        setting: where and how. In bfloat16 weights and all between the layers are, the feature is float32 again.
    """
    tensors = {name: {key: setting.tensor(array) for key, array in params[name].items()} for name in network.weighted()}
    table = [(layer, operation(layer.op, tensors.get(layer.name, {}), setting.layout)) for layer in network.needed()]

    def function(pictures: Tensor) -> Tensor:
        values = {PICTURE: pictures.to(DTYPES[setting.precision])}
        for layer, compute in table:
            values[layer.name] = compute(*(values[name] for name in layer.of))
        return values[table[-1][0].name].float()

    return function


def operation(op: nn.Module, weights: dict[str, Tensor], layout: torch.memory_format) -> Operation:
    """A layer of `invjax.networks.layers` as a function of tensors [N, C, H, W].

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
    if torch.compiler.is_compiling():  # which fuses these, and copies for each update in place
        around = F.pad(x, (0, 0, 0, 0, size // 2, size // 2))
        return sum(around[:, shift : shift + x.shape[1]] for shift in range(size))  # type: ignore[return-value,unused-ignore]
    total = x.clone()
    for shift in range(1, size // 2 + 1):
        total[:, shift:] += x[:, :-shift]
        total[:, :-shift] += x[:, shift:]
    return total
