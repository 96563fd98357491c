"""What the device could do, measured in the same run: sides of large products, convolutions and copies.

Each is tried in XLA and, where it is there, in PyTorch; what is attainable is the better one's rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.bench.timing import Side
from invjax import devices
from invjax.networks import PRECISIONS
from invjax.networks.ops import LAYOUT

CONVOLUTION, PRODUCT, COPY = "convolution", "product", "copy"

# of a CPU, and of an accelerator, which needs more to be busy
SIDE = (2048, 8192)  # of the matrices
PICTURES, POSITIONS, CHANNELS, WINDOW = (16, 256), 28, 256, 3  # of the convolution, typical of a network's middle
COPIED = (2**26, 2**30)  # bytes


def gigas() -> dict[str, float]:
    """1e9 operations, or bytes read and written, of a step of each: a copy reads and writes every number once."""
    large = _large()
    return {
        PRODUCT: 2e-9 * SIDE[large] ** 3,
        CONVOLUTION: 2e-9 * PICTURES[large] * (POSITIONS * CHANNELS * WINDOW) ** 2,
        COPY: 2e-9 * COPIED[large],
    }


def rates(times: dict[str, np.ndarray]) -> dict[str, float]:
    """The best rate of each kind, 1e9 operations or bytes per second, of the seconds per step of `sides`."""
    best: dict[str, float] = {}
    for name, seconds in times.items():
        kind = name.partition(" ")[0]
        best[kind] = max(best.get(kind, 0.0), gigas()[kind] / float(np.median(seconds)))
    return best


def sides(kinds: tuple[str, ...], precision: str, torch_device: str = "") -> dict[str, Side]:
    """Sides named "product XLA", "product PyTorch" and so on.

    Args:
        kinds: of CONVOLUTION, PRODUCT and COPY.
        precision: of products, a name of `networks.PRECISIONS`.
        torch_device: where PyTorch computes; none: it is not there.
    """
    found = {f"{kind} XLA": _jax(kind, precision) for kind in kinds}
    if torch_device:
        found |= {f"{kind} PyTorch": _torch(kind, precision, torch_device) for kind in kinds}
    return {name: Side(run) for name, run in found.items()}


def _large() -> bool:
    return not devices.sequential()


def _jax(kind: str, precision: str) -> Callable[[], object]:
    dtype, products = PRECISIONS[precision]
    arrays = [jnp.full(shape, 0.5, dtype if kind != COPY else jnp.float32) for shape in _shapes(kind)]
    if kind == COPY:
        return _in_place(jax.jit(lambda x: x + 1, donate_argnums=0), arrays[0])
    functions: dict[str, Callable[..., Any]] = {
        PRODUCT: lambda x, y: jnp.matmul(x, y, precision=products),
        CONVOLUTION: lambda x, y: lax.conv_general_dilated(
            x, y, (1, 1), "SAME", dimension_numbers=LAYOUT, precision=products
        ),
    }
    function = jax.jit(functions[kind])
    return lambda: jax.block_until_ready(function(*arrays))


def _in_place(function: Any, array: Any) -> Callable[[], object]:
    """Over the same memory again and again: new memory is slow where the system hands it out page by page."""

    def run() -> None:
        nonlocal array
        array = jax.block_until_ready(function(array))

    return run


def _torch(kind: str, precision: str, device: str) -> Callable[[], object]:
    import torch

    from experiments.bench.torch_descent import DTYPES, Setting

    setting = Setting(device, precision)
    dtype = DTYPES[precision] if kind != COPY else torch.float32
    tensors = [torch.full(shape, 0.5, dtype=dtype, device=device) for shape in _shapes(kind)]
    if kind == CONVOLUTION:
        picture, kernel = tensors[0].permute(0, 3, 1, 2), tensors[1].permute(3, 2, 0, 1)
        tensors = [picture, kernel.contiguous(memory_format=torch.channels_last)]
    functions: dict[str, Callable[..., Any]] = {
        COPY: lambda x: x.add_(1),
        PRODUCT: torch.matmul,
        CONVOLUTION: lambda x, y: torch.nn.functional.conv2d(x, y, padding=WINDOW // 2),
    }

    def call() -> None:
        setting.switch_tf32()
        functions[kind](*tensors)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def _shapes(kind: str) -> Iterator[tuple[int, ...]]:
    large = _large()
    if kind == COPY:
        yield (COPIED[large] // 4,)
    elif kind == PRODUCT:
        yield from [(SIDE[large], SIDE[large])] * 2
    else:
        yield (PICTURES[large], POSITIONS, POSITIONS, CHANNELS)
        yield (WINDOW, WINDOW, CHANNELS, CHANNELS)
