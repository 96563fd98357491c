"""Compiled programs kept on disk, so that a second run starts in seconds."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

import jax

from invjax import weights

LIMIT = 1 << 30  # bytes of all compiled programs; one of a network takes some 100 kB


def turn_on() -> Path | None:
    """Lets JAX keep every program that it compiles, and find it again in later processes.

    What `invjax` does on the command line; importing the package does not. Programs are found by their text, the
    version of JAX and the device; a folder for each kind of processor keeps those of another machine apart, which may
    share the disk. Whoever can write there can run code here, as with any cache of JAX. Call it before the first
    computation.

    Returns:
        The folder, below `weights.cache()`; None where the user has chosen another one or none at all
        (`JAX_COMPILATION_CACHE_DIR`, `JAX_ENABLE_COMPILATION_CACHE=0`), which is left as it is, or where it cannot be
        written, which is told in a line.
    """
    config: Any = jax.config  # whose options have no types
    if config.jax_compilation_cache_dir is not None or not config.jax_enable_compilation_cache:
        return None
    root = weights.cache() / "compiled"
    path = root / _processor()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(path, os.W_OK):
            raise PermissionError("it cannot be written")
    except OSError as error:
        print(f"invjax: {path}: {error.strerror or error}: programs are compiled anew", file=sys.stderr)
        return None
    _prune(root)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # there are many small ones
    # a disk that is full meanwhile: what needs it tells so itself
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache")
    return path


def _processor() -> str:
    """A name that only processors with the same instructions have: JAX takes any CPU for any other."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if line.lower().startswith(("flags", "features"))]
    features = told[0] if told else platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"


def _prune(root: Path) -> None:
    """Removes the oldest programs of a cache that has grown too large."""
    with contextlib.suppress(OSError):  # another process does the same
        files = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in root.glob("*/*"))
        excess = sum(size for _, size, _ in files) - LIMIT
        for _, size, file in files:
            if excess <= 0:
                break
            file.unlink(missing_ok=True)
            excess -= size
