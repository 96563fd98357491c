"""The AlexNet family: CaffeNet (the paper's CNN-A), AlexNet, VGG-M and torchvision's `alexnet`."""

from __future__ import annotations

from invjax.networks.layers import Conv, Dense, LocalResponse, MaxPool, Relu
from invjax.networks.network import Network, chain
from invjax.types import InputSpec

CAFFE_MEAN = (122.679, 116.669, 104.007)  # of ImageNet, R, G, B
VGG_MEAN = (123.68, 116.779, 103.939)
TORCHVISION_MEAN = (123.675, 116.28, 103.53)  # 255 × (.485, .456, .406)

_LAST = (
    ("conv3", Conv(384, 3, pad=1)),
    ("relu3", Relu()),
    ("conv4", Conv(384, 3, pad=1, groups=2)),
    ("relu4", Relu()),
    ("conv5", Conv(256, 3, pad=1, groups=2)),
    ("relu5", Relu()),
    ("pool5", MaxPool()),
)
CLASSIFIER = (  # of VGG too
    ("fc6", Dense(4096)),
    ("relu6", Relu()),
    ("fc7", Dense(4096)),
    ("relu7", Relu()),
    ("fc8", Dense(1000)),
)


def caffenet() -> Network:
    """The BVLC reference CaffeNet, the network of the paper (CNN-A): pooling before normalisation."""
    layers = chain(
        ("conv1", Conv(96, 11, stride=4)),
        ("relu1", Relu()),
        ("pool1", MaxPool()),
        ("norm1", LocalResponse()),
        ("conv2", Conv(256, 5, pad=2, groups=2)),
        ("relu2", Relu()),
        ("pool2", MaxPool()),
        ("norm2", LocalResponse()),
        *_LAST,
        *CLASSIFIER,
    )
    return Network(layers, InputSpec(3, CAFFE_MEAN), name="caffenet")


def alexnet() -> Network:
    """AlexNet as Caffe has it (Krizhevsky et al. 2012): normalisation before pooling."""
    layers = chain(
        ("conv1", Conv(96, 11, stride=4)),
        ("relu1", Relu()),
        ("norm1", LocalResponse()),
        ("pool1", MaxPool()),
        ("conv2", Conv(256, 5, pad=2, groups=2)),
        ("relu2", Relu()),
        ("norm2", LocalResponse()),
        ("pool2", MaxPool()),
        *_LAST,
        *CLASSIFIER,
    )
    return Network(layers, InputSpec(3, CAFFE_MEAN), name="alexnet")


def vgg_m() -> Network:
    """VGG-M of Chatfield et al. 2014 (CNN-M), the network of the IJCV paper."""
    layers = chain(
        ("conv1", Conv(96, 7, stride=2)),
        ("relu1", Relu()),
        ("norm1", LocalResponse(alpha=5e-4, k=2.0)),
        ("pool1", MaxPool()),
        ("conv2", Conv(256, 5, stride=2, pad=1)),
        ("relu2", Relu()),
        ("norm2", LocalResponse(alpha=5e-4, k=2.0)),
        ("pool2", MaxPool()),
        ("conv3", Conv(512, 3, pad=1)),
        ("relu3", Relu()),
        ("conv4", Conv(512, 3, pad=1)),
        ("relu4", Relu()),
        ("conv5", Conv(512, 3, pad=1)),
        ("relu5", Relu()),
        ("pool5", MaxPool()),
        *CLASSIFIER,
    )
    return Network(layers, InputSpec(3, VGG_MEAN, size=224), name="vgg_m")


def alexnet_owt() -> Network:
    """torchvision's `alexnet`, of "One weird trick" (Krizhevsky 2014): no groups, no normalisation; not CNN-A."""
    layers = chain(
        ("conv1", Conv(64, 11, stride=4, pad=2)),
        ("relu1", Relu()),
        ("pool1", MaxPool()),
        ("conv2", Conv(192, 5, pad=2)),
        ("relu2", Relu()),
        ("pool2", MaxPool()),
        ("conv3", Conv(384, 3, pad=1)),
        ("relu3", Relu()),
        ("conv4", Conv(256, 3, pad=1)),
        ("relu4", Relu()),
        ("conv5", Conv(256, 3, pad=1)),
        ("relu5", Relu()),
        ("pool5", MaxPool()),
        *CLASSIFIER,
    )
    return Network(layers, InputSpec(3, TORCHVISION_MEAN, size=224), name="alexnet_owt")
