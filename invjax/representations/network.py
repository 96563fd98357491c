"""Layers of convolutional networks as representations: `get("caffenet", layer="relu5", weights=…)`."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import jax

from invjax import networks
from invjax.errors import UserError
from invjax.types import Array, Feature, Image, Layer, Origin, Params, Representation, Work

Layers: TypeAlias = str | Sequence[str] | Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class NetworkFeature:
    """The features of a network's outputs as a pure function of one picture and the network's variables.

    These are {"params": {layer: {"kernel", "bias"}}}; the kernels in the shapes that products want come beside them in
    `prepared`, once for many pictures, or else in the call.
    """

    network: networks.Network

    def __call__(self, params: Params, image: Image) -> Feature:
        """One feature [h, w, c] or [c]; of several outputs a dict of them by name."""
        batches: dict[str, Array] = self.network.apply(params, image[None])  # type: ignore[assignment]
        features = {name: batch[0] for name, batch in batches.items()}
        return features if len(features) > 1 else features[self.network.ends()[0]]

    def prepared(self, params: Params) -> tuple[NetworkFeature, Params]:
        """See `Network.prepare`; what is prepared stays as it is."""
        return self, params if "prepared" in params else self.network.prepare(params["params"])

    def work(self) -> Work:
        """Of one forward pass, at the size that the network was designed for."""
        return Work(self.network.operations(), self.network.weights())


@dataclasses.dataclass(frozen=True)
class Factory:
    """Makes representations of one network; what it is called with, and its docstring, describe them."""

    name: str

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        """The network's own, and what all are called with."""
        return f"{networks.factory(self.name).__doc__}\n{(network.__doc__ or '').partition('.')[2]}"

    def __call__(self, layer: Layers = "", weights: str = "", seed: int = 0, precision: str = "tf32") -> Representation:
        """See `network`."""
        return self.several([layer], weights, seed, precision)[0]

    def several(
        self, layers: Sequence[Layers], weights: str = "", seed: int = 0, precision: str = "tf32"
    ) -> list[Representation]:
        """Representations of several layers, which share the arrays of their weights; arguments as in `network`."""
        from invjax import weights as store  # readers of files, which other representations do not need

        if precision not in networks.PRECISIONS:
            raise UserError(f"precision must be one of {', '.join(networks.PRECISIONS)}, got '{precision}'")
        whole = networks.get(self.name).clone(precision=precision)
        chosen = [parse_layers(layer) or {whole.names()[-1]: 1.0} for layer in layers]
        union = whole.until(*dict.fromkeys(itertools.chain(*chosen)))
        loaded = store.load(union, weights, seed, only=union.weighted())
        shared = jax.device_put(loaded.params)
        made = [build(whole.until(*parts), shared, loaded.mean, parts, loaded.source) for parts in chosen]
        return [replace(phi, origin=replace(phi.origin, made_by=self.name)) for phi in made]

    def layers(self) -> tuple[Layer, ...]:
        """All layers, known before any weights are read."""
        return layers_of(networks.get(self.name))


def network(name: str, layer: Layers = "", weights: str = "", seed: int = 0, precision: str = "tf32") -> Representation:
    """One or more layers of a network.

    Args:
        name: of the network, one of `networks.names()`.
        layer: name of a layer; several as a sequence, a mapping to their weights in the objective, or as text,
            "relu2+0.5*relu5": the feature then is a dict. Default: the last layer.
        weights: "" (those of the network's name that were fetched or imported), a name of the catalog, a file, or
            "random".
        seed: of random weights.
        precision: of the network's products, "float32", "tf32" (the same on a CPU) or "bfloat16": features inside and
            kernels too. Φ is what is computed so: features, errors and gradients follow it.

    Raises:
        UserError: no such layer, no such weights, or no such precision.
    """
    return Factory(name)(layer, weights, seed, precision)


def build(
    network: networks.Network,
    variables: Params,
    mean: Sequence[float] | None = None,
    parts: Mapping[str, float] | None = None,
    source: str = "",
) -> Representation:
    """The representation of a network's outputs with given weights.

    Args:
        network: that ends where it should, `networks.get("caffenet").until("relu5")`.
        variables: {layer: {"kernel", "bias"}}, or {"params": these}; more layers do no harm.
        mean: per channel, grey levels; default the network's.
        parts: the outputs and their weights in the objective; default equal.
        source: where the weights came from, for the record.
    """
    parts, weights = parts or dict.fromkeys(network.ends(), 1.0), variables.get("params", variables)
    return Representation(
        params={"params": {name: weights[name] for name in network.weighted()}},
        apply=NetworkFeature(network),
        name=network.name or "network",
        input=replace(
            network.input,
            mean=tuple(map(float, mean or network.input.mean)),
            minimum=network.minimum(),
            fixed=network.has_dense(),
        ),
        layer=describe(parts),
        parts=tuple(parts.items()) if len(parts) > 1 else (),
        lambda_tv=suitable_lambda_tv(network),
        family="network",
        origin=Origin(source=source, layers=layers_of(network)),
    )


def layers_of(network: networks.Network) -> tuple[Layer, ...]:
    """All layers of a network, and what they see, whatever it ends at."""
    return tuple(Layer(name, *seen) for name, seen in network.until(*network.names()).placement().items())


def parse_layers(layer: Layers) -> dict[str, float]:
    """Names of layers and their weights; "relu2+0.5*relu5" is {"relu2": 1, "relu5": 0.5}.

    Raises:
        UserError: a weight that is not a positive number, or a layer named twice.
    """
    if isinstance(layer, Mapping):
        parts = list(layer.items())
    else:
        terms = [term.strip() for term in layer.split("+")] if isinstance(layer, str) else list(layer)
        parts = [_weighted(term) for term in terms if term]
    for name, weight in parts:
        if not 0 < weight < float("inf"):
            raise UserError(f"the weight of layer {name} must be a positive number, got {weight}")
    if len(dict(parts)) < len(parts):
        raise UserError(f"a layer is named twice: {', '.join(name for name, _ in parts)}")
    return dict(parts)


def _weighted(term: str) -> tuple[str, float]:
    weight, times, name = term.rpartition("*")
    try:
        return name.strip(), float(weight) if times else 1.0
    except ValueError:
        raise UserError(f"'{term}' is not a layer with a weight: write it as 0.5*relu5") from None


def describe(parts: Mapping[str, float]) -> str:
    """The inverse of `parse_layers`: "relu2+0.5*relu5"."""
    return "+".join(name if weight == 1 else f"{weight:g}*{name}" for name, weight in parts.items())


def suitable_lambda_tv(network: networks.Network) -> float:
    """The paper's weight of total variation for layers that see as far as this one.

    The paper (CVPR 2015, section 5.2) takes 0.5 for conv1 to relu2 of CaffeNet, 5 for pool2 to relu4 and 50 for conv5
    to fc8; their receptive fields are 11 to 51, 67 to 131, and 163 pixels and more. Other networks get the weight of
    the CaffeNet layer with such a field.
    """
    reach = network.reach()
    fields = [reach[name][0] for name in network.ends()]
    if not all(fields) or max(fields) >= 147:
        return 50.0
    return 0.5 if max(fields) < 59 else 5.0
