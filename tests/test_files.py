import errno
import os
from pathlib import Path

import pytest

from invjax.files import write_atomically


@pytest.mark.parametrize("data, stored", [(b"\x00\xff\r\n", b"\x00\xff\r\n"), ("σ\n", b"\xcf\x83\n"), ("", b"")])
def test_writes_what_it_is_given(tmp_path, data, stored):
    write_atomically(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == stored


def test_makes_missing_folders_and_takes_strings(tmp_path):
    write_atomically(str(tmp_path / "a" / "b" / "file"), "text")
    assert (tmp_path / "a" / "b" / "file").read_text() == "text"


def test_replaces_an_older_file_and_leaves_nothing_else(tmp_path):
    for text in ("a long first text", "second"):
        write_atomically(tmp_path / "file", text)
    assert (tmp_path / "file").read_text() == "second"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_failure_leaves_the_older_file(tmp_path, monkeypatch, failing):
    write_atomically(tmp_path / "file", "old")

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "no space left on device")  # of a write: without a file name

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="no space left") as caught:
        write_atomically(tmp_path / "file", "new")
    assert caught.value.filename == str(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_the_older_file_is_whole_until_it_is_replaced(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", "old")
    seen, replace = [], os.replace

    def look(source, destination):
        seen.append(((tmp_path / "file").read_text(), Path(source).parent))
        replace(source, destination)

    monkeypatch.setattr(os, "replace", look)
    write_atomically(tmp_path / "file", "new")
    assert seen == [("old", tmp_path)]  # beside it: a rename across disks would not be atomic
    assert (tmp_path / "file").read_text() == "new"


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_are_the_usual_ones(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
