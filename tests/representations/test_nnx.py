"""NNX modules as Φ, against the modules themselves."""

import jax
import numpy as np
import pytest
from flax import nnx

from invjax import InputSpec, UserError
from invjax.representations import from_nnx

SPEC = InputSpec(channels=3, mean=(128.0, 128.0, 128.0), size=16)
IMAGE = np.random.default_rng(1).normal(0, 40, (16, 16, 3)).astype(np.float32)


class Block(nnx.Module):
    def __init__(self, inputs, width, rngs):
        self.conv = nnx.Conv(inputs, width, (3, 3), strides=(2, 2), rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    @nnx.remat
    def __call__(self, x):
        return nnx.relu(self.dropout(self.norm(self.conv(x))))


class Net(nnx.Module):
    def __init__(self, seed=0):
        rngs = nnx.Rngs(seed)
        blocks = [Block(3, 4, rngs), Block(4, 6, rngs)]
        self.blocks = nnx.List(blocks) if hasattr(nnx, "List") else blocks  # from Flax 0.12 on
        self.head = nnx.Linear(6, 6, rngs=rngs)

    def __call__(self, x, twice=False):
        for block in self.blocks:
            x = block(x)
        x = nnx.jit(lambda head, x: head(x))(self.head, x.mean((1, 2)))
        return self.head(x) if twice else x

    def pair(self, x):
        return {"x": x, "label": x.argmax(-1)}


def after_training(seed=0):
    """A model whose moving averages matter."""
    model = Net(seed)
    model(IMAGE[None] / 30)
    return model


def by_hand(model, image):
    """The model's layers in evaluation mode, one after the other."""
    model = nnx.clone(model)
    model.eval()
    x, layers = image[None], {}
    for index, block in enumerate(model.blocks):
        layers[f"blocks/{index}/norm"] = block.norm(block.conv(x))
        layers[f"blocks/{index}"] = x = nnx.relu(layers[f"blocks/{index}/norm"])
    return model.head(x.mean((1, 2)))[0], {name: value[0] for name, value in layers.items()}


def tenth(batch):
    return batch / 10


def test_the_output_of_a_model_and_its_layers():
    model = after_training()
    output, layers = by_hand(model, IMAGE)
    np.testing.assert_allclose(from_nnx(model, SPEC)(IMAGE), output, rtol=1e-5, atol=1e-5)
    for name, value in layers.items():
        phi = from_nnx(model, SPEC, capture=name)
        assert phi.layer == name
        np.testing.assert_allclose(phi(IMAGE), value, rtol=1e-5, atol=1e-5)
        gradient = jax.jit(jax.grad(lambda image, phi=phi: phi(image).sum()))(IMAGE)
        assert np.isfinite(gradient).all() and gradient.any()


def test_several_layers_are_a_dict_and_of_several_calls_the_last_counts():
    model = after_training()
    output, layers = by_hand(model, IMAGE / 10)
    phi = from_nnx(model, SPEC, capture=["head", "blocks/1"], preprocess=tenth, twice=True)
    feature = phi(IMAGE)
    np.testing.assert_allclose(feature["blocks/1"], layers["blocks/1"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(feature["head"], model.head(output), rtol=1e-5, atol=1e-5)


def arrays_of(model):
    return [np.array(leaf) for kind in (nnx.Param, nnx.BatchStat) for leaf in jax.tree.leaves(nnx.state(model, kind))]


def test_the_model_is_not_changed():
    model = after_training()
    graphdef, arrays = nnx.split(model)[0], arrays_of(model)
    phi = from_nnx(model, SPEC, capture="blocks/0")
    features = [phi(IMAGE), jax.jit(lambda image: phi(image))(IMAGE)]
    assert nnx.split(model)[0] == graphdef and type(model.blocks[0]) is Block
    assert not model.blocks[0].dropout.deterministic
    assert all(map(np.array_equal, arrays_of(model), arrays)) and len(arrays) == 14
    model(IMAGE[None])  # training goes on, and changes only the model
    np.testing.assert_allclose(phi(IMAGE), features[0], rtol=0, atol=0)


def test_building_it_twice_does_not_compile_twice_and_weights_are_no_constants():
    compiled = jax.jit(lambda phi, image: phi(image))
    features = [compiled(from_nnx(Net(seed), SPEC, capture="head", preprocess=tenth), IMAGE) for seed in (1, 2)]
    assert compiled._cache_size() == 1
    assert not np.allclose(*features)


def test_an_unknown_layer_is_answered_with_the_valid_ones():
    with pytest.raises(UserError) as caught:
        from_nnx(Net(), SPEC, capture="block/1", name="net")
    text = str(caught.value)
    assert text.startswith("net has no layer 'block/1'. Did you mean blocks/1? Valid: ") and "\n" not in text
    blocks = [f"blocks/{k}{layer}" for k in (0, 1) for layer in ("", "/conv", "/norm", "/dropout")]
    assert set(text.partition("Valid: ")[2].split(", ")) == {"head", *blocks}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"thrice": True}, "unexpected keyword argument 'thrice'"),
        ({"method": "encode"}, "encode"),
        ({"method": "pair"}, "must be float32, got float32, int32"),
        ({"twice": np.zeros(2)}, "must be hashable"),
        ({"model": object()}, r"takes a flax\.nnx\.Module, got object; see also from_flax"),
    ],
)
def test_what_cannot_be_inverted_is_refused_in_a_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        from_nnx(**{"model": Net(), "input_spec": SPEC} | arguments)
    assert "\n" not in str(caught.value)
