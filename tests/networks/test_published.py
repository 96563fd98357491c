"""Networks without golden activations, against their papers' tables, written out here and computed in NumPy."""

import jax
import numpy as np
import pytest

from invjax import networks

from .common import CLOSE, QUICKLY, convolved, max_pooled, normalised, relative, seeded

POOL = ("pool", 2, 2)
CLASSIFIER = [("fc", 4096), "relu", ("fc", 4096), "relu", ("fc", 1000)]


def stages(*stages):
    """The columns of VGG's table 1: 3×3 convolutions with ReLUs, pooling after each stage."""
    table = []
    for stage in stages:
        for channels in stage:
            table += [("conv", channels, 3, 1, 1), "relu"]
        table.append(POOL)
    return table


# (conv, channels, window, stride, pad), (pool, window, stride)
TABLES = {
    "vgg16": stages((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)) + CLASSIFIER,
    "vgg19": stages((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
    "vgg_m": [  # Chatfield et al. 2014, table 1
        *(("conv", 96, 7, 2, 0), "relu", "normalise", ("pool", 3, 2)),
        *(("conv", 256, 5, 2, 1), "relu", "normalise", ("pool", 3, 2)),
        *(("conv", 512, 3, 1, 1), "relu") * 3,
        ("pool", 3, 2),
    ],
    "alexnet_owt": [  # torchvision's
        *(("conv", 64, 11, 4, 2), "relu", ("pool", 3, 2)),
        *(("conv", 192, 5, 1, 2), "relu", ("pool", 3, 2)),
        *(("conv", 384, 3, 1, 1), "relu", ("conv", 256, 3, 1, 1), "relu", ("conv", 256, 3, 1, 1), "relu"),
        ("pool", 3, 2),
    ],
}


def weights_of(table, side):
    """Kernels and biases in the order of the table, for pictures of that side."""
    inputs, weights = 3, []
    for entry in table:
        match entry:
            case ("conv", outputs, window, stride, pad):
                shape, side = (window, window, inputs, outputs), (side + 2 * pad - window) // stride + 1
            case ("pool", window, stride):
                side = -(-(side - window) // stride) + 1
                continue
            case ("fc", outputs):
                shape, side = (inputs * side**2, outputs), 1
            case _:
                continue
        scale, inputs = np.sqrt(2 / np.prod(shape[:-1])), outputs
        kernel = np.random.default_rng(len(weights)).standard_normal(shape, np.float32)
        kernel *= np.float32(scale)
        weights.append((kernel, seeded(outputs, seed=len(weights), scale=10.0)))
    return weights


def computed(table, weights, x):
    """The feature of each entry of the table."""
    weights = iter(weights)
    for entry in table:
        match entry:
            case ("conv", _, _, stride, pad):
                kernel, bias = next(weights)
                x = convolved(x, kernel, stride, pad) + bias
            case ("pool", window, stride):
                x = max_pooled(x, window, stride)
            case ("fc", _):
                kernel, bias = next(weights)
                x = x.reshape(len(x), -1) @ kernel + bias
            case "relu":
                x = np.maximum(x, 0)
            case "normalise":  # MatConvNet's [5 2 1e-4 0.75], whose α is not divided
                x = normalised(x, 5, 5e-4, 0.75, 2.0)
        yield x


def assert_computes(name, side):
    """Every layer that the table has, compared where something is pooled and at the end."""
    table, whole = TABLES[name], networks.get(name)
    weights, picture = weights_of(table, side), seeded(1, side, side, 3, scale=60.0)
    network = whole.until(*whole.names()[: len(table)])
    params = {
        layer: dict(zip(("kernel", "bias"), arrays, strict=True))
        for layer, arrays in zip(network.weighted(), weights, strict=True)
    }
    compared = [at for at, entry in enumerate(table) if entry[0] in ("pool", "fc")]
    network = network.until(*(whole.names()[at] for at in compared))
    features = jax.jit(network.apply, compiler_options=QUICKLY)({"params": params}, picture)
    for at, expected in enumerate(computed(table, weights, picture)):
        if at in compared:
            assert relative(features[whole.names()[at]], expected) < CLOSE, whole.names()[at]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("vgg16", 224), ("vgg19", 32)])
def test_vgg(name, side):
    assert_computes(name, side)


@pytest.mark.parametrize(("name", "side"), [("vgg_m", 75), ("alexnet_owt", 95)])
def test_until_the_last_pooling(name, side):
    assert_computes(name, side)
