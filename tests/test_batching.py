"""A CPU goes one by one, an accelerator by vmap and scan: the same results either way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invjax import batching, invert, representations

from .conftest import blobs


def test_one_by_one_is_vmap(monkeypatch):
    inputs = {"a": jnp.arange(12.0).reshape(4, 3), "b": jnp.arange(4.0)}

    def function(_, lane, factor):
        return {"sum": jnp.sum(lane["a"]) + lane["b"], "scaled": factor * lane["a"]}

    program = batching.Program(function)
    one_by_one = batching.for_each(program, (), inputs, inputs["b"])
    monkeypatch.setattr(batching, "one_at_a_time", lambda: False)
    jax.tree.map(np.testing.assert_allclose, one_by_one, batching.for_each(program, (), inputs, inputs["b"]))
    np.testing.assert_allclose(one_by_one["sum"], [3, 13, 23, 33])


def test_an_option_that_xla_does_not_know_is_not_given(monkeypatch, caplog):
    batching.compiler_options.cache_clear()
    monkeypatch.setattr(batching, "NO_CONVOLUTIONS", {"xla_cpu_of_another_version": ""})
    try:
        with caplog.at_level("INFO", "invjax"):
            assert batching.compiler_options() is None
    finally:
        batching.compiler_options.cache_clear()
    if jax.default_backend() == "cpu":
        assert "xla_cpu_of_another_version" in caplog.text


@pytest.mark.parametrize("recipe", ["fast", "paper"])
def test_the_accelerators_way_finds_the_same_pictures(monkeypatch, recipe):
    phi = representations.get("hogb")
    image = blobs(24)[..., None].astype(np.float32) - 128

    def run():
        key = jax.random.key(0)
        return invert(phi, phi(image), key=key, image_shape=image.shape, restarts=3, recipe=recipe, steps=9, every=3)

    one_by_one = run()
    monkeypatch.setattr(batching, "one_at_a_time", lambda: False)
    together = run()
    np.testing.assert_allclose(together.images, one_by_one.images, rtol=0, atol=0.05)  # grey levels
    np.testing.assert_allclose(together.history["total"], one_by_one.history["total"], rtol=1e-3)
    assert together.status.tolist() == one_by_one.status.tolist()
