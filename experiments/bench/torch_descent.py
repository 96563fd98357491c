"""A gradient step of the paper's recipe in PyTorch, for any features: what `experiments.bench` compares ours with.

The whole step, as ours: the objective's value and gradient with α-norm and total variation, and the update of
momentum. The prior's gradient is written out, and arrays are updated in place; compiled, the features with their
gradient are one program, prior and update another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invjax.objective import sigma

Features = Callable[[Tensor], Tensor]  # pictures float32 [N, C, H, W] minus the mean → features [N, …]

MOMENTUM = 0.9
# the paper's last and lowest: nothing here undoes a step that diverges, and a step takes as long at every rate
RATE = 0.004 * 0.01
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a peer computes.

    Attributes:
        device: "cpu" or "cuda".
        precision: of products, "float32", "tf32" or "bfloat16".
        channels_last: whether channels vary fastest in memory.
        compiled: by torch.compile.
    """

    device: str = "cpu"
    precision: str = "float32"
    channels_last: bool = False
    compiled: bool = False

    @property
    def layout(self) -> torch.memory_format:
        """Of pictures and kernels."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def tensor(self, array: Any) -> Tensor:
        """Weights of a network: on the device, in the precision of its products."""
        return torch.tensor(np.asarray(array, np.float32)).to(self.device, DTYPES[self.precision])

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, compiled where that is asked for: its shapes are fixed."""
        mode = "max-autotune-no-cudagraphs" if self.device == "cuda" else None
        return torch.compile(function, dynamic=False, mode=mode) if self.compiled else function

    def switch_tf32(self) -> None:
        """Allows or forbids TF32, which is a switch of the whole process."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision == "tf32"


class Descent:
    """Reconstructions on their way, all of one picture's feature.

    Attributes:
        u: pictures in units of σ, float32 [N, C, H, W].
    """

    def __init__(
        self, features: Features, image: np.ndarray, weights: dict[str, float], batch: int, setting: Setting
    ) -> None:
        """Starts from Gaussian noise of norm one.

        Args:
            features: Φ, on the setting's device.
            image: whose feature is to be found, float32 [H, W, C] minus the representation's mean.
            weights: λ of the 6-norm "alpha" and of the quadratic total variation "tv".
            batch: N, reconstructions.
            setting: where and how.
        """
        self.setting, self.weights, scale = setting, weights, sigma(image.shape)
        noise = np.random.default_rng(0).standard_normal((batch, *image.shape), np.float32)
        self.u = self._pictures(noise / np.linalg.norm(noise.reshape(batch, -1), axis=1).reshape(-1, 1, 1, 1))
        self.velocity = torch.zeros_like(self.u)
        setting.switch_tf32()
        with torch.no_grad():
            target = features(self._pictures(image[None]))
        self.target_square = float(target.square().sum())
        self._errors = setting.compile(lambda u: features(scale * u) - target)
        self._update = setting.compile(self._descend)

    def _pictures(self, images: np.ndarray) -> Tensor:
        """[N, H, W, C] → [N, C, H, W] in the layout chosen."""
        pictures = torch.tensor(images).permute(0, 3, 1, 2).to(self.setting.device)
        return pictures.contiguous(memory_format=self.setting.layout)

    def data(self) -> tuple[Tensor, Tensor]:
        """‖Φ − Φ₀‖² / ‖Φ₀‖² [N] and its gradient with respect to u [N, C, H, W]."""
        u = self.u.detach().requires_grad_()
        errors = self._errors(u)
        pull = errors.detach() / self.target_square
        value = _dot(errors.detach(), pull)
        [slope] = torch.autograd.grad(errors, u, pull.mul_(2))
        return value, slope

    def regularize(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """λ_α Σu⁶ + λ_V Σ((∂x u)² + (∂y u)²) [N] and its gradient [N, C, H, W]."""
        alpha, tv = self.weights["alpha"], self.weights["tv"]
        gradient = u.square().square_().mul_(u).mul_(6 * alpha)
        value = _dot(u, gradient) / 6
        for dim in (2, 3):
            slope = u.diff(dim=dim)
            value += tv * _dot(slope, slope)
            gradient.narrow(dim, 1, slope.shape[dim]).add_(slope, alpha=2 * tv)
            gradient.narrow(dim, 0, slope.shape[dim]).sub_(slope, alpha=2 * tv)
        return value, gradient

    def value_and_gradient(self) -> tuple[Tensor, Tensor]:
        """E(u) [N] and its gradient with respect to u [N, C, H, W]."""
        value, slope = self.data()
        prior, gradient = self.regularize(self.u)
        return value + prior, gradient + slope

    def _descend(self, u: Tensor, velocity: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        prior, gradient = self.regularize(u)
        velocity.mul_(MOMENTUM).sub_(gradient.add_(slope), alpha=RATE)
        u.add_(velocity)
        return value + prior

    def advance(self, steps: int) -> None:
        """Steps of gradient descent with momentum; returns when they are done."""
        self.setting.switch_tf32()
        for _ in range(steps):
            value, slope = self.data()
            with torch.no_grad():
                self.value = self._update(self.u, self.velocity, value, slope)
        if self.setting.device == "cuda":
            torch.cuda.synchronize()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of the reconstructions' arrays, [N]; no `flatten`, which would copy channels_last ones."""
    return (a * b).sum(tuple(range(1, a.dim())))
