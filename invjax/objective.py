"""The objective E(u) = ℓ(Φ(σu), Φ₀) + Σ λ_i R_i(u), in the unit-norm variable u = x / σ.

Pictures are divided by σ, the norm of a typical mean-free picture, so that the start has norm one, step sizes need
not know the picture's size, and one set of weights serves pictures of every size (CVPR 2015, section 3).
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
from jax import lax

from invjax import losses, regularizers
from invjax.types import Array, Feature, Image, Loss, Regularizer, Representation

# σ of the authors' experiments, 27098.1157 for 227×227×3 elements, per element: the norm of a picture grows with
# the root of the number of its elements. (A grey picture started at the norm of a colour one diverges.)
SIGMA_PER_ELEMENT = 27098.1157 / math.sqrt(227 * 227 * 3)

ALPHA_WEIGHT = 4e-10  # λ_α in pixel units, α = 6; the unit-norm form multiplies by σ⁴ (2.16e8 at 227×227×3)


def sigma(image_shape: tuple[int, int, int]) -> float:
    """Norm of a typical picture of that shape [H, W, C], in grey levels."""
    return SIGMA_PER_ELEMENT * math.sqrt(math.prod(image_shape))


def default_lambda_alpha(image_shape: tuple[int, int, int]) -> float:
    """The paper's weight of the α-norm with α = 6 for a picture of that shape."""
    return ALPHA_WEIGHT * sigma(image_shape) ** 4


@dataclasses.dataclass(frozen=True)
class Objective:
    """What to minimise: static, hashable, the same for every reconstruction of a batch.

    Attributes:
        scale: σ, grey levels.
        loss: ℓ.
        regularizers: R_i by name; each is multiplied by the weight of its name.
    """

    scale: float
    loss: Loss = losses.euclidean
    regularizers: tuple[tuple[str, Regularizer], ...] = (
        ("alpha", regularizers.alpha_norm(6.0)),
        ("tv", regularizers.total_variation(2.0)),
    )

    def picture(self, u: Image) -> Image:
        """σu, rounded to float32 as the picture that is saved.

        Without the barrier XLA may fold σ into what Φ computes first. Φ then sees a picture of more digits than a
        float32 has, and where it is almost flat DSIFT, which normalises, has other descriptors for it.
        """
        return lax.optimization_barrier(self.scale * u)

    def __call__(
        self, u: Image, phi: Representation, target: Feature, weights: dict[str, Array], seen: Image | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """E(u) and its terms.

        Args:
            u: image [H, W, C] in units of σ.
            phi: the representation.
            target: Φ₀.
            weights: one scalar per regularizer, λ_i.
            seen: what Φ is shown of u, where that is augmented; regularizers are of u itself.

        Returns:
            (E, terms): terms holds "data", every regularizer times its weight, and their sum "total".
        """
        picture = self.picture(u if seen is None else seen)
        terms = {"data": self.loss(phi.apply(phi.params, picture), target)}
        for name, regularizer in self.regularizers:
            terms[name] = weights[name] * regularizer(u)
        total = sum(terms.values(), start=jnp.zeros(()))
        return total, terms | {"total": total}
