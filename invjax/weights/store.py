"""The cache of converted weights, one .safetensors file each, and where weights come from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from invjax.errors import UserError, one_line
from invjax.files import write_atomically
from invjax.networks.network import Network
from invjax.weights import catalog, random
from invjax.weights.formats import read
from invjax.weights.found import Found, Layers
from invjax.weights.match import convert

RANDOM = "random"
_NAME = re.compile(r"\w[\w.-]*")


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """Weights of a network.

    Attributes:
        params: {layer: {"kernel": float32, "bias": float32}}, see `Network.parameter_shapes`.
        mean: R, G, B, what to subtract from pictures of 0..255.
        source: where they come from, for the record.
    """

    params: Layers
    mean: tuple[float, float, float]
    source: str


def cache() -> Path:
    """The folder of converted weights: the environment variable INVJAX_CACHE, or the system's place for caches."""
    if place := os.environ.get("INVJAX_CACHE"):
        return Path(place)
    import platformdirs

    return Path(platformdirs.user_cache_dir("invjax"))


def stored(name: str) -> Path:
    """Where the converted weights of that name are, once fetched or imported.

    Raises:
        UserError: a name that no file can have.
    """
    if not _NAME.fullmatch(name) or name == RANDOM:
        raise UserError(f"'{name}' cannot be the name of weights: take letters, digits, '_', '-' and '.'")
    return cache() / f"{name}.safetensors"


def load(network: Network, source: str = "", seed: int = 0, only: Collection[str] | None = None) -> Weights:
    """Weights of a network.

    Args:
        network: what they are for; layers that its outputs do not depend on get none.
        source: empty: the cached ones of the network's name; a name of the catalog or given on import; "random"; or
            the path of a file that `import_file` reads.
        seed: of random weights.
        only: names of layers; the others are neither read nor drawn.

    Raises:
        UserError: there are none, they are damaged, or they do not fit the network.
    """
    names = [name for name in network.parameter_shapes() if only is None or name in only]
    if source == RANDOM:
        return Weights(random.draw(network, seed, names), _triple(network.input.mean), f"random seed {seed}")
    published = [entry.name for entry in catalog.ENTRIES]
    if not source or source in published or (_NAME.fullmatch(source) and stored(source).exists()):
        return _load_stored(network, source or str(network.name), names)
    if not Path(source).exists():
        raise UserError(f"{source}: no such file, nor weights of that name; published ones: {', '.join(published)}")
    found, params = _read(Path(source), network.until(), "")
    text = f"{Path(source).name} sha256:{_sha256(source)[:8]}"
    return Weights({name: params[name] for name in names}, _mean(found, network), text)


def import_file(path: str | Path, network: Network, name: str = "", colours: str = "", source: str = "") -> Path:
    """Converts a file of weights and keeps the result in the cache.

    Args:
        path: a .caffemodel, MatConvNet's .mat, a .pth of torchvision, an .npz or a .safetensors.
        network: what they are for.
        name: what `load` will know them by; that of the network when empty.
        colours: "rgb" or "bgr", order of the input channels, where the file does not tell.
        source: where the file comes from, for the record; the path when empty.

    Returns:
        The file in the cache; an earlier one of that name is replaced.

    Raises:
        UserError: the file cannot be read or does not fit the network.
        OSError: the cache cannot be written.
    """
    from safetensors.numpy import save  # random weights do not need it, nor do those of other files

    target = stored(name or str(network.name))
    found, params = _read(Path(path), network.until(), colours)
    metadata = {
        "network": str(network.name),
        "mean": json.dumps(_mean(found, network)),
        "source": source or str(path),
        "sha256": _sha256(path),
    }
    flat = {f"{layer}/{kind}": array for layer, arrays in params.items() for kind, array in arrays.items()}
    write_atomically(target, save(flat, metadata))
    return target


def _sha256(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, network: Network, colours: str) -> tuple[Found, Layers]:
    found = read(path)
    try:
        return found, convert(found, network, colours)
    except UserError as error:
        raise UserError(f"{path}: {one_line(error)}") from None


def _load_stored(network: Network, name: str, names: list[str]) -> Weights:
    from safetensors import safe_open

    path = stored(name)
    if not path.exists():
        raise UserError(_what_to_do(network, name))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            if metadata["network"] != network.name:
                raise UserError(f"{name} holds weights of {metadata['network']}, not of {network.name}")
            params = {layer: _layer(file, layer, network) for layer in names}
        return Weights(params, _triple(json.loads(metadata["mean"])), f"{name} sha256:{metadata['sha256'][:8]}")
    except UserError:
        raise
    except Exception as error:  # a reader raises whatever it likes on a broken file
        raise UserError(f"{path}: damaged ({error!r:.80}): fetch or import it again") from None


def _layer(file: Any, name: str, network: Network) -> dict[str, np.ndarray]:
    shapes = network.parameter_shapes()[name]
    return {kind: file.get_tensor(f"{name}/{kind}").reshape(shapes[kind]) for kind in shapes}


def _what_to_do(network: Network, name: str) -> str:
    published = [entry for entry in catalog.ENTRIES if name in (entry.name, entry.network)]
    message = f"no weights called {name} here: "
    if published:
        message += f"'invjax weights fetch {published[0].name}' downloads {published[0].url}, "
    message += f"'invjax weights import FILE --network {network.name}' takes a file, weights \"random\" are drawn"
    cached = [entry.name for entry in published if stored(entry.name).exists()]
    return message + (f"; there are {', '.join(cached)}" if cached else "")


def _mean(found: Found, network: Network) -> tuple[float, float, float]:
    return _triple(network.input.mean if found.mean is None else found.mean)


def _triple(mean: Collection[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in mean)
    return red, green, blue
