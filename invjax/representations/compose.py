"""Representations made of others: `flatten`, `concat`, and `mask`, which is `masks.apply`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from invjax.errors import UserError
from invjax.masks import apply as mask
from invjax.types import (
    Array,
    Feature,
    Image,
    InputSpec,
    Params,
    Representation,
    Work,
    Wrapped,
    prepared,
    softened,
    work,
)

__all__ = ["concat", "flatten", "mask"]

Apply = Callable[[Params, Image], Feature]


class Flattened(Wrapped):
    """Φ as one vector."""

    def __call__(self, params: Params, image: Image) -> Feature:
        """Returns float32 [values]."""
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(self.apply(params, image))])


def flatten(phi: Representation) -> Representation:
    """The representation whose feature is all of phi's in one vector.

    Args:
        phi: the representation, of one array or a dict of them.

    Returns:
        A representation with features float32 [values]: arrays in the order of their sorted names, rows first. It
        has no parts: the loss is one over all values.
    """
    return dataclasses.replace(phi, apply=Flattened(phi.apply), parts=())


@dataclasses.dataclass(frozen=True)
class Concatenated:
    """Several Φ of the same picture."""

    members: tuple[tuple[str, Apply], ...]

    def __call__(self, params: Params, image: Image) -> Feature:
        """`params` are those of the members; returns their features, both dicts by name."""
        return {name: apply(params[name], image) for name, apply in self.members}

    def work(self) -> Work:
        """That of all members."""
        return Work(*map(sum, zip(*(work(apply) for _, apply in self.members), strict=True)))

    def softened(self, params: Params, sharpness: Array | float) -> tuple[Concatenated, Params] | None:
        """The members that are hard, softened, and the others as they are; None where none is hard."""
        soft = {name: softened(apply, params[name], sharpness) for name, apply in self.members}
        if not any(soft.values()):
            return None
        return self._of({name: soft[name] or (apply, params[name]) for name, apply in self.members})

    def prepared(self, params: Params) -> tuple[Concatenated, Params]:
        """The members, prepared."""
        return self._of({name: prepared(apply, params[name]) for name, apply in self.members})

    @staticmethod
    def _of(members: Mapping[str, tuple[Apply, Params]]) -> tuple[Concatenated, Params]:
        applies = tuple((name, apply) for name, (apply, _) in members.items())
        return Concatenated(applies), {name: params for name, (_, params) in members.items()}


def concat(phis: Mapping[str, Representation], weights: Mapping[str, float] | None = None) -> Representation:
    """Several representations of the same picture as one, whose feature is a dict.

    The objective is the weighted mean of their losses, Σ w ℓ(Φ, Φ₀) / Σ w: each is divided by its own ‖Φ₀‖², so that
    large features do not drown small ones.

    Args:
        phis: the representations by name, which read the same pictures: same channels and mean, and one size where
            they have fully connected layers.
        weights: w > 0 of each of them; default 1.

    Returns:
        A representation with features {name: Φ}. The weight of total variation is the largest that suits one of them.

    Raises:
        UserError: no representation, some that read different pictures, or weights of others or not greater than 0.
    """
    if not phis:
        raise UserError("concat needs at least one representation")
    weights = dict.fromkeys(phis, 1.0) if weights is None else weights
    if weights.keys() != phis.keys():
        raise UserError(f"concat needs a weight for each of {', '.join(phis)}, got weights for {', '.join(weights)}")
    for name, weight in weights.items():
        if not 0 < weight < math.inf:
            raise UserError(f"the weight of '{name}' must be greater than 0 and finite, got {weight}")
    phis = dict(sorted(phis.items()))
    return Representation(
        params={name: phi.params for name, phi in phis.items()},
        apply=Concatenated(tuple((name, phi.apply) for name, phi in phis.items())),
        name="+".join(dict.fromkeys(phi.name for phi in phis.values())),
        input=_common([phi.input for phi in phis.values()]),
        layer="+".join(phi.layer for phi in phis.values() if phi.layer),
        parts=tuple((name, float(weights[name])) for name in phis),
        lambda_tv=max(phi.lambda_tv for phi in phis.values()),
        family="network" if any(phi.family == "network" for phi in phis.values()) else "descriptor",
    )


def _common(specs: list[InputSpec]) -> InputSpec:
    """What all can read."""
    minimum = max(spec.minimum for spec in specs)
    fixed = [spec for spec in specs if spec.fixed]
    size = fixed[0].size if fixed else max(spec.size for spec in specs)
    same = {
        dataclasses.replace(spec, minimum=minimum, size=spec.size if spec.fixed else size, fixed=bool(fixed))
        for spec in specs
    }
    if len(same) > 1:
        raise UserError("concat needs representations that read the same pictures: same channels, mean and fixed size")
    return same.pop()
