"""Layers of networks as Φ: what the feature is, what is asked for by name, and that they can be inverted."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from invjax import UserError, descent, devices, inversion, invert, masks, memory, networks, recipes
from invjax.representations import concat, flatten, get
from invjax.representations.network import Factory, build, describe, parse_layers, suitable_lambda_tv
from invjax.types import Origin
from invjax.weights import random

from ..conftest import as_accelerators
from ..networks.common import CLOSE, QUICKLY, convolved, max_pooled, normalised, relative, seeded
from ..weights.common import TINY
from .common import compiled

IMAGE = seeded(48, 48, 3, scale=60.0)
TWO = ("relu_conv1", "fire2/concat")


def tiny(**options):
    """Φ of a network that ends in fully connected layers."""
    return build(TINY, random.draw(TINY, 0, TINY.weighted()), **options)


def squeezenet(layer, seed=0):
    """Layers of SqueezeNet with random weights."""
    return get("squeezenet", layer=layer, weights="random", seed=seed)


@pytest.fixture(scope="module")
def deep():
    """Layers of several depths."""
    return squeezenet(["relu_conv1", "fire2/concat", "pool4", "fire5/concat"])


# --- the feature -------------------------------------------------------------------------------------------------


def test_a_layer_of_caffenet():
    """conv1, relu1, pool1, norm1, conv2 in two groups, relu2, in NumPy."""
    phi = get("caffenet", layer="relu2", weights="random", seed=3)
    params = random.draw(networks.get("caffenet"), 3, ["conv1", "conv2"])
    x = np.maximum(convolved(IMAGE[None].astype(np.float64), params["conv1"]["kernel"], 4), 0)
    x = np.maximum(convolved(normalised(max_pooled(x, 3, 2)), params["conv2"]["kernel"], 1, 2, 2), 0)
    assert relative(compiled(phi, IMAGE), x[0]) < CLOSE
    assert (phi.name, phi.layer, phi.parts, phi.origin.source) == ("caffenet", "relu2", (), "random seed 3")
    assert phi.input.mean == networks.get("caffenet").input.mean and not phi.input.fixed
    assert phi.params["params"].keys() == {"conv1", "conv2"}


def test_several_layers_are_a_dict():
    phi = squeezenet(TWO)
    assert phi.layer == "relu_conv1+fire2/concat" and phi.parts == (("relu_conv1", 1.0), ("fire2/concat", 1.0))
    feature = compiled(phi, IMAGE)
    assert feature.keys() == set(TWO)
    for name in TWO:
        np.testing.assert_allclose(feature[name], compiled(squeezenet(name), IMAGE), rtol=1e-5, atol=1e-3)


def test_other_weights():
    one, other = (compiled(squeezenet("relu_conv1", seed), IMAGE) for seed in (0, 1))
    assert np.abs(one - other).mean() > 0.5 * np.abs(one).mean()


def test_layers_of_one_network_share_its_weights():
    first, last = Factory("squeezenet").several(["conv1", {"fire2/concat": 1.0}], "random")
    assert (first.layer, last.layer) == ("conv1", "fire2/concat")
    assert first.params["params"].keys() == {"conv1"}
    assert first.params["params"]["conv1"]["kernel"] is last.params["params"]["conv1"]["kernel"]


def test_of_no_layer_the_last_is_meant(monkeypatch):
    monkeypatch.setattr(networks, "get", lambda name: TINY)
    assert [phi.layer for phi in Factory("tiny").several(["", "conv2"], "random")] == ["fc7", "conv2"]


def test_mean_and_source_are_those_of_the_weights():
    phi = tiny(mean=(1.0, 2.0, 3.0), source="a file")
    assert phi.input.mean == (1, 2, 3) and phi.origin.source == "a file"
    assert tiny().input.mean == TINY.input.mean


# --- names of layers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("relu5", {"relu5": 1}),
        ("relu2+0.5*relu5", {"relu2": 1, "relu5": 0.5}),
        ("1e-05*conv1+20*fire2/concat", {"conv1": 1e-5, "fire2/concat": 20}),
    ],
)
def test_layers_as_text(text, parts):
    assert parse_layers(text) == parse_layers(parts) == parts
    assert list(parse_layers(text)) == list(parts)
    assert describe(parts) == text


def test_other_ways_to_name_layers():
    assert parse_layers(" relu2 + 0.5 * relu5 ") == {"relu2": 1, "relu5": 0.5}
    assert parse_layers(["relu2", "0.5*relu5"]) == {"relu2": 1, "relu5": 0.5}
    assert parse_layers("") == {}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("relu2+relu2", "a layer is named twice: relu2, relu2"),
        ("0*relu2", "the weight of layer relu2 must be a positive number, got 0"),
        ("nan*relu2", "the weight of layer relu2 must be a positive number, got nan"),
        ({"relu2": -1.0}, "the weight of layer relu2 must be a positive number, got -1"),
        ({"relu2": float("inf")}, "the weight of layer relu2 must be a positive number, got inf"),
        ("half*relu2", r"'half\*relu2' is not a layer with a weight: write it as 0\.5\*relu5"),
        ("*relu2", r"'\*relu2' is not a layer with a weight"),
        ("relu6+rellu2", r"caffenet has no layer 'rellu2'\. Did you mean relu2\? Valid: conv1, relu1,"),
        ("0.5*", "caffenet has no layer ''"),
    ],
)
def test_mistaken_layers(layer, message):
    with pytest.raises(UserError, match=message) as caught:
        get("caffenet", layer=layer, weights="random")
    assert "\n" not in str(caught.value)


def test_no_weights_here(monkeypatch, tmp_path):
    monkeypatch.setenv("INVJAX_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        get("caffenet", layer="conv1")
    for way in ("invjax weights fetch caffenet", "invjax weights import FILE --network caffenet", '"random"'):
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)


# --- pictures ----------------------------------------------------------------------------------------------------


def test_fully_connected_layers_have_one_size():
    phi, before = tiny(), build(TINY.until("pool2"), random.draw(TINY, 0, TINY.weighted()))
    assert phi.feature_shape((12, 12, 3)) == (3,)
    with pytest.raises(
        UserError, match=r"tiny needs pictures of 12×12 pixels, got 14×12: its fully connected"
    ) as caught:
        phi(np.zeros((14, 12, 3), np.float32))
    assert "\n" not in str(caught.value)
    assert before.feature_shape((14, 12, 3)) == (3, 2, 6)


def test_too_small_a_picture():
    with pytest.raises(UserError, match="squeezenet needs a picture of at least 11×11 pixels, got 10×48"):
        squeezenet("fire2/concat")(IMAGE[:10])
    with pytest.raises(UserError, match=r"shape \[H, W, 3\], got \[48, 48, 1\]"):
        squeezenet("conv1")(IMAGE[..., :1])


# --- the objective -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["euclidean", "l1"])
def test_the_objective_is_the_weighted_mean_of_the_parts(loss):
    phi = squeezenet("relu_conv1+0.25*fire2/concat")
    method, weights, _ = recipes.prepare(phi, IMAGE.shape, loss=loss)
    u, target = seeded(*IMAGE.shape, seed=1, scale=0.01), jax.device_get(compiled(phi, IMAGE))
    feature = jax.device_get(compiled(phi, method.objective.scale * u))
    norm = {"euclidean": np.square, "l1": np.abs}[loss]
    errors = [
        norm(np.float64(feature[name] - target[name])).sum() / norm(np.float64(target[name])).sum() for name in TWO
    ]
    data = jax.jit(lambda phi: method.objective(u, phi, target, weights)[1]["data"])(phi)
    np.testing.assert_allclose(data, (errors[0] + 0.25 * errors[1]) / 1.25, rtol=1e-4)


def test_weights_of_total_variation_are_the_papers():
    caffenet = networks.get("caffenet")
    table, regions = {}, {0.5: ("conv1", "relu2"), 5: ("pool2", "relu4"), 50: ("conv5", "fc8")}
    for weight, (first, last) in regions.items():
        begin, end = caffenet.names().index(first), caffenet.names().index(last) + 1
        table |= dict.fromkeys(caffenet.names()[begin:end], weight)
    assert table.keys() == set(caffenet.names())
    assert {name: suitable_lambda_tv(caffenet.until(name)) for name in caffenet.names()} == table
    assert suitable_lambda_tv(caffenet.until("relu1", "relu4")) == 5
    assert recipes.prepare(get("caffenet", layer="conv1", weights="random"), IMAGE.shape)[1]["tv"] == 0.5
    assert recipes.prepare(tiny(), (12, 12, 3))[1]["tv"] == 50


@pytest.mark.parametrize("name", ["caffenet", "squeezenet"])
def test_gradients_of_noise_and_of_nothing_are_finite(request, name):
    layers = {"caffenet": ["pool1", "norm2"]}
    phi = get(name, layer=layers[name], weights="random") if name in layers else request.getfixturevalue("deep")
    method, weights, _ = recipes.prepare(phi, IMAGE.shape)

    def gradients(phi, us):
        target = phi(IMAGE)
        return jax.vmap(jax.grad(lambda u: method.objective(u, phi, target, weights)[0]))(us)

    noise = IMAGE[::-1] / np.linalg.norm(IMAGE)
    found = jax.jit(gradients, compiler_options=QUICKLY)(phi, np.stack([noise, 0 * noise]))
    assert np.isfinite(found).all()
    assert np.abs(found[0]).max() > 0


# --- programs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"name": "caffenet", "layer": "conv3"}, {"name": "squeezenet", "layer": TWO}])
def test_weights_are_kept_once(options):
    """What Φ holds is what the network's parameters take, also after features were computed."""
    phi = get(**options, weights="random")
    compiled(phi, IMAGE[:35, :35])
    shapes = networks.get(options["name"]).until(*phi.apply.network.ends()).parameter_shapes()
    numbers = sum(int(np.prod(shape)) for layer in shapes.values() for shape in layer.values())
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(phi)) == 4 * numbers


def test_kernels_are_prepared_once_in_a_chunk_of_steps():
    """Each is turned for its gradient before the loop and not in it, as the program is written."""
    phi = squeezenet("fire2/concat")
    method, weights, _ = recipes.prepare(phi, IMAGE.shape, "paper")
    problem = descent.Problem(np.ones(phi.feature_shape(IMAGE.shape), np.float32), jax.random.key(0), weights)
    state = descent.start(method, problem)
    program = jax.make_jaxpr(functools.partial(descent.steps_of, method))(3, phi, problem, state)
    [loop] = [eqn for eqn in program.eqns if eqn.primitive.name == "while"]
    assert "rev[" in str(program) and "rev[" not in str(loop.params["body_jaxpr"])


@pytest.mark.parametrize("layer", ["conv3", "fc6"])
def test_what_is_prepared_is_the_same(layer):
    """Alone, masked, flattened and beside another, prepared or not."""
    phi = get("caffenet", layer=layer, weights="random") if layer == "conv3" else tiny()
    image = IMAGE[: phi.input.minimum, : phi.input.minimum] if layer == "conv3" else IMAGE[:12, :12]
    grey = dataclasses.replace(get("hog", cell=4), input=phi.input)
    ways = [phi, masks.apply(phi, np.ones(1, np.float32)), flatten(phi), concat({"hog": grey, "net": phi}), grey]
    for one in [*ways, *(way.plain for way in ways)]:
        ready = one.prepared()
        assert hash(ready.apply) == hash(one.apply)
        assert (len(jax.tree.leaves(ready)) > len(jax.tree.leaves(one))) == bool(jax.tree.leaves(one))
        for value, expected in zip(*(jax.tree.leaves(compiled(each, image)) for each in (ready, one)), strict=True):
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("form", [lambda weights: weights, lambda weights: {"params": weights}, TINY.prepare])
def test_what_it_is_built_of(form):
    weights = random.draw(TINY, 0, TINY.weighted())
    phi = build(TINY.until("conv2"), form(weights))
    assert jax.tree.map(np.shape, phi.params) == {"params": TINY.until("conv2").parameter_shapes()}


def test_building_it_twice_does_not_compile_twice():
    image, program = IMAGE[:13, :17], jax.jit(lambda phi, image: phi(image))
    for _ in range(2):
        program(squeezenet("fire2/relu_conv1x1_1"), image)
    assert program._cache_size() == 1
    one, other = (squeezenet("fire2/relu_conv1x1_1").apply for _ in range(2))
    assert one == other and hash(one) == hash(other)


def test_other_weights_do_not_compile_again():
    """Neither their numbers nor where they came from nor the mean that belongs to them are part of a program."""
    layer, compiled = "fire2/relu_conv1x1_1", []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    for seed in range(3):
        phi = squeezenet(layer, seed)
        spec = dataclasses.replace(phi.input, mean=(100.0 + seed,) * 3)
        phi = dataclasses.replace(phi, input=spec, origin=Origin(source=f"set {seed}"))
        target = np.random.default_rng(seed).uniform(0, 1, phi.feature_shape((24, 20, 3))).astype(np.float32)
        before = len(compiled)
        out = invert(phi, target, key=seed, image_shape=(24, 20, 3), restarts=2, steps=3)
        assert out.images.shape == (2, 24, 20, 3)
        assert (len(compiled) > before) == (seed == 0)


def test_weights_are_no_constants_of_a_step(deep):
    method, lambdas, _ = recipes.prepare(deep, IMAGE.shape, "paper")
    target = {name: np.ones(shape, np.float32) for name, shape in deep.feature_shape(IMAGE.shape).items()}
    problems = inversion.batch_of(target, [jax.random.key(0)], lambdas)
    problem = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), problems)
    state = jax.eval_shape(lambda problem: descent.start(method, problem), problem)
    settings, numbers = descent.stretch(method, 3)
    program = devices.program(descent.steps_of, settings, 1)
    text = program.lower(*devices.shapes(len(numbers), deep, 1, (problem,), (state,))).as_text()
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(deep.params["params"]))
    assert len(text) < 0.5 * weights  # a constant is printed with two digits a byte


# --- inversion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["all at once", "in groups", "groups of each core", "an accelerator's"])
def test_reconstructions_that_share_a_program_are_those_of_one_at_a_time(monkeypatch, way):
    phi, shape = tiny(), (12, 12, 3)
    method, weights, _ = recipes.prepare(phi, shape, "paper", lambda_tv=0.5)
    target = compiled(phi, IMAGE[:12, :12])
    problems = inversion.batch_of(target, list(jax.random.split(jax.random.key(0), 5)), weights)

    def advanced(phi):
        placed = devices.place(phi, problems)
        states = inversion.advance(method, *placed, inversion.batched_start(method, *placed), 6)
        return devices.trimmed(states, 5)

    assert memory.together(phi) > 5
    with devices.using(1), monkeypatch.context() as patch:
        patch.setattr(memory, "TOGETHER", 1)
        alone = advanced(phi)
    if way == "in groups":
        monkeypatch.setattr(memory, "TOGETHER", 3)  # three and two
    if way == "an accelerator's":
        as_accelerators(monkeypatch)
    with devices.using(devices.usable() if way == "groups of each core" else 1):
        together = advanced(phi)
    assert np.abs(alone.params[0] - alone.params[1]).max() > 0.01
    np.testing.assert_allclose(together.params, alone.params, rtol=0, atol=1e-5 * np.abs(alone.params).max())
    np.testing.assert_allclose(together.best_value, alone.best_value, rtol=1e-4)
    assert together.step.tolist() == [6] * 5


def test_a_short_inversion():
    phi = squeezenet("fire2/concat")
    target = compiled(phi, IMAGE)
    out = invert(phi, target, key=jax.random.key(0), image_shape=IMAGE.shape, steps=25)
    assert out.status.tolist() == ["ok"] and out.relative_error[0] < 0.4 * out.history["data"][0, 0]


def test_a_part_without_a_feature_is_refused():
    phi = get("squeezenet", layer="conv1+pool1", weights="random")
    target = jax.tree.map(np.asarray, phi(np.ones((40, 40, 3), np.float32)))
    target["pool1"] = np.zeros_like(target["pool1"])
    with pytest.raises(UserError, match="all zero in pool1: leave this part out"):
        inversion.check_target(phi, target, (40, 40, 3))
