"""Any function of the user's as Φ."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import InputSpec, UserError
from invjax.representations import from_function

SPEC = InputSpec(channels=3, mean=(120.0, 115.0, 100.0), size=16)
MATRIX = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
IMAGE = np.random.default_rng(1).normal(0, 40, (16, 20, 3)).astype(np.float32)


def mixed(params, image):
    return {"colours": jnp.tanh(image @ params["matrix"] / 50), "mean": image.mean((0, 1))}


@dataclasses.dataclass(frozen=True)
class Mixed:
    scale: float

    def __call__(self, params, image):
        return self.scale * mixed(params, image)["colours"]


def test_a_function_is_what_it_says():
    phi = from_function(mixed, {"matrix": MATRIX}, SPEC, name="mixed", layer="tanh")
    assert (phi.name, phi.layer, phi.input) == ("mixed", "tanh", SPEC)
    feature = phi(IMAGE)
    np.testing.assert_allclose(feature["colours"], np.tanh(IMAGE @ MATRIX / 50), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(feature["mean"], IMAGE.mean((0, 1)), rtol=1e-4, atol=1e-4)
    gradient = jax.grad(lambda image: phi(image)["colours"].sum())(IMAGE)
    assert np.isfinite(gradient).all() and np.any(gradient)


@pytest.mark.parametrize("make", [lambda: mixed, lambda: Mixed(2.0)])
def test_building_it_twice_does_not_compile_twice(make):
    compiled = jax.jit(lambda phi, image: phi(image))
    for seed in (1, 2):
        compiled(from_function(make(), {"matrix": seed * MATRIX}, SPEC), IMAGE)
    assert compiled._cache_size() == 1


def test_nothing_is_computed_when_it_is_built():
    values = []

    def spying(params, image):
        jax.debug.callback(values.append, image)
        return params * image

    from_function(spying, np.float32(2.0), SPEC)
    assert not values


def broken(params, image):
    raise RuntimeError("no such\n  device")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (broken, r"custom fails on a picture \[16, 16, 3\]: RuntimeError: no such device"),
        (lambda params, image: image @ params, r"custom fails on a picture \[16, 16, 3\]: TypeError"),
        (lambda params, image: image.argmax(-1), "must be float32, got int32"),
        (lambda params, image: {"a": image, "b": image.astype("bfloat16")}, "must be float32, got bfloat16, float32"),
        (lambda params, image: None, "must be float32, got nothing"),
    ],
)
def test_what_cannot_be_inverted_is_refused_in_a_line(function, message):
    with pytest.raises(UserError, match=message) as caught:
        from_function(function, np.ones((4, 4), np.float32), SPEC)
    assert "\n" not in str(caught.value)


def test_a_function_must_be_hashable():
    @dataclasses.dataclass
    class Mutable:
        def __call__(self, params, image):
            return image

    with pytest.raises(UserError, match="custom: all but the arrays in params must be hashable"):
        from_function(Mutable(), {}, SPEC)
