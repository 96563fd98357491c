"""Derivatives that are written out, and XLA's own in their place: those that `Representation.plain` has.

A gradient that is written out is faster, but `jax.custom_vjp` forbids forward mode: `jax.jvp`, `jax.jacfwd`,
`jax.linearize`, products with a Hessian. What `written_out` decorates has both, and the context `xlas_own` chooses.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

from invjax.types import Feature, Image, Params, Wrapped

F = TypeVar("F", bound=Callable[..., Any])

_XLAS_OWN = contextvars.ContextVar("xlas_own", default=False)
# part of the key of whatever JAX caches, so that no jit inside of Φ passes on what it traced in the other mode;
# before JAX 0.7.2 there was no such thing
_in_caches: Any = jax.make_user_context(False) if hasattr(jax, "make_user_context") else contextlib.nullcontext


@contextlib.contextmanager
def xlas_own() -> Iterator[None]:
    """What is traced meanwhile has XLA's own derivatives."""
    before = _XLAS_OWN.set(True)
    try:
        with _in_caches(True):
            yield
    finally:
        _XLAS_OWN.reset(before)


def written_out(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    static: tuple[int, ...] = (),
    symbolic_zeros: bool = False,
    primal: Callable[..., Any] | None = None,
) -> Callable[[F], F]:
    """Gives a function a gradient by hand, which holds outside of `xlas_own`.

    Args:
        forward, backward, symbolic_zeros: see `jax.custom_vjp.defvjp`.
        static: positions of arguments that are no arrays, its `nondiff_argnums`.
        primal: a faster way to the function's value, for all but `xlas_own`; default the function itself.
    """

    def decorate(function: F) -> F:
        by_hand = jax.custom_vjp(primal or function, nondiff_argnums=static)
        by_hand.defvjp(forward, backward, symbolic_zeros=symbolic_zeros)

        @functools.wraps(function)
        def chosen(*arguments: Any) -> Any:
            return function(*arguments) if _XLAS_OWN.get() else by_hand(*arguments)

        return chosen  # type: ignore[return-value]

    return decorate


class Plain(Wrapped):
    """A Φ with XLA's own derivatives."""

    def __call__(self, params: Params, image: Image) -> Feature:
        """The same values."""
        with xlas_own():
            return self.apply(params, image)
