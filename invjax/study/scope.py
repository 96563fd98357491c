"""What reconstructions are looked at with: pixels, the representation that was inverted, and all its other layers."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from invjax import masks, metrics, networks, representations
from invjax.experiment.plan import compute_features
from invjax.representations.networks import several
from invjax.types import Image, InputSpec, Params, Representation

SHALLOW = ("hog", "hogb", "dsift")  # serve as the other layers of representations that have none, with their defaults
HELD = 1 << 29  # bytes of features to be held at once, about
PIXELS, INVERTED = "pixels", "inverted"  # names of features that no layer has

Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class View:
    """A representation, and the name of its feature, or the names of several in a dict."""

    phi: Representation
    names: tuple[str, ...]

    def look(self, pictures: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """The features of pictures, by name: float32 [N, values]."""
        for name, rows in self.rows(pictures):
            yield name, np.stack(rows)

    def rows(self, pictures: Iterable[np.ndarray]) -> Iterator[tuple[str, list[np.ndarray]]]:
        """The same, a row for each picture: one after the other they need not lie in memory twice."""
        found, several = compute_features(self.phi, pictures), len(self.names) > 1
        for name in self.names:
            yield name, [metrics.row(feature[name] if several else feature) for feature in found]


@dataclasses.dataclass(frozen=True)
class Scope:
    """All views of the reconstructions of one representation.

    Attributes:
        inverted: what was inverted, with its mask, by layer.
        views: pixels, and every layer that a picture of this size has; of representations without layers, SHALLOW.
        classifier: name of the feature whose values are those of classes; "" where there is none.
    """

    inverted: dict[str, View]
    views: tuple[View, ...]
    classifier: str = ""


def build(config: ConfigDict, name: str, layers: Sequence[str], shape: Shape, count: int) -> Scope:
    """Builds the views of a representation.

    Args:
        config: of the run's variant.
        name: of the representation.
        layers: that were inverted, as the results call them.
        shape: [H, W, C] of the pictures.
        count: of the pictures that are looked at together: the more, the fewer layers at a time.

    Raises:
        UserError: the weights are not to be found, or a layer or option does not exist.
    """
    if name in networks.names():
        phis, views, classifier = _of_network(config, name, layers, shape, count)
    else:
        phis, views, classifier = _of_shallow(config, name, shape), _shallow(shape), ""
    pixels = View(Representation({}, _pixels, PIXELS, InputSpec(shape[2])), (PIXELS,))
    inverted = {layer: View(_masked(phi, config.mask, shape), (INVERTED,)) for layer, phi in phis.items()}
    return Scope(inverted, (pixels, *views), classifier)


def _pixels(params: Params, image: Image) -> Image:
    return image


def _masked(phi: Representation, mask: str, shape: Shape) -> Representation:
    return masks.apply(phi, masks.named(mask, phi.feature_shape(shape))) if mask else phi


def _of_shallow(config: ConfigDict, name: str, shape: Shape) -> dict[str, Representation]:
    valid = inspect.signature(representations.factory(name)).parameters
    options = {option: value for option, value in config.options.items() if value is not None and option in valid}
    return {"": representations.get(name, **options)}


def _shallow(shape: Shape) -> list[View]:
    views = [View(representations.get(name), (name,)) for name in SHALLOW]
    return [view for view in views if view.phi.input.minimum <= min(shape[:2])]


def _of_network(
    config: ConfigDict, name: str, layers: Sequence[str], shape: Shape, count: int
) -> tuple[dict[str, Representation], list[View], str]:
    """What was inverted, all layers, and the classifier."""
    network = networks.get(name)
    visible = [layer for layer in network.names() if _sees(network.until(layer), shape)]
    portions = _portions(network, visible, shape, count)
    phis = several(name, [*layers, *portions], config.weights, config.weights_seed, config.precision)
    views = [View(phi, tuple(portion)) for phi, portion in zip(phis[len(layers) :], portions, strict=True)]
    # random weights have no classes: whatever the picture, some unit answers most
    has_classes = visible[-1:] == [network.names()[-1]] and config.weights != "random"
    return dict(zip(layers, phis, strict=False)), views, visible[-1] if has_classes else ""


def _sees(network: networks.Network, shape: Shape) -> bool:
    side = network.input.size
    return shape[:2] == (side, side) if network.has_dense() else min(shape[:2]) >= network.minimum()


def _portions(network: networks.Network, layers: Sequence[str], shape: Shape, count: int) -> list[list[str]]:
    """As many layers at a time as fit into HELD for `count` pictures, at least one."""
    shapes = network.until(*layers).shapes()
    values = shape[0] * shape[1] / network.input.size**2 * 4 * count  # bytes of a value of the network's own size
    portions: list[list[str]] = []
    held = math.inf
    for layer in layers:
        size = values * math.prod(shapes[layer])
        if held + size > HELD:
            portions.append([])
            held = 0.0
        portions[-1].append(layer)
        held += size
    return portions
