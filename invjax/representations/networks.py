"""Layers of convolutional networks as representations: `get("caffenet", layer="relu5", weights=…)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp

from invjax import nets
from invjax.errors import UserError
from invjax.types import Array, Feature, Image, Params, Representation

Layers: TypeAlias = str | Sequence[str] | Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class NetworkFeature:
    """The features of a network's outputs as a pure function of one picture and the network's variables."""

    network: nets.Network

    def __call__(self, params: Params, image: Image) -> Feature:
        """One feature [h, w, c] or [c]; of several outputs a dict of them by name."""
        batches: dict[str, Array] = self.network.apply(params, image[None])  # type: ignore[assignment]
        features = {name: batch[0] for name, batch in batches.items()}
        return features if len(features) > 1 else features[self.network.ends()[0]]


def network(name: str, layer: Layers = "", weights: str = "", seed: int = 0) -> Representation:
    """One or more layers of a network.

    Args:
        name: of the network, one of `nets.names()`.
        layer: name of a layer; several as a sequence, a mapping to their weights in the objective, or as text,
            "relu2+0.5*relu5": the feature then is a dict. Default: the last layer.
        weights: "" (those of the network's name that were fetched or imported), a name of the catalog, a file, or
            "random".
        seed: of random weights.

    Raises:
        UserError: no such layer, or no such weights.
    """
    from invjax import weights as store  # which knows of file formats that most runs do not need

    whole = nets.get(name)
    parts = parse_layers(layer) or {whole.names()[-1]: 1.0}
    truncated = whole.until(*parts)
    loaded = store.load(truncated, weights, seed, only=truncated.weighted())
    return build(truncated, loaded.params, loaded.mean, tuple(parts.values()))


def build(
    truncated: nets.Network, params: Params, mean: Sequence[float] | None = None, weights: Sequence[float] = ()
) -> Representation:
    """The representation of a network's outputs with given parameters.

    Args:
        truncated: a network, `nets.get("caffenet").until("relu5")`.
        params: {layer: {"kernel", "bias"}} as `truncated.parameter_shapes()` has them; more layers do no harm.
        mean: per channel, grey levels; default the network's.
        weights: of several outputs in the objective; default equal.
    """
    outputs = truncated.ends()
    parts = tuple(zip(outputs, weights or [1.0] * len(outputs), strict=True))
    params = {name: jax.tree.map(jnp.asarray, params[name]) for name in truncated.weighted()}
    spec = dataclasses.replace(
        truncated.input,
        mean=tuple(map(float, mean or truncated.input.mean)),
        minimum=truncated.minimum(),
        fixed=truncated.has_dense(),
    )
    return Representation(
        params=truncated.prepare(params),
        apply=NetworkFeature(truncated),
        name=truncated.name or "network",
        input=spec,
        layer=describe(dict(parts)),
        parts=parts if len(parts) > 1 else (),
        lambda_tv=suitable_lambda_tv(truncated),
        together=8 if truncated.has_dense() else 1,
    )


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


def suitable_lambda_tv(truncated: nets.Network) -> float:
    """The paper's weight of total variation for layers that see as far as this one.

    The paper (CVPR 2015, section 5.2) takes 0.5 for conv1 to relu2 of CaffeNet, 5 for pool2 to relu4 and 50 for conv5
    to fc8; their receptive fields are 11 to 51, 67 to 131, and 163 pixels and more. Other networks get the weight of
    the CaffeNet layer with such a field.
    """
    reach = truncated.reach()
    fields = [reach[name][0] for name in truncated.ends()]
    if not all(fields) or max(fields) >= 147:
        return 50.0
    return 0.5 if max(fields) < 59 else 5.0
