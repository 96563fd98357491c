"""Every format gives the same weights: those that compute on our pictures what the file's do on theirs."""

import re
from pathlib import Path

import numpy as np
import pytest

from invjax import UserError, networks, weights
from invjax.weights.formats import read
from invjax.weights.found import Found
from invjax.weights.match import convert, fit
from tests.weights import common
from tests.weights.common import INPUTS, OUTPUTS, TINY, canonical, numbers

SHARED = Path(__file__).parents[2].parent / "shared" / "weights"
LAYERS = numbers()
SPOILT = LAYERS | {"conv2": {"weight": LAYERS["conv2"]["weight"], "bias": LAYERS["conv2"]["bias"] * np.nan}}


def flipped(layers):
    """The first layer's colours in the other order."""
    return layers | {"conv1": {"weight": layers["conv1"]["weight"][:, ::-1], "bias": layers["conv1"]["bias"]}}


RGB, BGR = canonical(LAYERS), canonical(flipped(LAYERS))
FILES = {
    "caffe V2": (common.caffe(LAYERS), BGR),
    "caffe V1": (common.caffe(LAYERS, version=1, legacy=True), BGR),
    "caffe doubles": (common.caffe(LAYERS, double=True), BGR),
    "matconvnet": (common.matconvnet(LAYERS), RGB),
    "matconvnet old": (common.matconvnet(LAYERS, old=True, picture=True), RGB),
    "matconvnet uncompressed": (common.matconvnet(LAYERS, compress=False), RGB),
    "npz": (common.npz(RGB), RGB),
    "npz compressed": (common.npz(RGB, np.savez_compressed), RGB),
    "safetensors": (common.safetensors(RGB), RGB),
}


def same(params, expected):
    assert params.keys() == expected.keys()
    for name, arrays in expected.items():
        for kind, array in arrays.items():
            assert params[name][kind].dtype == np.float32
            np.testing.assert_array_equal(params[name][kind], array)


@pytest.mark.parametrize("name", FILES)
def test_formats(write, name):
    data, expected = FILES[name]
    same(weights.load(TINY, str(write(data))).params, expected)


@pytest.mark.parametrize("make", [common.torch_zip, common.torch_legacy])
def test_pytorch(write, make):
    """(x / 255 − mean) / deviation of torchvision is x − 255·mean with the deviation in the first kernel."""
    loaded = weights.load(TINY, str(write(make(LAYERS))))
    np.testing.assert_allclose(loaded.mean, [123.675, 116.28, 103.53])
    kernel = loaded.params["conv1"]["kernel"] * (255 * np.array([0.229, 0.224, 0.225])[:, None])
    np.testing.assert_allclose(kernel, RGB["conv1"]["kernel"], rtol=1e-5)
    same({**loaded.params, "conv1": RGB["conv1"]}, RGB)


@pytest.mark.parametrize("name", ["zip", "legacy"])
def test_pytorch_by_pytorch(name):
    """Files written by PyTorch 2.13: values count up, `turned` is a transposed view, `tail` the end of a storage."""
    found = read(Path(__file__).parent / f"torch_{name}.pth").layers
    np.testing.assert_array_equal(found["first"]["weight"], np.arange(24.0).reshape(2, 3, 2, 2))
    np.testing.assert_array_equal(found["first"]["bias"], np.float16([24, 25]))
    np.testing.assert_array_equal(found["turned"]["weight"], np.arange(6).reshape(3, 2).T)
    np.testing.assert_array_equal(found["tail"]["weight"], [3, 4, 5])


def test_what_a_first_unit_sees():
    """One position, in the file's convention (planes, B G R) and in ours."""
    picture = np.random.default_rng(1).uniform(0, 255, (3, 3, 3))  # rows, columns, R G B
    ours = convert(Found(LAYERS, "bgr"), TINY)["conv1"]["kernel"]
    planes = np.stack([picture[..., 2], picture[..., 1], picture[..., 0]])
    expected = [sum((planes[c] * filters[c]).sum() for c in range(3)) for filters in LAYERS["conv1"]["weight"]]
    np.testing.assert_allclose(np.einsum("ijc,ijco->o", picture, ours), expected, rtol=1e-5)


def test_what_a_dense_layer_flattens():
    feature = np.random.default_rng(1).normal(size=INPUTS["fc6"])  # channels, rows, columns
    ours = convert(Found(LAYERS, "bgr"), TINY)["fc6"]["kernel"]
    expected = LAYERS["fc6"]["weight"] @ feature.ravel()
    np.testing.assert_allclose(feature.transpose(1, 2, 0).ravel() @ ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("colours, expected", [("rgb", RGB), ("bgr", BGR)])
@pytest.mark.parametrize("make", [common.npz, common.safetensors])
def test_colours_must_be_told(write, make, colours, expected):
    path = write(make(LAYERS))
    with pytest.raises(UserError, match=r"file: does not tell the order of colours: .*--colours bgr"):
        weights.load(TINY, str(path))
    weights.import_file(path, TINY, colours=colours)
    same(weights.load(TINY).params, expected)


def test_colours_must_not_be_contradicted(write):
    with pytest.raises(UserError, match="such files are for BGR pictures: leave --colours out"):
        weights.import_file(write(common.caffe(LAYERS)), TINY, colours="rgb")


def test_means(write):
    """Of the file where it has one, else the network's."""
    assert weights.load(TINY, str(write(common.caffe(LAYERS)))).mean == (120, 115, 100)
    for options in ({}, {"old": True, "picture": True}):
        assert weights.load(TINY, str(write(common.matconvnet(LAYERS, **options)))).mean == (121, 116, 101)


# --- what does not fit -------------------------------------------------------------------------------------------


def without(name, kind):
    return LAYERS | {name: {key: array for key, array in LAYERS[name].items() if key != kind}}


def reshaped(name, kind, shape):
    return LAYERS | {name: LAYERS[name] | {kind: np.zeros(shape, np.float32)}}


@pytest.mark.parametrize(
    "layers, message",
    [
        (without("fc6", "bias"), "missing: fc6/bias"),
        ({name: LAYERS[name] for name in ("conv1", "conv2")}, "missing: fc6/bias, fc6/weight, fc7/bias, fc7/weight"),
        (LAYERS | {"fc8": LAYERS["fc7"]}, "left over: fc8/bias, fc8/weight"),
        (reshaped("conv2", "weight", (6, 4, 3, 3)), "of another shape: conv2/weight (6×4×3×3, not 6×2×3×3)"),
        (reshaped("fc6", "weight", (5, 25)), "of another shape: fc6/weight (5×25, not 5×24)"),
        (reshaped("conv1", "bias", (5,)), "of another shape: conv1/bias (5, not 4)"),
    ],
)
def test_misfits_are_named(write, layers, message):
    with pytest.raises(UserError, match=re.escape(f"file: does not fit tiny: {message}") + "$"):
        weights.load(TINY, str(write(common.caffe(layers))))


def test_many_misfits_stay_one_line(write):
    many = {f"unit{number}": LAYERS["fc7"] for number in range(50)}
    with pytest.raises(UserError, match=r"left over: unit0/bias, .* and 92 more$") as error:
        weights.load(TINY, str(write(common.caffe(LAYERS | many))))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 1e300])
def test_not_finite(write, spoil):
    layers = LAYERS | {"fc7": {"weight": np.full((3, 5), spoil), "bias": np.zeros(3)}}
    with pytest.raises(UserError, match="fc7 has weights that are not finite"):
        weights.import_file(write(common.npz(layers)), TINY, colours="rgb")


# --- names and shapes of the published files ---------------------------------------------------------------------


def hollow(network, names=None, reshape=lambda shape: shape):
    """A file's arrays for a network, which take no memory."""
    shapes = network.parameter_shapes()
    layers = {}
    for layer in (layer.name for layer in network.layers if layer.name in shapes):
        kernel = shapes[layer]["kernel"]
        weight = (kernel[3], kernel[2], *kernel[:2]) if len(kernel) == 4 else reshape(kernel[::-1])
        arrays = {"weight": weight, "bias": shapes[layer]["bias"]}
        name = names[len(layers)] if names else layer
        layers[name] = {kind: np.broadcast_to(np.float32(0), shape) for kind, shape in arrays.items()}
    return Found(layers, "rgb")


TORCHVISION = {  # `print(torchvision.models.vgg16())`
    "alexnet_owt": ((0, 3, 6, 8, 10), (1, 4, 6)),
    "vgg16": ((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (0, 3, 6)),
    "vgg19": ((0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34), (0, 3, 6)),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_names_of_torchvision(name):
    features, classifier = TORCHVISION[name]
    names = [f"features.{number}" for number in features] + [f"classifier.{number}" for number in classifier]
    network = networks.get(name)
    assert fit(hollow(network, names), network).keys() == network.parameter_shapes().keys()


@pytest.mark.parametrize("name", ["caffenet", "alexnet"])
def test_shapes_of_published_caffe_files(name):
    network = networks.get(name)
    fit(hollow(network, reshape=lambda shape: (1, 1, *shape)), network)


@pytest.mark.parametrize("name", ["caffenet", "vgg_m", "vgg16"])
def test_shapes_of_published_matconvnet_files(name):
    network = networks.get(name)
    inputs = {9216: (256, 6, 6), 18432: (512, 6, 6), 25088: (512, 7, 7), 4096: (4096, 1, 1)}
    fit(hollow(network, reshape=lambda shape: (shape[0], *inputs[shape[1]])), network)


def test_names_of_the_authors_squeezenet():
    network = networks.get("squeezenet")
    here = [layer.name for layer in network.layers if layer.name in network.parameter_shapes()]
    theirs = {"conv1x1_1": "squeeze1x1", "conv1x1_2": "expand1x1", "conv3x3_2": "expand3x3", "conv_final": "conv10"}
    names = ["/".join(theirs.get(part, part) for part in name.split("/")) for name in here]
    assert names[1:4] == ["fire2/squeeze1x1", "fire2/expand1x1", "fire2/expand3x3"]
    assert list(fit(hollow(network, names), network)) == here


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the folder of SqueezeNet's weights beside the repository")
def test_squeezenet():
    """The real file, against the same numbers decoded by another program."""
    network = networks.get("squeezenet")
    params = weights.load(network, str(SHARED / "squeezenet_v1_0.caffemodel")).params
    golden = np.load(SHARED / "squeezenet_v1_0_oihw_bgr.npz")
    assert len(golden.files) == 2 * len(params)
    for name, arrays in params.items():
        weight = golden[f"{name}/weight"][:, :: -1 if name == "conv1" else 1]
        np.testing.assert_array_equal(arrays["kernel"], np.moveaxis(weight, (2, 3, 1, 0), (0, 1, 2, 3)))
        np.testing.assert_array_equal(arrays["bias"], golden[f"{name}/bias"])


def test_outputs_of_the_tiny_network_are_as_assumed():
    shapes = TINY.parameter_shapes()
    assert {name: shape["bias"][0] for name, shape in shapes.items()} == OUTPUTS
