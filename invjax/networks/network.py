"""A network: a table of named layers, and a Flax module that computes the ones asked for.

    CAFFENET = Network(chain(("conv1", Conv(96, 11, stride=4)), ("relu1", Relu()), …), InputSpec(…), name="caffenet")

Any layer can be the output; layers that no output depends on are not computed and need no weights.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from invjax.errors import UserError, suggestion
from invjax.networks.layers import Conv, Dense, Geometry, GlobalAverage
from invjax.types import Array, InputSpec

PICTURE = "picture"  # what the first layer reads
PRECISIONS = {  # by name: what features inside a network and its kernels are, and how float32 is multiplied
    "float32": (jnp.float32, lax.Precision.HIGHEST),
    "tf32": (jnp.float32, lax.Precision.HIGH),  # TF32 on NVIDIA, as good on a TPU; a CPU has nothing less than float32
    "bfloat16": (jnp.bfloat16, lax.Precision.HIGH),
}


class Placement(NamedTuple):
    """What a layer's positions see: position i, along rows or columns, the pixels offset + i · stride … + window − 1.

    The offset is negative where the layers pad the picture.
    """

    offset: int
    window: int
    stride: int

    def through(self, step: Geometry) -> Placement:
        """What the positions of the next layer see."""
        window = self.window + (step.window - 1) * self.stride
        return Placement(self.offset - step.pad * self.stride, window, self.stride * step.stride)


def _union(places: list[Placement]) -> Placement:
    """What features of the same positions see together."""
    offset = min(seen.offset for seen in places)
    return Placement(offset, max(seen.offset + seen.window for seen in places) - offset, places[0].stride)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A named layer and the names of the layers that it reads."""

    name: str
    op: nn.Module
    of: tuple[str, ...]

    @property
    def geometry(self) -> Geometry:
        """What a position of its output sees of its input."""
        return self.op.geometry() if hasattr(self.op, "geometry") else Geometry()


def chain(*entries: tuple[Any, ...]) -> tuple[Layer, ...]:
    """Layers from entries (name, op) that read the entry before, or (name, op, name, …) that read those named."""
    layers: list[Layer] = []
    for name, op, *of in entries:
        layers.append(Layer(name, op, tuple(of) or (layers[-1].name if layers else PICTURE,)))
    return tuple(layers)


class Network(nn.Module):
    """A network that ends at the layers asked for.

    Attributes:
        layers: all its layers, each after those it reads.
        input: what it wants to be shown.
        outputs: names of the layers wanted; none: the last one.
        precision: of its products, a name of PRECISIONS; pictures, outputs and their gradients are float32 in any case.
    """

    layers: tuple[Layer, ...]
    input: InputSpec
    outputs: tuple[str, ...] = ()
    precision: str = "tf32"

    @nn.compact
    def __call__(self, images: Array) -> dict[str, Array]:
        """Features of `outputs` by name, of a batch of images float32 [N, H, W, C]."""
        kind, products = PRECISIONS[self.precision]
        values = {PICTURE: images.astype(kind)}
        for layer in self.needed():
            options: dict[str, Any] = {"precision": products} if hasattr(layer.op, "precision") else {}
            values[layer.name] = layer.op.copy(name=layer.name, **options)(*(values[name] for name in layer.of))
        return {name: values[name].astype(jnp.float32) for name in self.ends()}

    def ends(self) -> tuple[str, ...]:
        """Names of the layers wanted."""
        return self.outputs or (self.layers[-1].name,)

    def names(self) -> tuple[str, ...]:
        """Names of all layers."""
        return tuple(layer.name for layer in self.layers)

    def until(self, *outputs: str) -> Network:
        """The same network with other outputs.

        Raises:
            UserError: a layer that it does not have; the message lists the valid ones and the nearest.
        """
        for output in outputs:
            if output not in self.names():
                raise UserError(f"{self.name} has no layer '{output}'. {suggestion(output, self.names())}")
        return self.clone(outputs=tuple(outputs))

    def needed(self) -> tuple[Layer, ...]:
        """The layers that the outputs depend on, in order."""
        wanted = set(self.ends())
        for layer in reversed(self.layers):
            if layer.name in wanted:
                wanted.update(layer.of)
        return tuple(layer for layer in self.layers if layer.name in wanted)

    def weighted(self) -> tuple[str, ...]:
        """Names of the needed layers that have weights."""
        return tuple(layer.name for layer in self.needed() if isinstance(layer.op, (Conv, Dense)))

    def reach(self) -> dict[str, tuple[int, int]]:
        """(receptive field, stride) in pixels of each needed layer; what sees the whole picture has a field of 0."""
        return {name: (seen.window, seen.stride) for name, seen in self.placement().items()}

    def placement(self) -> dict[str, Placement]:
        """Where in the picture each needed layer looks; what sees the whole picture has a window of 0."""
        places = {PICTURE: Placement(0, 1, 1)}
        for layer in self.needed():
            inputs = [places[name] for name in layer.of]
            whole = isinstance(layer.op, (Dense, GlobalAverage)) or not all(seen.window for seen in inputs)
            places[layer.name] = Placement(0, 0, 0) if whole else _union(inputs).through(layer.geometry)
        del places[PICTURE]
        return places

    def prepare(self, params: Any) -> dict[str, Any]:
        """What `apply` takes, of the weights of at least the needed layers: they, and kernels as `ops.conv` likes them.

        Without the collection "prepared", kernels are prepared at every call, with gradients through them.
        """
        kind = PRECISIONS[self.precision][0]
        weights = {name: params[name] | {"kernel": params[name]["kernel"].astype(kind)} for name in self.weighted()}
        convolutions = [layer for layer in self.needed() if isinstance(layer.op, Conv)]
        ready = {layer.name: {"kernels": layer.op.prepare(weights[layer.name]["kernel"])} for layer in convolutions}
        return {"params": weights, "prepared": ready}

    def has_dense(self) -> bool:
        """Whether an output depends on a fully connected layer, which fixes the size of the picture."""
        return any(isinstance(layer.op, Dense) for layer in self.needed())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each needed layer's feature, of a picture of the size it was designed for."""
        return _shapes(self._whole())[0]

    def parameter_shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Shapes of the weights of the needed layers: kernels [h, w, in / groups, out] or [in, out], biases [out]."""
        return _shapes(self._whole())[1]

    def _whole(self) -> Network:
        """The same network with all needed layers as outputs."""
        return self.clone(outputs=tuple(layer.name for layer in self.needed()))

    def dense_input(self, name: str) -> tuple[int, ...]:
        """Shape [h, w, c] of the feature that a fully connected layer flattens."""
        network = self.until(name)
        return network.shapes()[network.needed()[-1].of[0]]

    def minimum(self) -> int:
        """Least side of a picture for which every needed layer has a window that does not hang over the edge."""
        if self.has_dense():
            return self.input.size
        return next(side for side in range(1, self.input.size + 1) if self._fits(side))

    def _fits(self, side: int) -> bool:
        sides = {PICTURE: side}
        for layer in self.needed():
            step = layer.geometry
            before = sides[layer.of[0]]
            if before + 2 * step.pad < step.window:
                return False
            sides[layer.name] = (before + 2 * step.pad - step.window) // step.stride + 1
        return True

    def weights(self) -> int:
        """Numbers in the weights of the needed layers."""
        return sum(math.prod(shape) for layer in self.parameter_shapes().values() for shape in layer.values())

    def operations(self) -> int:
        """Multiplications of one forward pass at the size it was designed for, convolutions and dense layers."""
        shapes, weights = self.shapes(), self.parameter_shapes()
        return sum(math.prod(weights[name]["kernel"]) * math.prod(shapes[name][:-1]) for name in self.weighted())


@functools.cache
def _shapes(network: Network) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = network.input
    picture = jax.ShapeDtypeStruct((1, spec.size, spec.size, spec.channels), jnp.float32)
    features, variables = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x), picture)
    shapes = jax.tree.map(lambda leaf: leaf.shape, variables["params"])
    return {name: feature.shape[1:] for name, feature in features.items()}, shapes
