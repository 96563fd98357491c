"""Downloads from a server of our own, which breaks off, refuses, and sends other files."""

import contextlib
import fcntl
import hashlib
import http.server
import resource
import socket
import threading

import numpy as np
import pytest

from invjax import UserError, cli, weights
from invjax.weights import catalog, download
from tests.weights import common
from tests.weights.common import TINY, canonical, numbers

FILE = common.npz(canonical(numbers()))


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends the server's file."""

    def do_GET(self):
        server, start = self.server, 0
        server.ranges.append(self.headers.get("Range"))
        if server.status != 200:
            return self.send_error(server.status)
        if server.knows_ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.file):
                return self.send_error(416)
            self.send_response(206)
        else:
            self.send_response(200)
        rest = server.file[start:]
        if server.tells_length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.breaks_off_after])

    def log_message(self, *_):
        """Keeps quiet."""


@pytest.fixture
def server(monkeypatch):
    """A server; the file that it sends is published as the weights of the tiny network."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.file, server.status, server.knows_ranges, server.tells_length = FILE, 200, True, True
    server.breaks_off_after, server.ranges = None, []
    server.url = f"http://127.0.0.1:{server.server_port}/tiny.npz"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    entry = catalog.Entry("tiny", server.url, "sha1:" + hashlib.sha1(FILE).hexdigest(), "ours")
    monkeypatch.setattr(catalog, "ENTRIES", (*catalog.ENTRIES, entry))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def names(cache):
    """What is in the cache, but for the lock."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_fetch(server, cache, capsys):
    assert cli.main(["weights", "fetch", "tiny"]) == 0
    assert capsys.readouterr().out == f"{cache / 'tiny.safetensors'}\n"
    assert names(cache) == ["tiny.safetensors"]
    loaded = weights.load(TINY)
    np.testing.assert_array_equal(loaded.params["fc6"]["kernel"], canonical(numbers())["fc6"]["kernel"])
    assert loaded.source == f"tiny sha256:{hashlib.sha256(FILE).hexdigest()[:8]}"


def test_nothing_is_downloaded_twice(server):
    weights.fetch("tiny")
    weights.fetch("tiny")
    assert len(server.ranges) == 1


def test_another_address(server, monkeypatch):
    entry = catalog.Entry("tiny", "http://127.0.0.1:9/gone", catalog.get("tiny").hash, "ours")
    monkeypatch.setattr(catalog, "ENTRIES", (entry,))
    assert weights.fetch("tiny", server.url).exists()


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_interrupted_download_goes_on(server, cache, monkeypatch, knows_ranges):
    monkeypatch.setattr(download, "_CHUNK", 100)
    server.knows_ranges, server.breaks_off_after = knows_ranges, 1000
    with pytest.raises(UserError, match=r"no connection \(.+\), 0\.0 MB are kept for the next time: try"):
        weights.fetch("tiny")
    assert names(cache) == ["tiny.part"] and (cache / "tiny.part").stat().st_size == 1000
    server.breaks_off_after = None
    assert weights.fetch("tiny").exists()
    assert server.ranges == [None, "bytes=1000-"]
    assert names(cache) == ["tiny.safetensors"]


def test_a_part_that_is_whole(server, cache):
    cache.mkdir()
    (cache / "tiny.part").write_bytes(FILE)
    assert weights.fetch("tiny").exists()


def test_a_server_that_tells_no_length(server):
    server.tells_length = False
    assert weights.fetch("tiny").exists()


def test_another_file_than_the_published_one(server, cache):
    server.file = FILE[:-1] + b"!"
    with pytest.raises(
        UserError, match=r"expected sha1:\w+ but got sha1:\w+; the download is deleted: try again"
    ) as error:
        weights.fetch("tiny")
    assert names(cache) == [] and "\n" not in str(error.value)


def test_a_part_of_another_file(server, cache):
    cache.mkdir()
    (cache / "tiny.part").write_bytes(b"another file")
    with pytest.raises(UserError, match="the download is deleted"):
        weights.fetch("tiny")
    assert weights.fetch("tiny").exists()


def test_a_published_file_that_does_not_fit(server, cache, monkeypatch):
    """It is not downloaded again."""
    server.file = common.npz(numbers())
    entry = catalog.Entry("tiny", server.url, "md5:" + hashlib.md5(server.file).hexdigest(), "ours")
    monkeypatch.setattr(catalog, "ENTRIES", (entry,))
    for _ in range(2):
        with pytest.raises(UserError, match="does not tell the order of colours"):
            weights.fetch("tiny")
    assert len(server.ranges) == 1


@pytest.mark.parametrize("status, reason", [(404, "Not Found"), (403, "Forbidden"), (500, "Internal Server Error")])
def test_refused_by_the_server(server, status, reason):
    server.status = status
    with pytest.raises(UserError, match=f"the server says {status} {reason}: try --url with another address"):
        weights.fetch("tiny")


def test_no_connection(server, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        assert cli.main(["weights", "fetch", "tiny", "--url", url]) == 2
    printed = capsys.readouterr().err
    assert "no connection (" in printed and "Connection refused" in printed and printed.count("\n") == 1


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/tiny", "http://", "http://[", "file:///tiny"])
def test_no_address(server, url):
    with pytest.raises(UserError, match="no connection"):
        weights.fetch("tiny", url)


def test_another_process(server, cache):
    cache.mkdir()
    with (cache / ".tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is fetching this: wait for it"):
            weights.fetch("tiny")
    assert weights.fetch("tiny").exists()


def test_two_at_once(server):
    """Both end with the file, or one of them is told to wait."""
    results = []

    def fetch():
        with contextlib.suppress(UserError):
            results.append(weights.fetch("tiny").exists())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results and all(results) and len(server.ranges) == 1


def test_a_cache_that_cannot_be_written(server, cache, capsys):
    cache.write_text("in the way")
    assert cli.main(["weights", "fetch", "tiny"]) == 1
    printed = capsys.readouterr().err
    assert str(cache) in printed and printed.count("\n") == 1


@contextlib.contextmanager
def small_disk(size):
    """Files cannot grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk(server, cache):
    with small_disk(1500), pytest.raises(OSError) as error:
        weights.fetch("tiny")
    assert error.value.filename == str(cache / "tiny.part") and not isinstance(error.value, UserError)
    assert weights.fetch("tiny").exists()
