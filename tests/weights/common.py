"""A tiny network, numbers for it, and writers of weight files that share no code with the readers."""

import io
import struct
import zipfile

import numpy as np
import scipy.io
from safetensors.numpy import save

from invjax.networks.layers import Conv, Dense, MaxPool, Relu
from invjax.networks.network import Network, chain
from invjax.types import InputSpec

TINY = Network(
    chain(
        ("conv1", Conv(4, 3, stride=2)),
        ("relu1", Relu()),
        ("conv2", Conv(6, 3, pad=1, groups=2)),
        ("pool2", MaxPool()),
        ("fc6", Dense(5)),
        ("fc7", Dense(3)),
    ),
    InputSpec(3, (120.0, 115.0, 100.0), size=12),
    name="tiny",
)
INPUTS = {"conv1": (3, 3, 3), "conv2": (2, 3, 3), "fc6": (6, 2, 2), "fc7": (5, 1, 1)}  # what one output sees: c, h, w
OUTPUTS = {"conv1": 4, "conv2": 6, "fc6": 5, "fc7": 3}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER


def numbers(seed=0):
    """{layer: {"weight": [out, in, h, w] or [out, in·h·w], "bias": [out]}} as Caffe and PyTorch have them."""
    random = np.random.default_rng(seed)
    layers = {}
    for name, inputs in INPUTS.items():
        shape = (OUTPUTS[name], *inputs) if name.startswith("conv") else (OUTPUTS[name], int(np.prod(inputs)))
        weight = random.normal(size=shape).astype(np.float32)
        layers[name] = {"weight": weight, "bias": random.normal(size=shape[0]).astype(np.float32)}
    return layers


def canonical(layers):
    """The kernels of the tiny network, element by element; colours are left as they are."""
    params = {}
    for name, (channels, height, width) in INPUTS.items():
        weight = layers[name]["weight"].reshape(OUTPUTS[name], channels, height, width)
        kernel = np.empty((height, width, channels, OUTPUTS[name]), np.float32)
        for o, c, i, j in np.ndindex(*weight.shape):
            kernel[i, j, c, o] = weight[o, c, i, j]
        kernel = kernel if name.startswith("conv") else kernel.reshape(-1, OUTPUTS[name])
        params[name] = {"kernel": kernel, "bias": layers[name]["bias"]}
    return params


# --- Caffe: protobuf by hand -------------------------------------------------------------------------------------


def varint(number):
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def field(number, content):
    """A field of a message: text, bytes (a message or packed numbers) or an integer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array, legacy=False, double=False):
    data = field(8, array.astype("<f8").tobytes()) if double else field(5, array.astype("<f4").tobytes())
    if not legacy:
        return field(7, field(1, b"".join(map(varint, array.shape)))) + data
    shape = (1,) * (4 - array.ndim) + array.shape
    return b"".join(field(number, side) for number, side in enumerate(shape, start=1)) + data


def caffe(layers, version=2, **options):
    """A NetParameter with layers of generation 1 or 2, and a layer without weights."""
    number, name, blobs = (2, 4, 6) if version == 1 else (100, 1, 7)
    data = field(1, "Tiny") + field(number, field(name, "data"))
    for layer, arrays in layers.items():
        content = field(name, layer) + (field(5, 4) if version == 1 else field(2, "Convolution"))
        data += field(number, content + b"".join(field(blobs, blob(array, **options)) for array in arrays.values()))
    return data


# --- MatConvNet: SciPy writes ------------------------------------------------------------------------------------


def cells(values):
    array = np.empty((1, len(values)), object)
    array[0, :] = values
    return array


def matconvnet(layers, old=False, mean=(121.0, 116.0, 101.0), compress=True, picture=False):
    """A simplenn network; fully connected layers are convolutions with one position."""
    entries = []
    for name, arrays in layers.items():
        filters = arrays["weight"].reshape(OUTPUTS[name], *INPUTS[name]).transpose(2, 3, 1, 0)
        biases = arrays["bias"].reshape(1, -1)
        weights = {"filters": filters, "biases": biases} if old else {"weights": cells([filters, biases])}
        entries.append({"type": "conv", "name": name, "stride": 1.0, "pad": np.zeros((1, 4))} | weights)
        entries.append({"type": "relu", "name": f"relu_{name}"} | ({} if old else {"weights": np.zeros((0, 0))}))
    average = np.float32(mean) + np.zeros((5, 7, 3) if picture else (1, 1, 3), np.float32)
    normalization = {"averageImage": average, "imageSize": np.array([12.0, 12.0, 3.0])}
    meta = {"normalization": normalization} if old else {"meta": {"normalization": normalization}}
    file = io.BytesIO()
    scipy.io.savemat(file, {"layers": cells(entries), "classes": "cat"} | meta, do_compression=compress)
    return file.getvalue()


# --- PyTorch: pickles by hand ------------------------------------------------------------------------------------


class Global:
    """A name of a module."""

    def __init__(self, module, name):
        self.path = f"c{module}\n{name}\n".encode()


class Call:
    """A function's name and its arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Persistent(tuple):
    """Something kept beside the pickle."""


def _instructions(value):
    match value:
        case bytes():  # as they are
            return value
        case Global():
            return value.path
        case Call():
            return _instructions(value.function) + _instructions(value.arguments) + b"R"
        case Persistent():
            return _instructions(tuple(value)) + b"Q"
        case tuple():
            return b"(" + b"".join(map(_instructions, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_instructions, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_instructions(part) for item in value.items() for part in item) + b"u"
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case bool():
            return b"\x88" if value else b"\x89"
        case None:
            return b"N"
        case int() if value.bit_length() > 31:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little")
            return b"\x8a" + bytes([len(data)]) + data
        case int():
            return b"J" + struct.pack("<i", value)


def pickled(value):
    return b"\x80\x02" + _instructions(value) + b"."


def tensor(key, array, strides=None, offset=0, legacy=False):
    """How torch pickles a tensor whose storage has the name `key`."""
    view = (None,) if legacy else ()
    storage = Persistent(("storage", Global("torch", "FloatStorage"), key, "cpu", array.size, *view))
    strides = strides or tuple(stride // array.itemsize for stride in array.strides)
    hooks = Call(Global("collections", "OrderedDict"))
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), storage, offset, array.shape, strides, False, hooks)


def by_name(layers):
    return {f"{name}.{kind}": array for name, arrays in layers.items() for kind, array in arrays.items()}


def torch_zip(layers, state=None):
    arrays = by_name(layers)
    state = state or {name: tensor(str(key), array) for key, (name, array) in enumerate(arrays.items())}
    members = {"data.pkl": pickled(state), "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{key}": array.tobytes() for key, array in enumerate(arrays.values())}
    return zipped({f"archive/{name}": data for name, data in members.items()}, zipfile.ZIP_STORED)


def torch_legacy(layers, state=None):
    arrays = by_name(layers)
    names = [f"9400{key}" for key in range(len(arrays))]
    state = state or {
        name: tensor(key, array, legacy=True) for key, (name, array) in zip(names, arrays.items(), strict=True)
    }
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    data = b"".join(map(pickled, (LEGACY_MAGIC, 1001, system, state, names)))
    return data + b"".join(struct.pack("<q", array.size) + array.tobytes() for array in arrays.values())


# --- plain arrays ------------------------------------------------------------------------------------------------


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def flat(layers):
    return {name.replace(".", "/"): array for name, array in by_name(layers).items()}


def npz(layers, write=np.savez):
    file = io.BytesIO()
    write(file, **flat(layers))
    return file.getvalue()


def safetensors(layers, **metadata):
    return save({name: np.ascontiguousarray(array) for name, array in flat(layers).items()}, metadata or None)
