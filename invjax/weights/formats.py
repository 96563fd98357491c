"""Which file is which, by its content."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

from invjax import matlab
from invjax.errors import UserError
from invjax.files import reading
from invjax.weights import arrays, caffe, matconvnet, pytorch
from invjax.weights.found import Found


def read(path: str | Path) -> Found:
    """Reads the arrays of a .caffemodel, MatConvNet's .mat, a .pth, an .npz or a .safetensors, whatever it is called.

    Raises:
        UserError: no such file, none of these, damaged, or hostile.
    """
    path = Path(path)
    with reading(path):
        return _checked(_read(path))


def _read(path: Path) -> Found:
    with path.open("rb") as file:
        head = file.read(520)
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            is_torch = any(name.endswith("/data.pkl") for name in archive.namelist())
        return pytorch.read(path) if is_torch else arrays.read_npz(path)
    if head.startswith(pytorch.LEGACY_MAGIC):
        return pytorch.read(path)
    if matlab.is_matlab(head):
        return matconvnet.read(path)
    if b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:]):
        raise UserError("HDF5, which is not read: in MATLAB save it with '-v7', elsewhere as .npz")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return arrays.read_safetensors(path)
    try:
        return caffe.read(path)
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else "does not parse as one"
        raise UserError(
            f"not a file of weights that is known here: no MATLAB, PyTorch, .npz or .safetensors file, and as a "
            f".caffemodel: {reason}"
        ) from None


def _checked(found: Found) -> Found:
    for layer, arrays_of in found.layers.items():
        for name, array in arrays_of.items():
            if array.dtype.kind not in "fiub":
                raise UserError(f"{layer}/{name} does not hold numbers but {array.dtype}")
    if found.mean is not None and (len(found.mean) != 3 or not all(map(math.isfinite, found.mean))):
        raise UserError("the mean of its pictures is not three numbers")
    return found
