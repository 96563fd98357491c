"""Plain arrays by name: .npz and .safetensors."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import numpy as np

from invjax.errors import UserError
from invjax.weights.found import Found, Layers, allowance, by_layer

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path) -> Found:
    """Reads <layer>/weight [out, in / groups, h, w] or [out, in], or <layer>/kernel laid out as ours, and <layer>/bias.

    Raises:
        UserError: it is damaged.
    """
    with open_zip(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        layers = by_layer({name.removesuffix(".npy"): _read_npy(archive, name) for name in names}, "/")
    return Found(layers, _colours(layers))


def read_safetensors(path: Path) -> Found:
    """Reads what `read_npz` reads; mean and network come from the metadata of files in our cache.

    Raises:
        UserError: it is damaged.
    """
    from safetensors import safe_open  # nothing else here needs it
    from safetensors.numpy import load_file

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    layers = by_layer(load_file(path), "/")
    mean = tuple(json.loads(metadata["mean"])) if "mean" in metadata else None
    return Found(layers, _colours(layers), mean, network=metadata.get("network", ""))


def _colours(layers: Layers) -> str:
    """Kernels laid out as ours are for RGB, too."""
    return "" if any("weight" in arrays for arrays in layers.values()) else "rgb"


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip file that does not unpack to much more than it is.

    Raises:
        UserError: it would.
    """
    archive = zipfile.ZipFile(path)
    members = archive.infolist()
    kinds = {member.compress_type for member in members}
    size = sum(member.file_size for member in members)
    if size > allowance(path) or not kinds <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        archive.close()
        raise UserError("unpacks to far more than weights would")
    return archive


def _read_npy(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """NumPy's own function reserves memory for whatever shape the header tells."""
    with archive.open(name) as file:
        shape, by_columns, kind = _HEADERS[np.lib.format.read_magic(file)](file)
        data = file.read()
    if kind.hasobject or math.prod(shape) * kind.itemsize != len(data):
        raise UserError(f"{name} is not a plain array")
    return np.frombuffer(data, kind).reshape(shape, order="F" if by_columns else "C")
