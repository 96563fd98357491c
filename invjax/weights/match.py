"""Fits the arrays of a file to a network: names, shapes, layouts and colours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from invjax.errors import UserError
from invjax.networks.network import PICTURE, Network
from invjax.weights.found import Found, Layers

# torchvision numbers the layers of its networks; those with weights, in order
_TORCHVISION = {
    "alexnet_owt": (0, 3, 6, 8, 10, 1, 4, 6),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 0, 3, 6),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34, 0, 3, 6),
}
# the authors' SqueezeNet has other names than its Deep Compression release
_SQUEEZENET = {"squeeze1x1": "conv1x1_1", "expand1x1": "conv1x1_2", "expand3x3": "conv3x3_2", "conv10": "conv_final"}
_MOST_NAMES = 8  # in a message


def convert(found: Found, network: Network, colours: str = "") -> Layers:
    """Weights as `network.parameter_shapes()` has them, for RGB pictures of 0..255 minus a mean.

    Args:
        found: of a file.
        network: what they are for, all its layers.
        colours: "rgb" or "bgr", order of the input channels, where the file does not tell.

    Returns:
        {layer: {"kernel": float32, "bias": float32}}.

    Raises:
        UserError: arrays are missing, left over, of another shape or not finite, or the colours are not known.
    """
    if found.network not in ("", network.name):
        raise UserError(f"holds weights of {found.network}, not of {network.name}")
    if found.colours and colours and found.colours != colours:
        raise UserError(f"such files are for {found.colours.upper()} pictures: leave --colours out")
    colours = found.colours or colours
    layers = fit(found, network)
    if colours not in ("rgb", "bgr"):
        raise UserError(
            "does not tell the order of colours: import it with --colours bgr (as Caffe's) or --colours rgb"
        )
    return {name: _layer(name, layers[name], found, network, colours) for name in network.parameter_shapes()}


def _layer(
    name: str, arrays: dict[str, np.ndarray], found: Found, network: Network, colours: str
) -> dict[str, np.ndarray]:
    with np.errstate(all="ignore"):  # numbers that overflow are found below
        if "kernel" in arrays:
            kernel = arrays["kernel"]
        else:
            kernel = arrays["weight"].reshape(_axes(name, network)).transpose(2, 3, 1, 0)
            if PICTURE in next(layer.of for layer in network.layers if layer.name == name):
                kernel = kernel[:, :, :: -1 if colours == "bgr" else 1] / np.reshape(found.deviation, (-1, 1))
            kernel = kernel.reshape(network.parameter_shapes()[name]["kernel"])
        layer = {"kernel": np.ascontiguousarray(kernel, np.float32), "bias": np.float32(arrays["bias"]).ravel()}
    if not all(np.isfinite(array).all() for array in layer.values()):
        raise UserError(f"{name} has weights that are not finite")
    return layer


def _axes(name: str, network: Network) -> tuple[int, int, int, int]:
    """(out, in, h, w) of a layer's weights; a fully connected layer is a convolution with one position."""
    shape = network.parameter_shapes()[name]["kernel"]
    if len(shape) == 2:
        shape = (1, 1, *network.dense_input(name))[-3:] + shape[1:]
    height, width, inputs, outputs = shape
    return outputs, inputs, height, width


def fit(found: Found, network: Network) -> Layers:
    """The file's arrays by the network's names of layers, none missing, left over or of another shape.

    Raises:
        UserError: some are.
    """
    layers = _renamed(found.layers, network)
    shapes = network.parameter_shapes()
    wanted = {f"{name}/{_called(kind, layers.get(name, {}))}" for name in shapes for kind in shapes[name]}
    there = {f"{name}/{kind}" for name, arrays in layers.items() for kind in arrays}
    problems = [
        *_listed("missing", sorted(wanted - there)),
        *_listed("left over", sorted(there - wanted)),
        *_listed("of another shape", list(_misshaped(layers, network))),
    ]
    if problems:
        raise UserError(f"does not fit {network.name}: {'; '.join(problems)}")
    return layers


def _renamed(layers: Layers, network: Network) -> Layers:
    synonyms = {}
    for name, number in zip(network.weighted(), _TORCHVISION.get(str(network.name), ()), strict=False):
        synonyms[f"{'classifier' if name.startswith('fc') else 'features'}.{number}"] = name
    renamed: Layers = {}
    for name, arrays in layers.items():
        module, slash, last = name.rpartition("/")
        if network.name == "squeezenet":
            name = module + slash + _SQUEEZENET.get(last, last)
        name = synonyms.get(name, name)
        if name in renamed:
            raise UserError(f"two layers are called {name}")
        renamed[name] = arrays
    return renamed


def _called(kind: str, arrays: dict[str, np.ndarray]) -> str:
    return "weight" if kind == "kernel" and "kernel" not in arrays else kind


def _misshaped(layers: Layers, network: Network) -> Iterator[str]:
    for name, shapes in network.parameter_shapes().items():
        allowed = {"weight": _weight_shapes(name, network), "kernel": [shapes["kernel"]], "bias": [shapes["bias"]]}
        for kind, array in layers.get(name, {}).items():
            shape = array.shape if kind != "bias" else (array.size,)  # Caffe and MATLAB have axes of 1 around biases
            if kind in allowed and shape not in allowed[kind]:
                yield f"{name}/{kind} ({_sides(shape)}, not {_sides(allowed[kind][0])})"


def _weight_shapes(name: str, network: Network) -> list[tuple[int, ...]]:
    """Shapes that a layer's weights may have in a file; a fully connected layer is a convolution for MatConvNet."""
    axes = outputs, inputs, height, width = _axes(name, network)
    flat = (outputs, inputs * height * width)
    return [flat, (1, 1, *flat), axes] if len(network.parameter_shapes()[name]["kernel"]) == 2 else [axes]


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _listed(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return [f"{what}: {', '.join(names[:_MOST_NAMES])}{more}"] if names else []
