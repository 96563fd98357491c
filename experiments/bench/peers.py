"""The other sides: the same step in PyTorch, on the same device, or why there is none.

A network has one peer, eager in both memory layouts and compiled. HOG, HOGb and DSIFT have two: the descriptor as a
convolutional network, "described" in the paper, and one "tuned" by hand; each is eager and compiled.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.bench.timing import Side
from invjax import descent, devices
from invjax.errors import first_line
from invjax.types import Representation

if TYPE_CHECKING:
    from experiments.bench.torch_descent import Descent, Features

DESCRIPTORS = ("hog", "hogb", "dsift")  # those that the paper describes
NETWORK, DESCRIBED, TUNED = "PyTorch", "described", "tuned"


def torch_device() -> tuple[str, str]:
    """PyTorch's name for the device that JAX computes on, or nothing and why."""
    if importlib.util.find_spec("torch") is None:
        return "", "PyTorch is not installed: pip install 'torch>=2.4'"
    import torch

    if devices.sequential():
        return "cpu", ""
    if devices.backend() == "gpu" and torch.cuda.is_available():
        return "cuda", ""
    return "", f"this PyTorch has no {devices.backend()}"


def sides(
    phi: Representation,
    image: np.ndarray,
    problems: descent.Problem,
    precision: str,
    steps: int,
    compiled: bool = True,
) -> tuple[dict[str, Side], dict[str, str]]:
    """Steps of every peer, and why peers are missing, both by their names: "tuned, compiled".

    Args:
        phi: the representation.
        image: whose feature is to be found, float32 [H, W, C].
        problems: the reconstructions; the peers' start from noise of their own.
        precision: of a network's products.
        steps: of a call of a side.
        compiled: whether compiled ones too.
    """
    device, why = torch_device()
    if not device:
        return {}, {NETWORK: why}
    found, missing = {}, {}
    for name, make in _makers(phi, image, problems, precision, device):
        if name.endswith("compiled") and not compiled:
            continue
        if name.endswith("compiled") and device == "cpu" and not shutil.which("g++"):
            missing[name] = "torch.compile needs g++"
            continue
        try:
            descent = make()
            descent.advance(1)  # compiles
        except Exception as error:  # whatever a compiler, or a device without memory, raises: the row says so
            missing[name] = f"{type(error).__name__}: {first_line(error)}"
            continue
        found[name] = Side(lambda descent=descent: descent.advance(steps), steps)  # type: ignore[misc]
    return found, missing


def _makers(
    phi: Representation, image: np.ndarray, problems: descent.Problem, precision: str, device: str
) -> Iterator[tuple[str, Callable[[], Descent]]]:
    """Peers by name, each made when it is called."""
    from experiments.bench.torch_descent import Descent, Setting

    weights = {name: float(weight[0]) for name, weight in problems.weights.items()}

    def maker(features: Callable[[Setting], Features], setting: Setting) -> Callable[[], Descent]:
        return lambda: Descent(features(setting), image, weights, len(problems.key), setting)

    if phi.family == "network":
        from experiments.bench import torch_networks

        network, params = phi.apply.network, phi.params["params"]  # type: ignore[attr-defined]
        for name, setting in {
            "eager NCHW": Setting(device, precision),
            "eager NHWC": Setting(device, precision, channels_last=True),
            "compiled": Setting(device, precision, channels_last=True, compiled=True),
        }.items():
            yield f"{NETWORK}, {name}", maker(functools.partial(torch_networks.features, network, params), setting)
    elif phi.name in DESCRIPTORS:
        from experiments.bench import torch_convolutions, torch_tuned

        apply: Any = phi.apply
        for setting in (Setting(device), Setting(device, compiled=True)):
            how = "compiled" if setting.compiled else "eager"
            yield (
                f"{DESCRIBED}, {how}",
                maker(lambda setting: torch_convolutions.features(apply, setting.tensor(0)), setting),
            )
            yield f"{TUNED}, {how}", maker(functools.partial(torch_tuned.features, apply, image.shape[0]), setting)
