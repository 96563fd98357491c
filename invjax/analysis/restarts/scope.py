"""What reconstructions are looked at with: pixels, the representation that was inverted, and all its other layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from invjax import masks, metrics, representations
from invjax.errors import UserError
from invjax.runs.plan import compute_features, representations_of
from invjax.types import Image, InputSpec, Params, Representation
from invjax.weights.store import RANDOM

SHALLOW = ("hog", "hogb", "dsift")  # serve as the other layers of representations that have none, with their defaults
HELD = 1 << 29  # bytes of features to be held at once, about
PIXELS, INVERTED = "pixels", "inverted"  # names of features that no layer has

Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class View:
    """A representation, and the name of its feature, or the names of several in a dict."""

    phi: Representation
    names: tuple[str, ...]

    def features_of(self, pictures: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
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
        name: of the representation, as the config has it.
        layers: that were inverted, as the results call them.
        shape: [H, W, C] of the pictures.
        count: of the pictures that are looked at together: the more, the fewer layers at a time.

    Raises:
        UserError: the weights are not to be found, or a layer or option does not exist.
    """
    layered = "layer" in representations.options(name)
    phis = representations_of(config, name, layers if layered else ())
    views, classifier = _of_network(config, name, phis[0], layers, shape, count) if layered else (_shallow(shape), "")
    pixels = View(Representation({}, _pixels, PIXELS, InputSpec(shape[2])), (PIXELS,))
    inverted = {
        layer: View(_masked(phi, config.mask, shape), (INVERTED,)) for layer, phi in zip(layers, phis, strict=True)
    }
    return Scope(inverted, (pixels, *views), classifier)


def _pixels(params: Params, image: Image) -> Image:
    return image


def _masked(phi: Representation, mask: str, shape: Shape) -> Representation:
    return masks.apply(phi, masks.named(mask, phi.feature_shape(shape))) if mask else phi


def _shallow(shape: Shape) -> list[View]:
    views = [View(representations.get(name), (name,)) for name in SHALLOW]
    return [view for view in views if _sees(view.phi, shape)]


def _of_network(
    config: ConfigDict, name: str, phi: Representation, layers: Sequence[str], shape: Shape, count: int
) -> tuple[list[View], str]:
    """Views of all layers that a picture of this shape has, and the one that classifies, if any."""
    every = [layer.name for layer in phi.origin.layers] or list(layers)
    # of nested modules, those on the level of what was inverted
    level = max(layer.count("/") for layer in layers)
    beside = [layer for layer in every if layer in layers or layer.count("/") <= level]
    made = dict(zip(beside, representations_of(config, name, beside), strict=True))
    visible = {layer: phi for layer, phi in made.items() if _sees(phi, shape)}
    if representations.layers(name):  # of invjax's own networks, several at once cost hardly more than the last one
        portions = _portions(visible, shape, count)
        joined = representations_of(config, name, ["+".join(portion) for portion in portions])
        views = [View(phi, tuple(portion)) for phi, portion in zip(joined, portions, strict=True)]
    else:
        views = [View(phi, (layer,)) for layer, phi in visible.items()]
    return views, _classifier(config, phi, visible, shape)


def _classifier(config: ConfigDict, phi: Representation, visible: Mapping[str, Representation], shape: Shape) -> str:
    """The last layer of a network, where it is a vector: its values are those of classes."""
    last = phi.origin.layers[-1].name if phi.origin.layers else ""
    # random weights have no classes: whatever the picture, some unit answers most
    if config.weights == RANDOM or last not in visible:
        return ""
    return last if len(_leaves(visible[last], shape)[0]) == 1 else ""


def _sees(phi: Representation, shape: Shape) -> bool:
    """Whether a picture of that shape has this layer, as one array."""
    try:
        phi.input.check(shape, phi.name)
    except UserError:
        return False
    return len(_leaves(phi, shape)) == 1


def _leaves(phi: Representation, shape: Shape) -> list[tuple[int, ...]]:
    """Shapes of the arrays of a feature."""
    return jax.tree.leaves(phi.feature_shape(shape), is_leaf=lambda leaf: isinstance(leaf, tuple))


def _portions(phis: Mapping[str, Representation], shape: Shape, count: int) -> list[list[str]]:
    """As many layers at a time as fit into HELD for `count` pictures, at least one."""
    portions: list[list[str]] = []
    held = math.inf
    for layer, phi in phis.items():
        size = 4 * count * math.prod(_leaves(phi, shape)[0])  # bytes
        if held + size > HELD:
            portions.append([])
            held = 0.0
        portions[-1].append(layer)
        held += size
    return portions
