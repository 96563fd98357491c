"""VGG-16 and VGG-19 (Simonyan & Zisserman 2014)."""

from __future__ import annotations

from invjax.networks.alexnet import CLASSIFIER, VGG_MEAN
from invjax.networks.layers import Conv, MaxPool, Relu
from invjax.networks.network import Network, chain
from invjax.types import InputSpec


def _vgg(name: str, *repeats: int) -> Network:
    """Five stages of 3×3 convolutions, `repeats` of them in each, and three fully connected layers."""
    entries: list[tuple[object, ...]] = []
    for stage, (repeat, features) in enumerate(zip(repeats, (64, 128, 256, 512, 512), strict=True), start=1):
        for number in range(1, repeat + 1):
            entries.append((f"conv{stage}_{number}", Conv(features, 3, pad=1)))
            entries.append((f"relu{stage}_{number}", Relu()))
        entries.append((f"pool{stage}", MaxPool(2, 2)))
    return Network(chain(*entries, *CLASSIFIER), InputSpec(3, VGG_MEAN, size=224), name=name)


def vgg16() -> Network:
    """VGG-16, configuration D."""
    return _vgg("vgg16", 2, 2, 3, 3, 3)


def vgg19() -> Network:
    """VGG-19, configuration E."""
    return _vgg("vgg19", 2, 2, 4, 4, 4)
