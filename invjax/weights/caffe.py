"""Caffe's .caffemodel: a NetParameter in binary protobuf, with layers of either generation."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from invjax.errors import UserError
from invjax.weights.found import Found, Layers

# Numbers of the fields we need, from caffe.proto. Messages and packed numbers look like bytes on the wire: declared as
# such, parsing allocates nothing but slices of the file, and what they hold is parsed when it is wanted.
_SCHEMA = {
    "NetParameter": {"layers": (2, "bytes"), "layer": (100, "bytes")},
    "V1LayerParameter": {"name": (4, "bytes"), "blobs": (6, "bytes")},
    "LayerParameter": {"name": (1, "bytes"), "blobs": (7, "bytes")},
    "BlobProto": {
        **{"num": (1, "int32"), "channels": (2, "int32"), "height": (3, "int32"), "width": (4, "int32")},
        **{"data": (5, "bytes"), "double_data": (8, "bytes"), "shape": (7, "bytes")},
    },
    "BlobShape": {"dim": (1, "int64")},
}
_LEGACY = ("num", "channels", "height", "width")
_NAMES = ("weight", "bias")
_MAX_LAYERS, _MAX_BLOBS = 10_000, 10


def read(path: Path) -> Found:
    """Reads a .caffemodel: weights [out, in / groups, h, w] or [out, in], for BGR pictures.

    Raises:
        UserError: it is not one.
    """
    net = _parse("NetParameter", path.read_bytes())
    if not 0 < len(net.layers) + len(net.layer) <= _MAX_LAYERS:
        raise UserError("no layers in it, or too many")
    layers: Layers = {}
    for kind, contents in (("V1LayerParameter", net.layers), ("LayerParameter", net.layer)):
        for content in contents:
            layer = _parse(kind, content)
            name = b"".join(layer.name).decode(errors="replace")
            if len(layer.blobs) > _MAX_BLOBS or (layer.blobs and name in layers):
                raise UserError(f"two layers called '{name}', or one with {len(layer.blobs)} arrays")
            if layer.blobs:
                layers[name] = {_name(number): _array(blob) for number, blob in enumerate(layer.blobs)}
    if not layers:
        raise UserError("no weights in it")
    return Found(layers, "bgr")


def _name(number: int) -> str:
    return _NAMES[number] if number < len(_NAMES) else f"blob {number}"


def _array(content: bytes) -> np.ndarray:
    blob = _parse("BlobProto", content)
    if blob.data:
        values = np.frombuffer(b"".join(blob.data), "<f4")
    else:
        values = np.frombuffer(b"".join(blob.double_data), "<f8")
    if blob.shape:
        shape = tuple(_parse("BlobShape", b"".join(blob.shape)).dim)
    else:
        shape = tuple(getattr(blob, name)[-1] if getattr(blob, name) else 0 for name in _LEGACY)
    if len(shape) > 8 or min(shape, default=1) < 0 or math.prod(shape) != values.size:
        raise UserError(f"an array of {values.size} numbers says that its shape is {list(shape[:8])}")
    return values.reshape(shape)


def _parse(name: str, content: bytes) -> Any:
    return _messages()[name].FromString(content)


@functools.cache
def _messages() -> dict[str, Any]:
    """Classes of messages, made of the schema."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # nothing else needs it

    file = descriptor_pb2.FileDescriptorProto(name="invjax_caffe.proto", syntax="proto2")
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            message.field.add(
                name=field,
                number=number,
                label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
                type=descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}"),
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in _SCHEMA}
