"""What the precision of a network's products does to the error that a reconstruction ends with.

python -m experiments.precision --images photos [--network squeezenet] [--weights W] [--layers conv1,fire4/concat,…]
                                [--recipes fast,paper] [--steps 50] [--pictures 3] [--json FILE]

Each picture's feature is inverted once in float32, TF32 and bfloat16, from the same noise. "own" is the relative error
by the network that was inverted, "true" that of the same picture by the float32 network. TF32 is float32 on a CPU;
there, operands of every product, forward and backward, are rounded to its ten bits instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from invjax import devices, images, inversion, losses, networks
from invjax.networks import cpu
from invjax.representations.network import network
from invjax.runs.sources import find_pictures
from invjax.types import Array, Representation

Row = dict[str, Any]


def rounded_product(x: Array, kernel: cpu.Kernel, pad: int, precision: lax.Precision) -> Array:
    """`cpu._product` of operands that have TF32's ten bits of mantissa."""
    rounded = [lax.reduce_precision(operand, 8, 10) for operand in (x, kernel.plain)]
    return lax.conv_general_dilated(
        rounded[0], rounded[1], (1, 1), ((pad, pad), (pad, pad)), dimension_numbers=cpu.LAYOUT, precision=precision
    )


def emulated(precision: str) -> contextlib.AbstractContextManager[Any]:
    """While it is open, programs that are compiled round to TF32 where this is asked for and the device does not."""
    if precision == "tf32" and devices.sequential():
        return mock.patch.object(cpu, "_product", rounded_product)
    return contextlib.nullcontext()


def inverted(phi: Representation, picture: np.ndarray, recipe: str, steps: int) -> tuple[np.ndarray, float]:
    """A picture recovered from its feature, and its relative error by phi."""
    target = jax.jit(Representation.__call__)(phi, picture)
    key = jax.random.key(0)
    found = inversion.invert(
        phi, target, key=key, image_shape=picture.shape, recipe=recipe, steps=steps, every=steps, batch_size=1
    )
    return found.images[0], float(found.relative_error[0])


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """The mean errors of each layer, recipe and precision."""
    for layer in options.layers:
        exact = network(options.network, layer, options.weights, precision="float32")
        error = jax.jit(lambda phi, image, picture: losses.euclidean(phi(image), phi(picture)))
        files = find_pictures((options.images,))[: options.pictures]
        pictures = [images.load_image(file.path, exact.input, size=exact.input.size) for file in files]
        for recipe in options.recipes:
            for precision in networks.PRECISIONS:
                jax.clear_caches()  # what was compiled with other products
                with emulated(precision):
                    phi = network(options.network, layer, options.weights, precision=precision)
                    found = [inverted(phi, picture, recipe, options.steps) for picture in pictures]
                jax.clear_caches()
                true = [
                    float(error(exact, jnp.asarray(image), picture))
                    for (image, _), picture in zip(found, pictures, strict=True)
                ]
                own = [value for _, value in found]
                yield {"layer": layer, "recipe": recipe, "precision": precision, "own": own, "true": true}


def _names(text: str) -> list[str]:
    return text.split(",")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; lists are separated by commas."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--network", default="squeezenet")
    parser.add_argument("--weights", default="")
    parser.add_argument("--layers", default=["conv1", "fire4/concat", "fire8/concat", "fire9/concat"], type=_names)
    parser.add_argument("--recipes", default=["fast", "paper"], type=_names)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Prints a line for each layer, recipe and precision, and writes them as JSON where asked to."""
    options, measured = parse(arguments), []
    for row in rows(options):
        own, true = np.mean(row["own"]), np.mean(row["true"])
        print(f"{row['layer']:14} {row['recipe']:6} {row['precision']:9} own {own:.5f}  true {true:.5f}", flush=True)
        measured.append(row)
        if options.json:
            options.json.write_text(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
