"""The whole idea in one loop, to be copied: python -m experiments.invert cat.jpg --representation hog --out sheet.png

Load a picture, compute its feature, start from noise, descend with any optax optimiser on ‖Φ(σu) − Φ₀‖² / ‖Φ₀‖² and a
natural-image prior, several restarts at once by vmap, and save what was found beside the picture. `invjax.invert` does
the same, and undoes steps that explode, fits batches into memory, and uses all cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from invjax import Representation, load_image, representations, save_image
from invjax.objective import default_lambda_alpha, sigma
from invjax.regularizers import alpha_norm, total_variation


def invert(
    phi: Representation, feature: jax.Array, shape: tuple[int, int, int], restarts: int, steps: int, rate: float
) -> tuple[jax.Array, jax.Array]:
    """Pictures [restarts, H, W, C] whose feature is near `feature`, and their relative errors [restarts].

    The variable is u = x / σ, a picture of norm about one (CVPR 2015, section 3).
    """
    scale, prior, smooth = sigma(shape), alpha_norm(6), total_variation(2)
    optimizer = optax.adam(optax.cosine_decay_schedule(rate / scale, steps), b2=0.99)

    def error(u: jax.Array) -> jax.Array:
        return jnp.sum((phi(scale * u) - feature) ** 2) / jnp.sum(feature**2)

    def objective(u: jax.Array) -> jax.Array:
        return error(u) + default_lambda_alpha(shape) * prior(u) + phi.lambda_tv * smooth(u)

    def step(state: tuple[jax.Array, optax.OptState], _: None) -> tuple[tuple[jax.Array, optax.OptState], None]:
        u, memory = state
        update, memory = optimizer.update(jax.grad(objective)(u), memory)
        return (optax.apply_updates(u, update), memory), None

    def descend(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        noise = jax.random.normal(key, shape)
        u = noise / jnp.linalg.norm(noise)
        (u, _), _ = jax.lax.scan(step, (u, optimizer.init(u)), length=steps)
        return scale * u, error(u)

    return jax.jit(jax.vmap(descend))(jax.random.split(jax.random.key(0), restarts))


def main() -> None:
    """Reads the arguments, inverts and saves a sheet: the picture first, then the reconstructions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--representation", default="hog", help="a name, or my_file.py:make")
    parser.add_argument("--size", type=int, default=128, help="side in pixels")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=8.0, help="of Adam, in grey levels")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    options = parser.parse_args()

    phi = representations.get(options.representation)
    x0 = load_image(options.picture, phi.input, size=options.size)
    found, errors = invert(phi, phi(jnp.asarray(x0)), x0.shape, options.restarts, options.steps, options.rate)
    save_image(options.out, np.concatenate([x0, *np.asarray(found)], axis=1), phi.input)
    print(f"{options.out}: relative errors {', '.join(f'{error:.4f}' for error in errors)}")


if __name__ == "__main__":
    main()
