"""Files: written so that a crash never leaves half of one, read so that a bad one is one line, locked."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from invjax.errors import UserError, one_line


def write_atomically(path: str | Path, data: bytes | str | Iterable[bytes]) -> None:
    """Writes a file under a temporary name beside its place and renames it: readers see the old or the new, whole.

    Args:
        path: where; its folder is made when missing.
        data: what; text is written as UTF-8, pieces one after the other.

    Raises:
        OSError: the folder cannot be written or the disk is full; an earlier file of that name is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")  # hosts may share the folder
    try:
        with temporary.open("wb") as file:
            file.writelines([data.encode()] if isinstance(data, str) else [data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            error.filename = str(path)  # a failed write does not know its file
        raise


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Makes one line that names the file of whatever goes wrong while it is read.

    Raises:
        UserError: no such file, or an exception in the block.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {one_line(error)}") from None
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # readers raise whatever they like on a broken file
        raise UserError(f"{path}: the file is damaged ({one_line(repr(error)[:120])})") from None


def lock(path: Path, refusal: str = "", shared: bool = False) -> IO[str]:
    """An open file that no other process has locked; the system unlocks it when the process ends, however it does.

    Args:
        path: of the file; its folder is made when missing.
        refusal: what to say where another process has it; by default, it is waited for.
        shared: others may share the lock, and nobody may have it alone.

    Raises:
        UserError: another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")  # to be read as well, as NFS wants it of what is shared
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (fcntl.LOCK_NB if refusal else 0))
    except BaseException as error:
        file.close()
        if isinstance(error, BlockingIOError):
            raise UserError(refusal) from None
        raise
    return file
