"""Functions and networks of your own as Φ: `from_function`, and what `from_flax` and `from_nnx` have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from invjax.errors import UserError, suggestion
from invjax.types import Array, Feature, Image, InputSpec, Layer, Origin, Params, Representation

CUSTOM = "custom"  # the name of what nobody has named
# (params, batch [1, H, W, C], wanted) → (output, {name of a layer: its output}), for the names that `wanted` accepts
Forward = Callable[[Params, Array, Callable[[str], bool]], tuple[Any, dict[str, Any]]]


def from_function(
    f: Callable[[Params, Image], Feature],
    params: Params,
    input_spec: InputSpec,
    name: str = CUSTOM,
    layer: str = "",
    family: str = "descriptor",
) -> Representation:
    """Any JAX function of one picture as Φ.

    Args:
        f: `f(params, image)` → feature, for one image float32 [H, W, C], true pixel values minus `input_spec.mean`;
            the feature is float32, one array or a dict of them. Make it a module-level function or a frozen dataclass:
            it is compiled once for all that compare equal, and two lambdas never do.
        params: pytree of the arrays that f depends on; what f holds otherwise becomes a constant of the program.
        input_spec: what f wants to be shown; f is tried, without computing, on a picture of `input_spec.size`.
        name, layer: what to call it.
        family: "descriptor" or "network": which of the paper's two recipes the recipe "paper" is.

    Returns:
        The representation.

    Raises:
        UserError: f fails on such a picture, or its feature is not float32.
    """
    return _checked(Representation(jax.device_put(params), f, name, input_spec, layer, family))


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that sees batches, as a pure function of one picture.

    Attributes:
        forward: runs the network.
        capture: names of the layers to take; a single one as text; empty: the network's output.
        preprocess: from the batch of the picture to what the network reads; None: nothing to do.
    """

    forward: Forward
    capture: str | tuple[str, ...] = ""
    preprocess: Callable[[Array], Array] | None = None

    def __call__(self, params: Params, image: Image) -> Feature:
        """Returns a layer's output without the batch axis, float32; of several layers a dict by name."""
        output, layers = self.run(params, image, lambda layer: layer in self.names)
        if self.capture:
            output = layers[self.capture] if isinstance(self.capture, str) else {n: layers[n] for n in self.capture}
        return jax.tree.map(_only, output)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers to take."""
        return (self.capture,) * bool(self.capture) if isinstance(self.capture, str) else self.capture

    def run(self, params: Params, image: Image, wanted: Callable[[str], bool]) -> tuple[Any, dict[str, Any]]:
        """Shows the network a batch of one; what no captured layer needs, the compiler leaves out."""
        batch = image[None]
        return self.forward(params, self.preprocess(batch) if self.preprocess else batch, wanted)


def _only(batch: Array) -> Array:
    if jnp.shape(batch)[:1] != (1,):
        raise UserError(
            f"a captured output has shape {list(jnp.shape(batch))}, not [1, ...] for a batch of one picture: "
            "capture another layer"
        )
    return batch[0].astype(jnp.float32) if jnp.issubdtype(batch.dtype, jnp.floating) else batch[0]


def from_network(
    forward: Forward,
    params: Params,
    input_spec: InputSpec,
    capture: str | Sequence[str],
    name: str,
    preprocess: Callable[[Array], Array] | None,
) -> Representation:
    """A network of any library as Φ; arguments as in `linen.from_flax`.

    Raises:
        UserError: the network cannot be run, has no such layer, or the layer has no feature to invert.
    """
    capture = capture if isinstance(capture, str) else tuple(capture)
    apply = Network(forward, capture, preprocess)
    parts = () if isinstance(capture, str) else tuple((layer, 1.0) for layer in capture)
    layer = "+".join(apply.names) or "output"
    phi = Representation(jax.device_put(params), apply, name, input_spec, layer, "network", parts)
    valid = _layers(phi, apply)
    for layer in apply.names:
        if layer not in valid:
            raise UserError(f"{name} has no layer '{layer}'. {suggestion(layer, valid)}")
    return dataclasses.replace(_checked(phi), origin=Origin(layers=tuple(map(Layer, valid))))


def _layers(phi: Representation, apply: Network) -> list[str]:
    """Names of all layers that can be captured, in the order of the network's own records."""
    found: list[str] = []

    def run(phi: Representation, image: Image) -> None:
        found.extend(filter(None, apply.run(phi.params, image, lambda _: True)[1]))

    _traced(run, phi)
    return found


def _checked(phi: Representation) -> Representation:
    """The same representation, once it is known to have a feature that can be inverted."""
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(_traced(Representation.__call__, phi))}
    if dtypes != {"float32"}:
        got = ", ".join(sorted(dtypes)) or "nothing"
        raise UserError(f"{phi.name}: features must be float32, got {got}: convert them or take another layer")
    return phi


def _traced(function: Callable[[Representation, Image], Any], phi: Representation) -> Any:
    """What a function of phi and a picture for it returns, as shapes: nothing is computed."""
    try:
        hash(phi.apply)
    except TypeError as error:
        raise UserError(f"{phi.name}: all but the arrays in params must be hashable ({error})") from error
    shape = (phi.input.size, phi.input.size, phi.input.channels)
    try:
        return jax.eval_shape(function, phi, jax.ShapeDtypeStruct(shape, jnp.float32))
    except UserError:
        raise
    except Exception as error:  # whatever the user's code raises
        what = " ".join(str(error).split()) or "no message"
        raise UserError(f"{phi.name} fails on a picture {list(shape)}: {type(error).__name__}: {what}") from error
