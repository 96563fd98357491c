"""PyTorch's .pth files of state_dicts, of torchvision's networks: the zip format and the one before it.

Both are pickles, which are programs. Only the few instructions and names that a state_dict needs are carried out, by
Python's own unpickler: the one in C reserves memory for whatever index a file mentions. Nothing of torch is needed.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from invjax.errors import UserError
from invjax.weights.arrays import open_zip
from invjax.weights.found import Found, by_layer

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # pickle of torch.serialization.MAGIC_NUMBER
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's networks, of RGB pictures of 0..1
_MAX_PICKLE = 2**20  # bytes; that of VGG-19 has some 5000
_TYPES = {
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BoolStorage": "?"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1"},
}


class _Storage(NamedTuple):
    key: str
    type: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> Found:
    """Reads a state_dict of one of torchvision's networks: weights [out, in / groups, h, w] or [out, in].

    Raises:
        UserError: it is something else, or its pickle would run code.
    """
    with path.open("rb") as file:
        legacy = file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC
    state, storages = _read_legacy(path) if legacy else _read_zip(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not any(isinstance(value, _Tensor) for value in state.values()):
        raise UserError("not a state_dict: save model.state_dict(), not the model")
    arrays = {name: _array(value, storages) for name, value in state.items() if isinstance(value, _Tensor)}
    mean, deviation = (tuple(255 * value for value in values) for values in (MEAN, DEVIATION))
    return Found(by_layer(arrays, "."), "rgb", mean, deviation)


def _read_zip(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    with open_zip(path) as archive:
        folder = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        if archive.getinfo(f"{folder}data.pkl").file_size > _MAX_PICKLE:
            raise UserError("its pickle is far larger than that of a state_dict")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise UserError("written on a big-endian machine: save it again on another")
        state, used = _unpickle(io.BytesIO(archive.read(f"{folder}data.pkl")))
        return state, {key: _numbers(archive.read(f"{folder}data/{key}"), used[key]) for key in used}


def _read_legacy(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    data = memoryview(path.read_bytes())
    file = io.BytesIO(data[:_MAX_PICKLE])
    _magic, _version, system = (_unpickle(file)[0] for _ in range(3))
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UserError("written on a big-endian machine: save it again on another")
    state, used = _unpickle(file)
    keys, _ = _unpickle(file)
    storages, at = {}, file.tell()
    for key in keys:  # each is its length and then its numbers
        (length,) = struct.unpack_from("<q", data, at)
        if length != used[key].length:
            raise UserError(f"storage '{key}' has another length than said before")
        storages[key] = _numbers(data[at + 8 :], used[key])
        at += 8 + storages[key].nbytes
    return state, storages


def _numbers(data: Any, storage: _Storage) -> np.ndarray:
    return np.frombuffer(data, storage.type, storage.length)


def _array(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    """A view of its storage that does not reach beyond it."""
    storage, offset, shape, strides = tensor
    values = storages[storage.key][offset:]
    reach = sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or math.prod(shape) > values.size or values.size <= reach:
        raise UserError("an array reaches beyond its storage")
    return np.lib.stride_tricks.as_strided(values, shape, [stride * values.itemsize for stride in strides])


class _Names(dict):
    """A dict with names for keys: to hash what else a pickle can build may overflow the stack."""

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        for key, value in pairs:
            self[key] = value

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str:
            raise UserError("not a state_dict: it has keys that are not names")
        super().__setitem__(key, value)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(type(number) is int for number in numbers):
        raise UserError("an array without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_GLOBALS = {
    ("collections", "OrderedDict"): _Names,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    **{("torch", name): kind for name, kind in _TYPES.items()},
}
_OPCODES = """
    PROTO FRAME STOP MARK MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BINPERSID
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINSTRING SHORT_BINSTRING
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS SETITEM SETITEMS
"""


def _forget_state(unpickler: Any) -> None:
    """Attributes of objects, such as versions of modules, are not wanted; setting them could change our functions."""
    unpickler.stack.pop()


def _new_dict(unpickler: Any) -> None:
    unpickler.append(_Names())


class _Unpickler(pickle._Unpickler):
    """Carries out what a state_dict needs and nothing else."""

    dispatch = {  # noqa: RUF012
        **{code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in _OPCODES.split())},
        **{pickle.BUILD[0]: _forget_state, pickle.EMPTY_DICT[0]: _new_dict},
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name of the pickle."""
        if (module, name) not in _GLOBALS:
            raise UserError(f"needs {module}.{name}, which is not loaded: save model.state_dict() and nothing else")
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """Numbers that are kept beside the pickle."""
        _, kind, key, _, length, *view = pid
        known = type(key) is str and type(length) is int and length >= 0 and kind in _TYPES.values()
        if not known or any(view):
            raise UserError("an array without a storage")
        return self.storages.setdefault(key, _Storage(key, kind, length))


def _unpickle(file: io.BytesIO) -> tuple[Any, dict[str, _Storage]]:
    """What the pickle builds, and the storages it mentions."""
    unpickler = _Unpickler(file)
    try:
        return unpickler.load(), unpickler.storages
    except UserError:
        raise
    except Exception as error:  # of an instruction left out, or of nonsense
        raise UserError(f"its pickle is damaged or does more than name arrays ({error!r:.80})") from None
