"""Linen modules as Φ, against what Flax itself says of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from invjax import InputSpec, UserError
from invjax.representations import from_flax

SPEC = InputSpec(channels=3, mean=(128.0, 128.0, 128.0), size=16)
IMAGE = np.random.default_rng(1).normal(0, 40, (16, 16, 3)).astype(np.float32)


class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.width, (3, 3), (2, 2), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        self.sow("intermediates", "before", x)
        return nn.relu(x)


class Net(nn.Module):
    """Two blocks, the second one used twice, and a head, with options of every kind."""

    widths: list[int]
    remat: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, train=True):
        kind = nn.remat(Block, static_argnums=2) if self.remat else Block
        x = kind(self.widths[0], name="first")(x, train)
        again = nn.Dense(self.widths[0], name="again")
        x = again(again(x))
        x = kind(self.widths[1], name="second")(x, train)
        self.sow("intermediates", "whole", x.sum())
        classes = nn.Dense(7, name="head")(nn.Dropout(0.5, deterministic=not train)(x.mean((1, 2))))
        return classes.astype(self.dtype)

    def halves(self, x):
        return {"left": x[:, :, :8], "right": (x[:, :, 8:], x.argmax(-1) if self.remat else x)}


MODULE = Net([4, 6])


def initial(seed=0):
    """Variables with moving averages that matter."""
    keys = jax.random.split(jax.random.key(seed))
    variables = MODULE.init({"params": keys[0], "dropout": keys[1]}, IMAGE[None])
    stats = jax.tree.map(lambda leaf: leaf + 1 + jnp.arange(len(leaf)), variables["batch_stats"])
    return {**variables, "batch_stats": stats}


VARIABLES = initial()


def tenth(batch):
    return batch / 10


def expected(image=IMAGE):
    """What Flax returns: the output, and all intermediates."""
    output, kept = MODULE.apply(
        VARIABLES, image[None], train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    return output, kept["intermediates"]


def test_the_output_of_a_module():
    phi = from_flax(MODULE, VARIABLES, SPEC, name="net", train=False)
    assert (phi.name, phi.layer) == ("net", "output")
    assert phi(IMAGE).shape == (7,)
    np.testing.assert_allclose(phi(IMAGE), expected()[0][0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("layer", ["first", "first/conv", "second/norm", "head"])
def test_a_layer_by_its_path(layer, remat):
    kept = expected()[1]
    for name in layer.split("/"):
        kept = kept[name]
    phi = from_flax(Net([4, 6], remat), VARIABLES, SPEC, capture=layer, train=False)
    assert phi.layer == layer
    np.testing.assert_allclose(phi(IMAGE), kept["__call__"][0][0], rtol=1e-5, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda image: phi(image).sum()))(IMAGE)
    assert np.isfinite(gradient).all() and gradient.any()


def test_several_layers_and_sown_values_are_a_dict():
    phi = from_flax(MODULE, VARIABLES, SPEC, capture=["second/before", "first"], train=False)
    assert phi.layer == "second/before+first" and phi.parts == (("second/before", 1.0), ("first", 1.0))
    feature, kept = phi(IMAGE), expected()[1]
    np.testing.assert_allclose(feature["second/before"], kept["second"]["before"][0][0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(feature["first"], np.maximum(kept["first"]["before"][0][0], 0), rtol=1e-5, atol=1e-5)


def test_of_several_calls_the_last_counts():
    first, last = expected()[1]["again"]["__call__"]
    phi = from_flax(MODULE, VARIABLES, SPEC, capture="again", train=False)
    np.testing.assert_allclose(phi(IMAGE), last[0], rtol=1e-5, atol=1e-5)
    assert not np.allclose(first, last)


def test_pictures_are_preprocessed_and_old_intermediates_forgotten():
    stale = {**VARIABLES, "intermediates": {"first": {"__call__": (jnp.zeros((1, 2)),)}}}
    phi = from_flax(MODULE, stale, SPEC, capture="first", preprocess=tenth, train=False)
    np.testing.assert_allclose(phi(IMAGE), expected(IMAGE / 10)[1]["first"]["__call__"][0][0], rtol=1e-5, atol=1e-5)


def test_another_method_and_half_precision_are_float32_features():
    feature = from_flax(MODULE, VARIABLES, SPEC, method="halves")(IMAGE)
    np.testing.assert_array_equal(feature["left"], IMAGE[:, :8])
    np.testing.assert_array_equal(feature["right"][1], IMAGE)
    assert from_flax(Net([4, 6], dtype="bfloat16"), VARIABLES, SPEC, train=False)(IMAGE).dtype == np.float32


def test_building_it_twice_does_not_compile_twice_and_weights_are_no_constants():
    compiled = jax.jit(lambda phi, image: phi(image))
    features = [
        compiled(from_flax(Net([4, 6]), initial(seed), SPEC, capture=("head",), preprocess=tenth, train=False), IMAGE)
        for seed in (1, 2)
    ]
    assert compiled._cache_size() == 1
    assert not np.allclose(features[0]["head"], features[1]["head"])


def test_layers_behind_the_captured_one_cost_nothing():
    def operations(capture):
        phi = from_flax(MODULE, VARIABLES, SPEC, capture=capture, train=False)
        text = jax.jit(lambda phi, image: phi(image)).lower(phi, IMAGE).compile().as_text()
        return text.count("convolution("), text.count("dot(")

    assert operations("first/conv")[0] == 1
    assert operations("first/conv")[1] < operations("head")[1]


def test_an_unknown_layer_is_answered_with_the_valid_ones():
    with pytest.raises(UserError) as caught:
        from_flax(MODULE, VARIABLES, SPEC, capture="secnd/norm", name="net", train=False)
    text = str(caught.value)
    assert text.startswith("net has no layer 'secnd/norm'. Did you mean second/norm? Valid: ") and "\n" not in text
    valid = {"again", "first", "first/before", "first/conv", "first/norm", "head", "second", "whole"}
    assert valid <= set(text.partition("Valid: ")[2].split(", "))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "fails on a picture"),  # training changes the moving averages
        ({"trian": False}, "unexpected keyword argument 'trian'"),
        ({"train": False, "method": "encode"}, "encode"),
        ({"train": np.zeros(2)}, "must be hashable"),
        ({"train": False, "capture": "whole"}, r"has shape \[\], not \[1, \.\.\.\]"),
        ({"method": "halves", "module": Net([4, 6], remat=True)}, "must be float32, got float32, int32"),
        ({"train": False, "variables": {"params": {}}}, "fails on a picture"),
        ({"module": Net(np.array([4, 6]))}, "a field of Net holds an array"),
        ({"module": nn.Sequential([nn.relu, Net([np.ones(2)])])}, "a field of Sequential holds an array"),
        ({"module": object()}, r"takes a flax\.linen\.Module, got object; see also from_nnx"),
    ],
)
def test_what_cannot_be_inverted_is_refused_in_a_line(arguments, message):
    arguments = {"module": MODULE, "variables": VARIABLES} | arguments
    with pytest.raises(UserError, match=message) as caught:
        from_flax(input_spec=SPEC, **arguments)
    assert "\n" not in str(caught.value)
