"""CaffeNet, AlexNet and SqueezeNet, layer by layer, against activations that another program computed."""

import csv
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from invjax import images, networks, representations, weights

from .common import QUICKLY

GOLDEN = Path(__file__).parent.parent / "golden"
SHARED = Path(__file__).parents[2].parent / "shared"
SHAPES = {  # of the weights, as Caffe has them: out, in / groups, rows, columns
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (1000, 4096),
}
KINDS = ("shape", "value", "index", "mean", "std", "norm")
CLOSE = 1e-5  # of the greatest value


def channels_last(name, weight):
    """A kernel [h, w, in, out] or [in, out], where fc6 flattens 6×6 positions of 256 channels."""
    if name == "fc6":
        weight = np.moveaxis(weight.reshape(-1, 256, 6, 6), 1, 3).reshape(weight.shape)
    return np.ascontiguousarray(weight.T if weight.ndim == 2 else weight.transpose(2, 3, 1, 0))


@pytest.fixture(scope="module")
def family():
    """(variables, picture) that CaffeNet and AlexNet share: they have the same weights."""
    numbers, params = np.random.default_rng(0), {}
    for name, shape in SHAPES.items():
        weight = numbers.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2 / math.prod(shape[1:])))
        bias = numbers.standard_normal(shape[0], dtype=np.float32) * np.float32(0.1)
        params[name] = {"kernel": channels_last(name, weight), "bias": bias}
    planes = np.random.default_rng(1).standard_normal((3, 227, 227), dtype=np.float32) * np.float32(60)
    return jax.device_put({"params": params}), np.moveaxis(planes, 0, -1)


def assert_golden(features, golden, prefix=""):
    layers = {key.removeprefix(prefix).rpartition("/")[0] for key in golden.files if key.startswith(prefix)}
    assert features.keys() == layers - {""}
    for name, batch in features.items():
        feature = np.moveaxis(np.asarray(batch[0], np.float64), -1, 0)
        expected = {kind: golden[f"{prefix}{name}/{kind}"] for kind in KINDS}
        assert feature.shape == tuple(expected["shape"]), name
        tolerance = CLOSE * np.abs(feature).max()
        values = feature.ravel()[expected["index"]]
        np.testing.assert_allclose(values, expected["value"], rtol=0, atol=tolerance, err_msg=name)
        np.testing.assert_allclose(feature.mean(), expected["mean"], rtol=0, atol=tolerance, err_msg=name)
        np.testing.assert_allclose(feature.std(), expected["std"], rtol=CLOSE, err_msg=name)
        np.testing.assert_allclose(np.linalg.norm(feature), expected["norm"], rtol=CLOSE, err_msg=name)


@pytest.mark.parametrize("name", ["caffenet", "alexnet"])
def test_every_layer_is_caffes(family, name):
    variables, picture = family
    network = networks.get(name).until(*networks.get(name).names())
    features = jax.jit(network.apply, compiler_options=QUICKLY)(variables, picture[None])
    with np.load(GOLDEN / "alexnet_family_seeded_activations.npz") as golden:
        assert_golden(features, golden, f"{name}/")


@pytest.fixture(scope="module")
def squeezenet():
    """The file of trained weights."""
    path = SHARED / "weights" / "squeezenet_v1_0.caffemodel"
    if not path.is_file():
        pytest.skip("needs the folder of SqueezeNet's weights beside the repository")
    return path


@pytest.mark.slow
def test_every_layer_of_the_trained_squeezenet(squeezenet):
    network = networks.get("squeezenet").until(*networks.get("squeezenet").names())
    loaded = weights.load(network, str(squeezenet))
    with np.load(SHARED / "golden" / "squeezenet_v1_0_activations.npz") as golden:
        picture = golden["image_rgb_uint8"] - np.float32(loaded.mean)
        features = jax.jit(network.apply)(network.prepare(loaded.params), picture[None])
        assert_golden(features, golden)
    assert features["pool_final"].argmax() == 281  # tabby cat


@pytest.mark.slow
def test_the_trained_squeezenet_recognises_photographs(squeezenet):
    photos = SHARED / "photos"
    if not photos.is_dir():
        pytest.skip("needs the folder of photographs beside the repository")
    phi = representations.get("squeezenet", layer="pool_final", weights=str(squeezenet))
    classify = jax.jit(lambda phi, image: phi(image).argmax())
    with (photos / "labels.csv").open(newline="") as file:
        labels = {row["file"]: int(row["imagenet_class_index"]) for row in csv.DictReader(file)}
    pictures = {name: images.load_image(photos / name, phi.input, size=227) for name in labels}
    right = [int(classify(phi, pictures[name])) == label for name, label in labels.items()]
    assert np.mean(right) >= 0.6
