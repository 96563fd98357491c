"""A Flax Linen module as Φ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen
from flax.traverse_util import flatten_dict

from invjax.errors import UserError
from invjax.representations.custom import CUSTOM, from_network
from invjax.types import Array, InputSpec, Params, Representation


@dataclasses.dataclass(frozen=True)
class Linen:
    """Runs a Linen module.

    Attributes:
        module: compares by its fields, which may be lists and therefore have no hash.
        method: name of the method to call.
        arguments: further arguments of the method, by name.
    """

    module: linen.Module = dataclasses.field(hash=False)
    method: str
    arguments: tuple[tuple[str, Any], ...]

    def __call__(self, variables: Params, batch: Array, wanted: Callable[[str], bool]) -> tuple[Any, dict[str, Any]]:
        """Returns the output, and by path what the submodules returned and what was sown as "intermediates"."""
        output, kept = self.module.apply(
            variables,
            batch,
            method=self.method,
            capture_intermediates=lambda module, method: method == "__call__" and wanted("/".join(module.path)),
            mutable=["intermediates"],
            **dict(self.arguments),
        )
        layers = {}
        for path, values in flatten_dict(kept.get("intermediates", {})).items():
            name = "/".join(path[:-1] if path[-1] == "__call__" else path)
            layers[name] = values[-1] if isinstance(values, tuple) else values  # a tuple has an item for each call
        return output, layers


def from_flax(
    module: linen.Module,
    variables: Mapping[str, Any],
    input_spec: InputSpec,
    *,
    capture: str | Sequence[str] = "",
    name: str = CUSTOM,
    method: str = "__call__",
    preprocess: Callable[[Array], Array] | None = None,
    **arguments: Any,
) -> Representation:
    """A Linen module, or one or more of its layers, as Φ.

    Args:
        module: reads a batch of pictures [N, H, W, C]. Arrays belong into `variables`, not into its fields.
        variables: of `module.init` or from training, all collections: {"params": ..., "batch_stats": ...}.
        input_spec: what the module wants to be shown; it is tried, without computing, on a picture of
            `input_spec.size`.
        capture: path of a submodule, as in "encoder/block_3", of which the output is taken (that of the last call,
            where there are several), or of a value that the module sows as "intermediates"; several: the feature is
            a dict by path, and the objective the mean of their losses. Default: the module's output.
        name: what to call it.
        method: the module's method to call.
        preprocess: from the batch [1, H, W, C] of true pixel values minus `input_spec.mean` to what the module reads,
            say a division by 127.5; a module-level function, not a lambda, so that it compares equal. Default: as is.
        **arguments: of the method, hashable, e.g. `train=False`. There is no randomness: switch dropout off.

    Returns:
        A representation whose features are the captured outputs without the batch axis, float32.

    Raises:
        UserError: the module cannot be run on such a picture; no such layer (the message lists all); or its output
            is not a batch of real numbers.
    """
    if not isinstance(module, linen.Module):
        raise UserError(f"from_flax takes a flax.linen.Module, got {type(module).__name__}; see also from_nnx")
    if _holds_array(module):
        raise UserError(f"{name}: a field of {type(module).__name__} holds an array; make it a parameter or a tuple")
    stored = {collection: arrays for collection, arrays in variables.items() if collection != "intermediates"}
    forward = Linen(module, method, tuple(sorted(arguments.items())))
    return from_network(forward, stored, input_spec, capture, name, preprocess)


def _holds_array(module: linen.Module) -> bool:
    """Whether a field of the module or of modules in its fields is an array: those do not compare to true or false."""
    values = [getattr(module, field.name) for field in dataclasses.fields(module) if field.name != "parent"]
    return any(
        _holds_array(leaf) if isinstance(leaf, linen.Module) else isinstance(leaf, (np.ndarray, jax.Array))
        for leaf in jax.tree.leaves(values)
    )
