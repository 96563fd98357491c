"""Downloads published weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from invjax import bars, networks
from invjax.errors import UserError
from invjax.files import lock
from invjax.weights import catalog
from invjax.weights.store import cache, import_file, stored

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 2**16  # bytes; less than this is lost when a download breaks off


def fetch(name: str, url: str = "") -> Path:
    """Downloads, verifies and converts published weights, unless they are in the cache.

    An interrupted download goes on where it stopped when the server can do that.

    Args:
        name: of the catalog.
        url: another address of the same file.

    Returns:
        The file in the cache.

    Raises:
        UserError: unknown name, no connection, another file than the published one, or another process at it.
        OSError: the cache cannot be written.
    """
    entry = catalog.get(name)
    url = url or entry.url
    target = stored(entry.name)
    place = cache() / f".{entry.name}.lock"
    with lock(place, f"{place}: another process is fetching this: wait for it"):
        if not target.exists():
            file = _download(url, entry)
            import_file(file, networks.get(entry.network), entry.name, source=url)
            file.unlink()
    return target


def _download(url: str, entry: catalog.Entry) -> Path:
    """The published file, in the cache, where it may be whole from an earlier time."""
    part = cache() / f"{entry.name}.part"
    if not part.exists() or _hash(part, entry) != entry.hash:
        _resume(url, part)
        if (found := _hash(part, entry)) != entry.hash:
            part.unlink()
            what = f"expected {entry.hash} but got {found}; the download is deleted"
            raise UserError(f"{url}: {what}: try again, or --url with another address")
    return part


def _hash(path: Path, entry: catalog.Entry) -> str:
    """Of a file, as the entry states it."""
    algorithm = entry.hash.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _resume(url: str, part: Path) -> None:
    """Downloads what is missing of a file."""
    try:
        while not _append(url, part):
            part.unlink()
    except requests.RequestException as error:
        reason = " ".join(str(error).split()).rpartition(": ")[2].partition("', ")[0].strip("()'\" ")
        kept = part.stat().st_size if part.exists() else 0
        what = f"no connection ({reason:.100})" + (f", {kept / 1e6:.1f} MB are kept for the next time" if kept else "")
        raise UserError(f"{url}: {what}: try again, or --url with another address") from None
    except OSError as error:
        error.filename = error.filename or str(part)  # a failed write does not know its file
        raise


def _append(url: str, part: Path) -> bool:
    """One request for the rest of a file; false where the server has no such rest."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            return False
        if not response.ok:
            what = f"the server says {response.status_code} {response.reason}"
            raise UserError(f"{url}: {what}: try --url with another address, or import a file")
        if response.status_code != requests.codes.partial_content:
            have = 0  # the server starts over
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = bars.of(
            TextColumn(part.stem), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        )
        task = bar.add_task("", total=total, completed=have)
        with part.open("ab" if have else "wb") as file, bar:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
    if total is not None and part.stat().st_size != total:
        raise requests.ConnectionError("the connection closed early")
    return True
