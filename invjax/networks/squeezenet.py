"""SqueezeNet v1.0 (Iandola et al. 2016), layer names of the Deep Compression release (Han et al.)."""

from __future__ import annotations

from invjax.networks.layers import Concat, Conv, Dropout, GlobalAverage, MaxPool, Relu
from invjax.networks.network import Network, chain
from invjax.types import InputSpec


def _fire(number: int, squeeze: int, expand: int) -> tuple[tuple[object, ...], ...]:
    """1×1 convolution to few channels, then 1×1 and 3×3 beside each other to many."""
    fire = f"fire{number}"
    return (
        (f"{fire}/conv1x1_1", Conv(squeeze, 1)),
        (f"{fire}/relu_conv1x1_1", Relu()),
        (f"{fire}/conv1x1_2", Conv(expand, 1), f"{fire}/relu_conv1x1_1"),
        (f"{fire}/relu_conv1x1_2", Relu()),
        (f"{fire}/conv3x3_2", Conv(expand, 3, pad=1), f"{fire}/relu_conv1x1_1"),
        (f"{fire}/relu_conv3x3_2", Relu()),
        (f"{fire}/concat", Concat(), f"{fire}/relu_conv1x1_2", f"{fire}/relu_conv3x3_2"),
    )


def squeezenet() -> Network:
    """SqueezeNet v1.0: AlexNet's accuracy with a fiftieth of the weights."""
    layers = chain(
        ("conv1", Conv(96, 7, stride=2)),
        ("relu_conv1", Relu()),
        ("pool1", MaxPool()),
        *_fire(2, 16, 64),
        *_fire(3, 16, 64),
        *_fire(4, 32, 128),
        ("pool4", MaxPool()),
        *_fire(5, 32, 128),
        *_fire(6, 48, 192),
        *_fire(7, 48, 192),
        *_fire(8, 64, 256),
        ("pool8", MaxPool()),
        *_fire(9, 64, 256),
        ("drop9", Dropout()),
        ("conv_final", Conv(1000, 1, pad=1)),
        ("relu_conv_final", Relu()),
        ("pool_final", GlobalAverage()),
    )
    return Network(layers, InputSpec(3, (123.0, 117.0, 104.0)), name="squeezenet")
