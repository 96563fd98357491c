"""Networks: what the tables say, which layers are computed, and a small network of one's own."""

import jax
import numpy as np
import pytest

from invjax import UserError, networks
from invjax.networks.layers import Concat, Conv, Dense, Dropout, GlobalAverage, LocalResponse, MaxPool, Relu
from invjax.networks.network import Network, chain
from invjax.types import InputSpec
from invjax.weights import random

from .common import CLOSE, QUICKLY, convolved, max_pooled, normalised, relative, seeded

SMALL = Network(
    chain(
        ("conv1", Conv(6, 3, stride=2)),
        ("relu1", Relu()),
        ("norm1", LocalResponse(alpha=0.5, k=2.0)),
        ("narrow", Conv(4, 1), "relu1"),
        ("wide", Conv(8, 3, pad=1, groups=2), "norm1"),
        ("both", Concat(), "narrow", "wide"),
        ("pool", MaxPool()),
        ("drop", Dropout()),
        ("average", GlobalAverage()),
        ("fc", Dense(5), "drop"),
    ),
    InputSpec(3, (120.0, 110.0, 100.0), size=19),
    name="small",
)
IMAGES = seeded(2, 19, 19, 3, scale=60.0)


def weights_of(network, seed=0):
    """Random ones, also for biases."""
    params = random.draw(network, seed, network.weighted())
    return {
        name: {"kernel": arrays["kernel"], "bias": seeded(*arrays["bias"].shape, seed=number)}
        for number, (name, arrays) in enumerate(params.items())
    }


PARAMS = weights_of(SMALL)


def by_definition(x, params):
    """All features of SMALL in NumPy."""

    def convolution(x, name, *options):
        return convolved(x, params[name]["kernel"], *options) + params[name]["bias"]

    values = {"conv1": convolution(x, "conv1", 2)}
    values["relu1"] = np.maximum(values["conv1"], 0)
    values["norm1"] = normalised(values["relu1"], alpha=0.5, k=2.0)
    values["narrow"] = convolution(values["relu1"], "narrow")
    values["wide"] = convolution(values["norm1"], "wide", 1, 1, 2)
    values["both"] = np.concatenate([values["narrow"], values["wide"]], -1)
    values["drop"] = values["pool"] = max_pooled(values["both"], 3, 2)
    values["average"] = values["pool"].mean((1, 2), keepdims=True)
    values["fc"] = values["pool"].reshape(len(x), -1) @ params["fc"]["kernel"] + params["fc"]["bias"]
    return values


features_of = jax.jit(lambda network, variables, images: network.apply(variables, images), static_argnums=0)


# --- what is computed --------------------------------------------------------------------------------------------


def test_a_small_network():
    everything = SMALL.until(*SMALL.names())
    params = jax.tree.map(lambda array: array.astype(np.float64), PARAMS)
    expected = by_definition(IMAGES.astype(np.float64), params)
    features = features_of(everything, everything.prepare(PARAMS), IMAGES)
    assert features.keys() == set(SMALL.names()) == expected.keys()
    for name, feature in features.items():
        assert relative(feature, expected[name]) < CLOSE, name


def test_the_last_layer_is_the_output_unless_others_are_asked_for():
    assert SMALL.ends() == ("fc",) and SMALL.until().ends() == ("fc",)
    for outputs in ((), ("wide", "relu1")):
        network = SMALL.until(*outputs)
        features = jax.eval_shape(network.apply, network.prepare(PARAMS), IMAGES)
        assert features.keys() == set(outputs or ["fc"])


def test_layers_that_no_output_needs_are_not_computed_and_need_no_weights():
    narrow = SMALL.until("narrow")
    assert [layer.name for layer in narrow.needed()] == ["conv1", "relu1", "narrow"]
    assert narrow.weighted() == ("conv1", "narrow")
    few = {name: PARAMS[name] for name in ("conv1", "narrow")}
    features = features_of(narrow, narrow.prepare(few), IMAGES)
    assert list(features) == ["narrow"]
    np.testing.assert_array_equal(features["narrow"], features_of(narrow, narrow.prepare(PARAMS), IMAGES)["narrow"])
    assert narrow.prepare(PARAMS)["params"].keys() == {"conv1", "narrow"}


def test_plain_flax_use():
    """Initialised, applied and trained by Flax alone, and what preparing kernels changes: nothing."""
    variables = jax.jit(SMALL.init, compiler_options=QUICKLY)(jax.random.key(1), IMAGES)
    assert variables.keys() == {"params"}
    assert jax.tree.map(np.shape, variables["params"]) == SMALL.parameter_shapes()
    prepared = features_of(SMALL, SMALL.prepare(variables["params"]), IMAGES)["fc"]

    def total(variables):
        feature = SMALL.apply(variables, IMAGES)["fc"]
        return feature.sum(), feature

    gradient, plain = jax.jit(jax.grad(total, has_aux=True), compiler_options=QUICKLY)(variables)
    np.testing.assert_allclose(plain, prepared, rtol=1e-5, atol=1e-4)
    for name, arrays in gradient["params"].items():
        assert all(np.abs(array).max() > 0 for array in arrays.values()), name


def test_weights_of_another_shape_are_refused():
    wrong = PARAMS | {"conv1": {"kernel": PARAMS["conv1"]["kernel"][:2], "bias": PARAMS["conv1"]["bias"]}}
    with pytest.raises(Exception, match="kernel"):
        SMALL.apply({"params": wrong}, IMAGES)


# --- what the tables say -----------------------------------------------------------------------------------------


def test_a_chain_reads_the_entry_before_or_those_named():
    of = {layer.name: layer.of for layer in SMALL.layers}
    assert of["conv1"] == ("picture",) and of["relu1"] == ("conv1",) and of["average"] == ("drop",)
    assert of["narrow"] == ("relu1",) and of["both"] == ("narrow", "wide")


def test_an_unknown_layer_is_answered_with_the_nearest():
    with pytest.raises(UserError) as caught:
        networks.get("caffenet").until("relu5", "norm3")
    text = str(caught.value)
    assert text.startswith(
        "caffenet has no layer 'norm3'. Did you mean norm2? Valid: conv1, relu1, pool1, norm1, conv2,"
    )
    assert "\n" not in text
    with pytest.raises(UserError, match=r"has no layer 'x'\. Valid: "):
        SMALL.until("x")


def test_an_unknown_network_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown network 'cafenet'\. Did you mean caffenet\? Valid: caffenet, "):
        networks.get("cafenet")


def test_names():
    assert [networks.get(name).name for name in networks.names()] == networks.names()
    for name in networks.names():
        assert networks.factory(name).__doc__ and networks.get(name) is networks.get(name)
        assert networks.get(name) == networks.factory(name)() and hash(networks.get(name)) == hash(
            networks.factory(name)()
        )


@pytest.mark.parametrize(
    ("name", "weights", "operations"),
    [  # published numbers of weights; multiplications as counted by the authors or by torchvision, in millions
        ("caffenet", 60_965_224, 724),
        ("alexnet", 60_965_224, 724),
        ("vgg_m", 102_908_520, 1676),
        ("vgg16", 138_357_544, 15_470),
        ("vgg19", 143_667_240, 19_632),
        ("squeezenet", 1_248_424, 861),
        ("alexnet_owt", 61_100_840, 714),
    ],
)
def test_weights_and_operations(name, weights, operations):
    network = networks.get(name)
    shapes = network.parameter_shapes()
    assert shapes.keys() == set(network.weighted())
    assert sum(int(np.prod(shape)) for layer in shapes.values() for shape in layer.values()) == weights
    assert network.operations() // 10**6 == operations


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("caffenet", {"conv1": (55, 55, 96), "norm1": (27, 27, 96), "pool2": (13, 13, 256), "pool5": (6, 6, 256)}),
        ("vgg_m", {"conv1": (109, 109, 96), "pool1": (54, 54, 96), "conv2": (26, 26, 256), "pool5": (6, 6, 512)}),
        ("vgg16", {"conv1_2": (224, 224, 64), "pool3": (28, 28, 256), "pool5": (7, 7, 512), "fc6": (4096,)}),
        ("squeezenet", {"conv1": (111, 111, 96), "fire4/concat": (55, 55, 256), "conv_final": (15, 15, 1000)}),
        ("alexnet_owt", {"conv1": (55, 55, 64), "pool2": (13, 13, 192), "pool5": (6, 6, 256), "fc8": (1000,)}),
    ],
)
def test_shapes(name, shapes):
    actual = networks.get(name).shapes()
    assert {layer: actual[layer] for layer in shapes} == shapes


def test_shapes_of_weights():
    caffenet = networks.get("caffenet")
    shapes = caffenet.until("conv2").parameter_shapes()
    assert shapes == {
        "conv1": {"kernel": (11, 11, 3, 96), "bias": (96,)},
        "conv2": {"kernel": (5, 5, 48, 256), "bias": (256,)},
    }
    assert caffenet.parameter_shapes()["fc6"]["kernel"] == (9216, 4096)
    assert caffenet.dense_input("fc6") == (6, 6, 256) and caffenet.dense_input("fc7") == (4096,)
    assert caffenet.has_dense() and not caffenet.until("pool5").has_dense()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("caffenet", {"conv1": (11, 4), "pool1": (19, 8), "conv2": (51, 8), "conv5": (163, 16), "pool5": (195, 32)}),
        ("vgg16", {"conv1_1": (3, 1), "pool1": (6, 2), "conv5_3": (196, 16), "pool5": (212, 32), "fc6": (0, 0)}),
        ("squeezenet", {"conv1": (7, 2), "fire2/concat": (19, 4), "pool_final": (0, 0)}),
    ],
)
def test_receptive_fields(name, known):
    network = networks.get(name)
    reach = network.reach()
    assert list(reach) == list(network.names())
    assert {layer: reach[layer] for layer in known} == known


def seen(network, params, layer, position, pictures):
    """(first, last + 1) rows of pixels, then columns, on which one position of a layer depends: by its gradient."""

    def one_position(images):
        return network.apply(network.prepare(params), images)[layer][:, *position].sum()

    strength = np.abs(jax.jit(jax.grad(one_position), compiler_options=QUICKLY)(pictures)).max((0, 3))
    support = np.nonzero(strength > CLOSE * strength.max())  # Winograd's sums leave rounding errors beside it
    return [(int(axis.min()), int(axis.max()) + 1) for axis in support]


def expected(place, position, side):
    """The same by `placement`."""
    starts = [place.offset + index * place.stride for index in position]
    return [(max(0, start), min(side, start + place.window)) for start in starts]


@pytest.mark.parametrize("position", [(0, 0), (3, 2)])
@pytest.mark.parametrize("layer", ["conv1", "narrow", "wide", "both", "pool"])
def test_a_receptive_field_is_where_the_gradient_is(layer, position):
    network = SMALL.until(layer)
    place = network.placement()[layer]
    assert network.reach()[layer] == (place.window, place.stride)
    bright = {"kernel": PARAMS["conv1"]["kernel"], "bias": np.full(6, 999, np.float32)}  # nothing is cut off
    support = seen(network, PARAMS | {"conv1": bright}, layer, position, seeded(40, 31, 31, 3, scale=60.0))
    assert support == expected(place, position, 31)


@pytest.mark.parametrize(("layer", "position"), [("conv1", (4, 7)), ("conv2", (0, 9)), ("conv3", (6, 4))])
def test_receptive_fields_of_caffenet_are_where_the_gradient_is(layer, position):
    network = networks.get("caffenet").until(layer)
    support = seen(network, weights_of(network), layer, position, seeded(3, 163, 163, 3, scale=60.0))
    assert support == expected(network.placement()[layer], position, 163)


def test_branches_that_are_not_centred_see_all_that_either_sees():
    entries = ("wide", Conv(2, 5), "picture"), ("near", Conv(2, 1), "picture"), ("shifted", Conv(2, 3, pad=2), "near")
    network = Network(chain(*entries, ("both", Concat(), "wide", "shifted")), InputSpec(3), name="branches")
    assert network.placement() == {"wide": (0, 5, 1), "near": (0, 1, 1), "shifted": (-2, 3, 1), "both": (-2, 7, 1)}


# --- how large a picture must be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "least"),
    [("caffenet", "conv1", 11), ("caffenet", "relu2", 19), ("caffenet", "pool5", 67), ("squeezenet", "pool_final", 35)],
)
def test_the_least_picture(name, layer, least):
    network = networks.get(name).until(layer)
    assert network.minimum() == least
    picture = jax.ShapeDtypeStruct((1, least, least, 3), np.float32)
    everything = network.until(*(layer.name for layer in network.needed()))
    shapes = jax.eval_shape(lambda x: everything.init_with_output(jax.random.key(0), x)[0], picture)
    assert all(min(feature.shape) > 0 for feature in shapes.values())


def test_the_least_picture_of_fully_connected_layers_is_the_only_one():
    assert networks.get("caffenet").minimum() == 227
    assert networks.get("vgg16").until("fc6").minimum() == 224
