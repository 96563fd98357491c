"""Representations made of others."""

import dataclasses

import jax
import numpy as np
import pytest

from invjax import InputSpec, UserError, masks, recipes
from invjax.representations import concat, flatten, from_function, get, mask

from .common import feature_of, picture

IMAGE = picture((40, 48))
PARTS = {"shape": get("hog"), "texture": get("dsift")}


def two_means(params, image):
    return {"rows": image.mean((1, 2)), "columns": params * image.mean((0, 2))}


def test_flatten_is_one_vector_of_all():
    np.testing.assert_array_equal(feature_of(flatten(get("hog")), IMAGE), feature_of(get("hog"), IMAGE).ravel())
    vector = flatten(from_function(two_means, 2.0, InputSpec(size=40)))(IMAGE)
    np.testing.assert_allclose(vector, [*2 * IMAGE.mean((0, 2)), *IMAGE.mean((1, 2))], rtol=1e-5, atol=1e-4)


def test_concat_is_a_dict_of_features():
    feature = jax.jit(lambda phi, image: phi(image))(concat(PARTS), IMAGE)
    assert list(feature) == ["shape", "texture"]
    for name, phi in PARTS.items():
        np.testing.assert_allclose(feature[name], feature_of(phi, IMAGE), rtol=0, atol=1e-6)


def test_the_objective_is_the_weighted_mean_of_the_relative_errors():
    other, weights = picture((40, 48), seed=1), {"shape": 1.0, "texture": 3.0}
    target, moved = ({name: feature_of(phi, x) for name, phi in PARTS.items()} for x in (IMAGE, other))
    errors = {name: ((moved[name] - target[name]) ** 2).sum() / (target[name] ** 2).sum() for name in PARTS}
    phi = concat(PARTS, weights)
    method, regularization, _ = recipes.prepare(phi, IMAGE.shape, "paper")
    terms = jax.jit(method.objective)(other / method.objective.scale, phi, target, regularization)[1]
    np.testing.assert_allclose(terms["data"], (errors["shape"] + 3 * errors["texture"]) / 4, rtol=1e-4)


def test_concat_is_shown_what_all_parts_can_read():
    phi = concat({"b": get("hog", cell=5), "a": get("dsift")})
    assert phi.name == "dsift+hog" and phi.layer == ""
    assert phi.input == InputSpec(minimum=get("dsift").input.minimum)
    fixed = InputSpec(size=40, fixed=True)
    assert concat({"a": get("hog"), "b": from_function(two_means, 2.0, fixed)}).input == InputSpec(
        1, (128.0,), 16, 40, True
    )
    layers = {name: from_function(two_means, 2.0, InputSpec(size=40), "net", name) for name in ("conv1", "conv2")}
    assert (concat(layers).name, concat(layers).layer) == ("net", "conv1+conv2")


def test_what_is_hard_inside_is_softened():
    soft = {name: PARTS[name].softened(3.0) or PARTS[name] for name in PARTS}
    both, expected = concat(PARTS).softened(3.0)(IMAGE), concat(soft)(IMAGE)
    for name in PARTS:
        np.testing.assert_allclose(both[name], expected[name], rtol=1e-5, atol=1e-6)
    flat = flatten(get("hog")).softened(3.0)(IMAGE)
    np.testing.assert_allclose(flat, expected["shape"].ravel(), rtol=1e-5, atol=1e-6)
    alone = flatten(concat({"shape": get("hogb")}))
    assert alone.softened(3.0) is None and alone.parts == ()


def test_concat_takes_the_largest_of_what_suits_its_members():
    members = {"a": get("hog"), "b": dataclasses.replace(get("dsift"), lambda_tv=5.0, family="network")}
    assert (concat(members).lambda_tv, concat(members).family) == (5.0, "network")


def test_they_can_be_stacked():
    phi = concat({"centre": mask(get("hog"), masks.centre((5, 6, 27), 3, 2)), "all": flatten(get("hog"))})
    feature, soft = phi(IMAGE), phi.softened(2.0)(IMAGE)
    assert np.count_nonzero(np.any(feature["centre"], axis=-1)) == 6
    np.testing.assert_allclose(soft["all"].reshape(5, 6, 27)[1, 2], soft["centre"][1, 2], rtol=1e-5, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda image: flatten(phi)(image).sum()))(IMAGE)
    assert np.isfinite(gradient).all() and gradient.any()


def test_building_it_twice_does_not_compile_twice():
    compiled = jax.jit(lambda phi, image: phi(image))
    for names in ("ab", "ba"):
        parts = {"a": get("hog"), "b": get("hogb")}
        compiled(flatten(concat({name: parts[name] for name in names})), IMAGE)
    assert compiled._cache_size() == 1


@pytest.mark.parametrize(
    ("phis", "weights", "message"),
    [
        ({}, None, "at least one"),
        (PARTS, {"shape": 1.0}, "a weight for each of shape, texture, got weights for shape"),
        (PARTS, {"shape": 1.0, "texture": 0.0}, "the weight of 'texture' must be greater than 0"),
        (PARTS, {"shape": float("nan"), "texture": 1.0}, "the weight of 'shape'"),
        (
            {str(k): from_function(two_means, 2.0, InputSpec(size=k, fixed=True)) for k in (40, 48)},
            None,
            "and fixed size",
        ),
        ({**PARTS, "mean": from_function(two_means, 2.0, InputSpec(3, (0.0,) * 3))}, None, "read the same pictures"),
    ],
)
def test_what_does_not_fit_together(phis, weights, message):
    with pytest.raises(UserError, match=message):
        concat(phis, weights)
