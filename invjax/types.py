"""The vocabulary: pictures, features, and a representation Φ as a pure function of one picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from invjax.errors import UserError

Array = jax.Array
Image = jax.Array  # float32 [H, W, C], true pixel values minus InputSpec.mean
Feature = Any  # one array, or a pytree (dict) of arrays
Params = Any  # pytree of arrays
Loss = Callable[[Feature, Feature], Array]  # (Φ(x), Φ₀) → how far apart they are
Regularizer = Callable[[Image], Array]  # u → how unlike a natural image it is


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What a representation wants to be shown.

    Attributes:
        channels: 1 for grey pictures, 3 for RGB.
        mean: value per channel, in grey levels 0..255, subtracted from the picture.
        minimum: shortest side in pixels for which the feature has at least one cell.
        size: side in pixels that the representation was designed for.
        fixed: whether only pictures of this size will do.
    """

    channels: int = 1
    mean: tuple[float, ...] = (128.0,)
    minimum: int = 1
    size: int = 227
    fixed: bool = False

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """Raises UserError unless a picture of `shape` [H, W, C] can be represented."""
        if len(shape) != 3 or shape[2] != self.channels:
            raise UserError(
                f"{name} reads pictures of shape [H, W, {self.channels}], got {list(shape)}: "
                "load them with invjax.load_image(path, phi.input)"
            )
        if self.fixed and shape[:2] != (self.size, self.size):
            raise UserError(
                f"{name} needs pictures of {self.size}×{self.size} pixels, got {shape[0]}×{shape[1]}: its fully "
                "connected layers have weights for one size only; layers before them take any"
            )
        if min(shape[:2]) < self.minimum:
            raise UserError(
                f"{name} needs a picture of at least {self.minimum}×{self.minimum} pixels, "
                f"got {shape[0]}×{shape[1]}: take a larger picture, a smaller cell or an earlier layer"
            )

    def check_values(self, image: Any, name: str) -> None:
        """Raises UserError for pixels that are not minus the mean: integers, 0..1 or 0..255.

        Pictures that are found may leave the range of real pixels, but not to one side only. Of a picture inside a
        traced function nothing is known but its type.
        """
        advice = "load it with invjax.load_image(picture, phi.input), which takes off the mean"
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise UserError(f"{name} reads float32 pixels minus the mean, got {image.dtype}: {advice}")
        if isinstance(image, jax.core.Tracer) or not any(self.mean):
            return
        values = np.asarray(image)  # a jax.Array's own methods are traced where something else is
        low, high = float(values.min()), float(values.max())
        if 0 <= low < high <= 1:
            raise UserError(f"{name} reads pixels 0..255 minus the mean, got values of {low:g}..{high:g}: {advice}")
        if 0 <= low < high and high > 255 - min(self.mean):
            raise UserError(f"{name} reads pixels minus the mean, got values of {low:g}..{high:g}: {advice}")


class Layer(NamedTuple):
    """A layer of a network, and where its positions look: position i sees, along rows and along columns, the pixels
    offset + i · stride … + window − 1. The offset is negative where the picture is padded.

    A window of 0 sees the whole picture, one of None is not known.
    """

    name: str
    offset: int | None = None
    window: int | None = None
    stride: int | None = None


@dataclasses.dataclass(frozen=True)
class Origin:
    """What is told about Φ and computes nothing. All compare equal, so that it decides no compilation: programs must
    not read it.

    Attributes:
        made_by: what `representations.get` was asked for.
        source: where its weights came from.
        layers: of the network that it belongs to, all of them, from the picture on; empty where there are none.
    """

    made_by: str = dataclasses.field(default="", compare=False)
    source: str = dataclasses.field(default="", compare=False)
    layers: tuple[Layer, ...] = dataclasses.field(default=(), compare=False)


def softened(
    apply: Callable[[Params, Image], Feature], params: Params, sharpness: Array | float
) -> tuple[Callable[[Params, Image], Feature], Params] | None:
    """What `apply.softened(params, sharpness)` returns, (apply, params) or None; None where there is no such method."""
    soft = getattr(apply, "softened", None)
    return soft(params, sharpness) if soft else None


def prepared(
    apply: Callable[[Params, Image], Feature], params: Params
) -> tuple[Callable[[Params, Image], Feature], Params]:
    """What `apply.prepared(params)` returns, (apply, params); the arguments where there is no such method.

    What it returns may be prepared again, to no effect, and be softened like what it was given.
    """
    prepare = getattr(apply, "prepared", None)
    return prepare(params) if prepare else (apply, params)


class Work(NamedTuple):
    """What Φ of a picture of the size it was designed for costs: multiplications, and numbers of weights; or zeros."""

    operations: int = 0
    weights: int = 0


def work(apply: Callable[[Params, Image], Feature]) -> Work:
    """What `apply.work()` returns, where there is such a method."""
    tell = getattr(apply, "work", None)
    return tell() if tell else Work()


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """What makes another function of Φ's and has its params; a subclass says which, by `__call__`."""

    apply: Callable[[Params, Image], Feature]

    def work(self) -> Work:
        """That of what is inside."""
        return work(self.apply)

    def softened(self, params: Params, sharpness: Array | float) -> tuple[Self, Params] | None:
        """What is inside, softened; None where nothing inside is hard."""
        soft = softened(self.apply, params, sharpness)
        return None if soft is None else (dataclasses.replace(self, apply=soft[0]), soft[1])

    def prepared(self, params: Params) -> tuple[Self, Params]:
        """What is inside, prepared."""
        apply, params = prepared(self.apply, params)
        return dataclasses.replace(self, apply=apply), params


def titled(name: str, layer: str) -> str:
    """What a representation, or a layer of it, is called: the one place that puts them together."""
    return f"{name} {layer}".strip()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Representation:
    """Φ: a pure function of one picture, and the arrays it depends on.

    A pytree whose leaves are `params`, so it can be an argument of a jitted function: weights are then never
    constants of the program. `apply` must compare and hash by value (a frozen dataclass or a module-level
    function), so that building the same representation twice does not compile twice.

    Attributes:
        params: pytree of arrays, possibly empty.
        apply: `apply(params, image)` → feature, for one image float32 [H, W, C].
        name: the name it is known by, e.g. "hog".
        input: what it wants to be shown.
        layer: the layer it stops at, empty where there are none.
        family: "descriptor" or "network": which of the paper's two recipes is meant for it.
        parts: names and weights of the parts of a feature that is a dict: the objective then is the weighted mean of
            the parts' losses. Empty: one loss over everything.
        lambda_tv: weight of total variation that suits it, unit-norm form.
        origin: where it comes from.
    """

    params: Params
    apply: Callable[[Params, Image], Feature] = dataclasses.field(metadata={"static": True})
    name: str = dataclasses.field(metadata={"static": True})
    input: InputSpec = dataclasses.field(metadata={"static": True}, default=InputSpec())
    layer: str = dataclasses.field(metadata={"static": True}, default="")
    family: str = dataclasses.field(metadata={"static": True}, default="descriptor")
    parts: tuple[tuple[str, float], ...] = dataclasses.field(metadata={"static": True}, default=())
    lambda_tv: float = dataclasses.field(metadata={"static": True}, default=0.5)
    origin: Origin = dataclasses.field(metadata={"static": True}, default=Origin())

    def __call__(self, image: Image) -> Feature:
        """Φ(image), float32; the image's shape, type and range are checked against `input`."""
        self.input.check(image.shape, self.name)
        self.input.check_values(image, self.name)
        return self.apply(self.params, image)

    @property
    def title(self) -> str:
        """What it is called, "hog", or "caffenet conv1"."""
        return titled(self.name, self.layer)

    @property
    def bare(self) -> Representation:
        """Φ as compiled programs take it: weights of another source or mean share the program of these."""
        return Representation(self.params, self.apply, "")

    def softened(self, sharpness: Array | float) -> Representation | None:
        """A smooth stand-in for Φ with hard votes, closer to Φ the larger `sharpness` ≥ 1; None where none is needed.

        What makes one is `apply.softened(params, sharpness)` → (apply, params) or None, where there is such a method.
        """
        replacement = softened(self.apply, self.params, sharpness)
        return replacement and dataclasses.replace(self, apply=replacement[0], params=replacement[1])

    def feature_shape(self, image_shape: tuple[int, int, int]) -> Any:
        """Shapes of Φ of a picture of `image_shape`, without computing it."""
        shaped = jax.eval_shape(self, jax.ShapeDtypeStruct(image_shape, "float32"))
        return jax.tree.map(lambda leaf: leaf.shape, shaped)

    def prepared(self) -> Representation:
        """Φ with all that depends on `params` alone done once, for many pictures; itself where there is nothing to do.

        What does it is `apply.prepared(params)` → (apply, params), where there is such a method.
        """
        apply, params = prepared(self.apply, self.params)
        return dataclasses.replace(self, apply=apply, params=params)

    @property
    def plain(self) -> Representation:
        """The same Φ with XLA's own derivatives instead of those that are written out, which are faster.

        Of it `jax.jvp`, `jax.jacfwd`, `jax.linearize` and products with a Hessian (`jax.jvp` of `jax.grad`) are known.
        """
        from invjax.derivatives import Plain  # which wraps what is made here

        return self if isinstance(self.apply, Plain) else dataclasses.replace(self, apply=Plain(self.apply))
