"""A Flax NNX module as Φ."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from invjax.errors import UserError
from invjax.representations.custom import CUSTOM, from_network
from invjax.types import Array, InputSpec, Params, Representation


@dataclasses.dataclass(frozen=True)
class Nnx:
    """Runs an NNX module.

    Attributes:
        graphdef: the module without its arrays; compares and hashes by value.
        method: name of the method to call.
        arguments: further arguments of the method, by name.
    """

    graphdef: nnx.GraphDef
    method: str
    arguments: tuple[tuple[str, Any], ...]

    def __call__(self, state: Params, batch: Array, wanted: Callable[[str], bool]) -> tuple[Any, dict[str, Any]]:
        """Returns the output, and by path what the submodules returned."""
        # variables of our own, that only this call and its trace know
        model = nnx.merge(self.graphdef, jax.tree.map(lambda leaf: leaf, state))
        for path, module in _modules(model):
            if callable(module) and wanted(path):
                object.__setattr__(module, "__class__", _keeping(type(module)))
        output = getattr(model, self.method)(batch, **dict(self.arguments))
        kept = {path: getattr(module, "invjax_output", None) for path, module in _modules(model)}
        return output, {path: _value(variable) for path, variable in kept.items() if variable is not None}


@functools.cache
def _keeping(kind: type) -> type:
    """The same class, but its instances keep what their last call returned, as a variable that NNX carries out of jit.

    (`nnx.capture` is not in the oldest Flax that we support, and changes the user's own classes while it runs.)
    """

    class Keeping(kind):
        def __call__(self, *args: Any, **arguments: Any) -> Any:
            output = super().__call__(*args, **arguments)
            self.invjax_output = nnx.Intermediate(output)
            return output

    return Keeping


def _modules(model: nnx.Module) -> list[tuple[str, nnx.Module]]:
    return [("/".join(map(str, path)), node) for path, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)]


def _value(variable: nnx.Variable) -> Any:
    return variable.get_value() if hasattr(variable, "get_value") else variable.value  # before Flax 0.12


def from_nnx(
    model: nnx.Module,
    input_spec: InputSpec,
    *,
    capture: str | Sequence[str] = "",
    name: str = CUSTOM,
    method: str = "__call__",
    preprocess: Callable[[Array], Array] | None = None,
    **arguments: Any,
) -> Representation:
    """An NNX module in evaluation mode, or one or more of its layers, as Φ.

    Args:
        model: reads a batch of pictures [N, H, W, C]; it is copied as it is now, and not changed. Two models compile
            once if they differ in arrays only (an initializer made anew for each is a difference too).
        input_spec, name, method, preprocess: as in `from_flax`.
        capture: path of a submodule, as in "blocks/3/attention", of which the output is taken (that of the last call,
            where there are several); several: the feature is a dict by path, and the objective the mean of their
            losses. Default: the model's output.
        **arguments: of the method, hashable.

    Returns:
        A representation whose features are the captured outputs without the batch axis, float32.

    Raises:
        UserError: as `from_flax`.
    """
    if not isinstance(model, nnx.Module):
        raise UserError(f"from_nnx takes a flax.nnx.Module, got {type(model).__name__}; see also from_flax")
    copy = nnx.merge(*nnx.split(model))
    copy.eval()
    graphdef, state = nnx.split(copy)
    return from_network(
        Nnx(graphdef, method, tuple(sorted(arguments.items()))), state, input_spec, capture, name, preprocess
    )
