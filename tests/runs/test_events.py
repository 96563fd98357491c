"""Event files, read back by their published format: TFRecord framing, CRC-32C, Event protocol buffers."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from invjax import UserError
from invjax.runs import events

from ..conftest import blobs


def crc32c(data):
    """Bit by bit, as in RFC 3720, reflected polynomial 0x82F63B78."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read(folder):
    """Events of all files, in the order of their starts."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        file = io.BytesIO(path.read_bytes())
        while header := file.read(8):
            (length,) = struct.unpack("<Q", header)
            assert struct.unpack("<I", file.read(4)) == (masked(header),)
            record = file.read(length)
            assert struct.unpack("<I", file.read(4)) == (masked(record),)
            found.append(event_pb2.Event.FromString(record))
    return found


def points(folder):
    """(tag, step, value) of every scalar."""
    return [
        (value.tag, event.step, value.simple_value)
        for event in read(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("tensorboardX")
    return tmp_path / "run" / "tensorboard"


def test_scalars(folder):
    with events.Writer(folder) as writer:
        writer.scalars("cat/hog_r0", 0, {"total": 1.5, "data": np.float32(0.25)})
        writer.scalars("cat/hog_r0", 10, {"total": float("nan")})
    first, *_ = read(folder)
    assert first.file_version == "brain.Event:2"
    *finite, (tag, step, last) = points(folder)
    assert finite == [("cat/hog_r0/total", 0, 1.5), ("cat/hog_r0/data", 0, 0.25)]
    assert (tag, step) == ("cat/hog_r0/total", 10)
    assert np.isnan(last)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures(folder, channels):
    pixels = np.stack([blobs(20, seed) for seed in range(channels)], axis=-1)[:, :15]
    with events.Writer(folder) as writer:
        writer.picture("cat", 7, pixels)
    [_, event] = read(folder)
    [value] = event.summary.value
    assert (event.step, value.tag) == (7, "cat")
    assert (value.image.height, value.image.width, value.image.colorspace) == (20, 15, channels)
    seen = np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
    np.testing.assert_array_equal(seen.reshape(pixels.shape), pixels)


def shown(folder, tag):
    """Steps of a curve as TensorBoard reads them: a point takes the place of those from its step on, of its curve."""
    steps = []
    for name, step, _ in points(folder):
        if name == tag:
            steps = [before for before in steps if before < step] + [step]
    return steps


def test_what_a_second_start_takes_again_is_shown_once(folder):
    with events.Writer(folder) as writer:
        for step in (0, 10, 20):
            writer.scalars("a", step, {"total": 1.0})
            writer.scalars("finished", 2 * step, {"total": 1.0})
    with events.Writer(folder) as writer:  # from a checkpoint at step 10
        for step in (10, 20, 30):
            writer.scalars("a", step, {"total": 1.0})
            writer.scalars("b", step, {"total": 1.0})
    assert shown(folder, "a/total") == [0, 10, 20, 30]
    assert shown(folder, "b/total") == [10, 20, 30]
    assert shown(folder, "finished/total") == [0, 20, 40]


def test_goes_on_after_a_kill_in_the_middle_of_a_record(folder):
    with events.Writer(folder) as writer:
        writer.scalars("a", 0, {"total": 1.0})
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-6])
    with events.Writer(folder) as writer:
        writer.scalars("a", 0, {"total": 1.0})
    path.unlink()
    assert [step for _, step, _ in points(folder)] == [0]


def test_is_on_disk_before_the_end(folder, monkeypatch):
    monkeypatch.setattr(events, "FLUSH_SECONDS", 0.0)
    with events.Writer(folder) as writer:
        writer.scalars("a", 0, {"total": 1.0})
        assert points(folder) == [("a/total", 0, 1.0)]


def test_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError, match=r"pip install 'invjax\[tensorboard\]'"):
        events.Writer(tmp_path)
    assert not list(tmp_path.iterdir())
