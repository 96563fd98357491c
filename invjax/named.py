"""Things of the user's by name: "my_file.py:make" and "package.module:make"."""

from __future__ import annotations

import functools
import importlib
import runpy
from pathlib import Path
from typing import Any

from invjax.errors import UserError, first_line


def is_path(name: str) -> bool:
    """Whether a name says where something is, and is not one that invjax knows."""
    return ":" in name


@functools.cache
def load(name: str) -> Any:
    """What a file or module of the user's has under a name; a file is run once.

    Args:
        name: "file.py:name", or "package.module:name".

    Raises:
        UserError: no such file, module or name in it, or an error while it is read.
    """
    place, _, attribute = name.rpartition(":")
    try:
        if place.endswith(".py"):
            if not Path(place).is_file():
                raise UserError(f"{name}: no such file: {place}")
            found = runpy.run_path(place, run_name=Path(place).stem)
        else:
            found = vars(importlib.import_module(place))
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name}: {error}: give a file, my_file.py:{attribute}, or a module that can be imported"
        ) from None
    except Exception as error:  # whatever the user's file raises
        raise UserError(f"{name}: {place} cannot be read: {type(error).__name__}: {first_line(error)}") from error
    if attribute not in found:
        raise UserError(f"{name}: there is no '{attribute}' in {place}")
    return found[attribute]
