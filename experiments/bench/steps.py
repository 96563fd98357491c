"""Our sides: steps of batches as a run takes them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.timing import Side
from invjax import descent, devices, images, inversion, recipes, representations
from invjax.types import Representation

SWEPT = (0.5, 5.0, 50.0)  # λ_TV


def representation(name: str, precision: str = "float32") -> Representation:
    """Named "hog", or "caffenet/relu5", a layer of a network, with random weights: a step takes as long with any.

    Raises:
        UserError: no such representation, or layer.
    """
    name, _, layer = name.partition("/")
    if layer or representations.layers(name):
        return representations.get(name, layer=layer, weights="random", precision=precision)
    return representations.get(name)


def prepared(phi: Representation, recipe: str, batch: int) -> tuple[recipes.Method, descent.Problem, np.ndarray]:
    """The method, `batch` problems and the picture that they are to find."""
    image = images.load_image(images.astronaut(), phi.input, size=phi.input.size)
    method, weights, _ = recipes.prepare(phi, image.shape, recipe)
    keys = [jax.random.key(restart) for restart in range(batch)]
    return method, inversion.batch_of(phi(jnp.asarray(image)), keys, weights), image


def swept(phi: Representation, batch: int) -> tuple[recipes.Method, descent.Problem, np.ndarray]:
    """The method, the cells of a sweep, λ_TV fastest, then pictures, then restarts, and a picture."""
    image = images.load_image(images.astronaut(), phi.input, size=phi.input.size)
    pictures = [np.rot90(side, turns) for side in (image, image[:, ::-1]) for turns in range(4)]
    targets = jnp.stack([phi(jnp.asarray(picture)) for picture in pictures])
    method, weights, _ = recipes.prepare(phi, image.shape, "fast")
    cell = np.arange(batch)
    picture, restart = cell // len(SWEPT) % len(pictures), cell // len(SWEPT) // len(pictures)
    lambdas = {name: jnp.full(batch, weight, jnp.float32) for name, weight in weights.items()}
    lambdas["tv"] = jnp.asarray(np.resize(SWEPT, batch), jnp.float32)
    keys = jax.vmap(jax.random.key)(picture + len(pictures) * restart)
    return method, descent.Problem(targets[picture], keys, lambdas), image


def ours(
    method: recipes.Method,
    phi: Representation,
    problems: descent.Problem,
    steps: int,
) -> Side:
    """Steps of a batch as a real run takes them; each call goes on from where the one before stood."""
    phi, problems = devices.place(phi, problems)
    phi = descent.ready(phi)
    states = inversion.batched_start(method, phi, problems)

    def run() -> None:
        nonlocal states
        states = jax.block_until_ready(inversion.advance(method, phi, problems, states, steps))

    return Side(run, steps)
