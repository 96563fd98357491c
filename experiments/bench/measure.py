"""One row: a step of ours, of the peers, and what the device could do, by turns in one run.

A step is the whole step of the paper's recipe on all sides: value and gradient of the objective with total variation
and α-norm, and the update of momentum. Ours also watches for descents that diverge, which the peers do not.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from experiments.bench import attainable, peers
from experiments.bench.rows import OURS, Row, device, ratios
from experiments.bench.steps import ours, prepared, representation
from experiments.bench.timing import Others, seconds
from invjax.types import Representation

STEPS, SHALLOW_STEPS = 4, 10  # of a stretch that is timed

# Passes over a picture's pixels that a step cannot do without, 4 bytes each, as long as it computes Φ, the gradient and
# the update one after the other: picture, velocity and gradient are read and written; each vote's value and number too.
STATE_PASSES, PASSES_PER_VOTE = 6, 4


class Work(NamedTuple):
    """What a step of a batch has to do at least, in 1e9."""

    operations: float
    bytes: float


def work(phi: Representation, image_shape: tuple[int, int, int], batch: int) -> Work:
    """Of a step: multiplications and additions of convolutions and dense layers, forward and for the gradient; and
    `STATE_PASSES` and votes, and a network's weights, read for both directions once per batch."""
    pixels = batch * 4e-9 * np.prod(image_shape)
    if phi.family != "network":
        votes = 1 if phi.softened(1.0) else 2  # of a pixel; hard ones could be softened
        return Work(0.0, pixels * (STATE_PASSES + PASSES_PER_VOTE * votes))
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(phi.params["params"]))
    operations = 4e-9 * phi.apply.network.operations() * batch  # type: ignore[attr-defined]
    return Work(operations, pixels * STATE_PASSES + 2e-9 * weights)


def measure(name: str, batch: int, precision: str, rounds: int, compiled: bool = True) -> Row:
    """Times a row.

    Args:
        name: "hog", "caffenet/relu5".
        batch: reconstructions.
        precision: of a network's products.
        rounds: ≥ 1.
        compiled: whether peers by torch.compile too, which takes up to a minute each.

    Raises:
        UserError: no such representation, layer or precision.
    """
    phi = representation(name, precision)
    steps = STEPS if phi.family == "network" else SHALLOW_STEPS
    method, problems, image = prepared(phi, "paper", batch)
    mine = ours(method, phi, problems, steps)
    others, skipped = peers.sides(phi, image, problems, precision, steps, compiled)
    kinds = (
        (attainable.CONVOLUTION, attainable.PRODUCT, attainable.COPY) if phi.family == "network" else (attainable.COPY,)
    )
    limits = attainable.sides(kinds, precision, peers.torch_device()[0])
    meanwhile = Others()
    times = seconds({OURS: mine} | others | limits, rounds)
    share = meanwhile.share()
    rates = attainable.rates({side: times.pop(side) for side in limits})
    per_second = {side: batch / float(np.median(values)) for side, values in times.items()}
    todo = work(phi, image.shape, batch)
    return Row(
        name=name,
        batch=batch,
        device=device(),
        precision=precision,
        rates=per_second,
        ratios=ratios(times),
        limit=bound(todo, rates),
        attainable=rates,
        shares=shares(todo, per_second[OURS] / batch, rates),
        others=share,
        skipped=skipped,
    )


def shares(todo: Work, steps: float, rates: dict[str, float]) -> dict[str, float]:
    """Of attainable rates, by kind, what so many steps of the batch per second make use of."""
    amounts = {kind: todo.bytes if kind == attainable.COPY else todo.operations for kind in rates}
    return {kind: steps * amounts[kind] / rate for kind, rate in rates.items()}


def bound(todo: Work, rates: dict[str, float]) -> str:
    """Whether operations or bytes would take longer at the attainable rates."""
    operations = todo.operations / rates.get(attainable.CONVOLUTION, np.inf)
    return "operations" if operations > todo.bytes / rates[attainable.COPY] else "bytes"
