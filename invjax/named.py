"""Things made by name: "l1", "fourier(decay=1.5)", "my_file.py:loss", "package.module:make(power=3)".

A name is one of invjax's own, or says in which file or module of the user's something is. Options are Python literals,
so that nothing in a text is run.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from invjax.errors import UserError, check_options, first_line, one_line, suggestion

_TEXT = re.compile(r"([\w-]+|(?:[\w.]+|.*?\.py):\w+)\s*(\(.*\))?", re.DOTALL)
_PLUS = re.compile(r"(?<=\))\s*\+\s*|\s+\+\s+")


class Named(NamedTuple):
    """A text in its parts; `called` tells whether it has brackets, be they empty."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    called: bool


def parse(text: str) -> Named:
    """Takes a text apart.

    Args:
        text: "name", or "name(value, option=value, ...)".

    Raises:
        UserError: the text is neither, or a value is no Python literal.
    """
    found = _TEXT.fullmatch(text.strip())
    if not found:
        raise UserError(
            f"'{one_line(text)}' is no name: write name, name(option=value, ...) or my_file.py:name(option=value, ...)"
        )
    name, options = found.groups()
    return Named(name, *_literals(text, options or "()"), options is not None)


def _literals(text: str, options: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments between brackets."""
    try:
        call = ast.parse(f"name{options}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError
        args = tuple(map(ast.literal_eval, call.args))
        pairs = [(keyword.arg, ast.literal_eval(keyword.value)) for keyword in call.keywords]
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):  # all of ast's, for too deep ones, too
        raise UserError(
            f"'{one_line(text)}': options must be numbers, quoted text, True, False, None, or lists or dicts of these, "
            "as in name(size=3, colour='red')"
        ) from None
    kwargs = {option: value for option, value in pairs if option is not None}
    if len(kwargs) < len(pairs):
        raise UserError(f"'{one_line(text)}': each option needs a name, and may be given once")
    return args, kwargs


def split(text: str) -> list[str]:
    """The texts that are joined by " + ", as in "jitter(8) + rotation(5)"; after a bracket it needs no spaces.

    What stands in brackets, a path in quotes say, is no joint.
    """
    parts, last = [], 0
    for plus in _PLUS.finditer(text):
        before = text[last : plus.start()]
        if before.count("(") == before.count(")"):
            parts.append(before.strip())
            last = plus.end()
    return [*parts, text[last:].strip()]


def is_path(name: str) -> bool:
    """Whether a name says where something is, and is not one that invjax knows."""
    return ":" in name


def load(name: str) -> Any:
    """What a file or module of the user's has under a name.

    A file is run once, and again after it was changed. It may import what lies beside it, as a script may, but not
    later than in its factories.

    Args:
        name: "file.py:name", relative to the working directory, or "package.module:name".

    Raises:
        UserError: no such file, module or name in it, or an error while it is read.
    """
    place, _, attribute = name.rpartition(":")
    try:
        found = _run(*_version(name, place)) if place.endswith(".py") else vars(importlib.import_module(place))
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if f"{place}.".startswith(f"{error.name}."):
            raise UserError(
                f"{name}: {error}: give a file, my_file.py:{attribute}, or a module that can be imported"
            ) from None
        raise UserError(f"{name}: {place} imports '{error.name}', which is not installed") from error
    except (Exception, SystemExit) as error:  # whatever the user's file raises
        raise UserError(f"{name}: {place} cannot be read: {type(error).__name__}: {first_line(error)}") from error
    if attribute not in found:
        raise UserError(f"{name}: there is no '{attribute}' in {place}")
    return found[attribute]


def _version(name: str, place: str) -> tuple[Path, int, int]:
    """A file, when it was written, and its size."""
    path = Path(place)
    if not path.is_file():
        raise UserError(f"{name}: no such file: {place}")
    return path.resolve(), path.stat().st_mtime_ns, path.stat().st_size


@functools.lru_cache(maxsize=256)
def _run(path: Path, modified: int, size: int) -> dict[str, Any]:
    with _neighbours(str(path)):
        return runpy.run_path(str(path), run_name=path.stem)


@contextlib.contextmanager
def _neighbours(place: str) -> Iterator[None]:
    """Lets a file import what lies beside it, and leaves sys.path as it was."""
    folders = [str(Path(place).resolve().parent)] if place.endswith(".py") else []
    sys.path[:0] = folders
    try:
        yield
    finally:
        for folder in folders:
            with contextlib.suppress(ValueError):  # the file has taken it away itself
                sys.path.remove(folder)


def file_of(text: str) -> Path | None:
    """The user's file in which the name of a text is; None for a name of invjax's own, and a module without a file.

    Raises:
        UserError: the text is no name, or there is no such file or module.
    """
    name = parse(text).name
    if not is_path(name):
        return None
    place = name.rpartition(":")[0]
    if place.endswith(".py"):
        return _version(name, place)[0]
    load(name)
    file = getattr(sys.modules[place], "__file__", None)
    return Path(file).resolve() if file else None


def absolute(text: str) -> str:
    """The same name, which holds in whatever folder: of a file of the user's, its whole path."""
    place, _, attribute = text.rpartition(":")
    return f"{Path(place).resolve()}:{attribute}" if place.endswith(".py") else text


def make(
    kind: str,
    text: str,
    factories: Mapping[str, Callable[..., Any]],
    *leading: Any,
    itself: Callable[[Any], bool] = lambda found: False,
) -> Any:
    """Makes what a text says; while a file of the user's stays as it is, equal texts give the same thing.

    Args:
        kind: what it is, e.g. "loss".
        text: see `parse`.
        factories: invjax's own, by name.
        *leading: what every factory takes before its options, hashable.
        itself: tells whether what has a user's name without brackets is the thing itself and no factory of it.

    Raises:
        UserError: unknown name, options that it does not take or needs, or an error in a factory.
    """
    asked = parse(text)
    if is_path(asked.name):
        found = load(asked.name)
        return found if not asked.called and itself(found) else _made(text, check_hashable(asked.name, found), leading)
    if asked.name not in factories:
        hint = suggestion(asked.name, list(factories))
        raise UserError(f"unknown {kind} '{asked.name}'. {hint}, or my_file.py:name")
    return call(asked.name, factories[asked.name], asked.args, asked.kwargs, leading)


@functools.lru_cache(maxsize=256)
def _made(text: str, factory: Any, leading: tuple[Any, ...]) -> Any:
    name, args, kwargs, _ = parse(text)
    with _neighbours(name.rpartition(":")[0]):
        return call(name, factory, args, kwargs, leading)


def call(name: str, factory: Any, args: Sequence[Any], kwargs: Mapping[str, Any], leading: tuple[Any, ...] = ()) -> Any:
    """Calls a factory with its options.

    Args:
        name: of the factory, for messages.
        factory: the factory.
        args, kwargs: its options.
        leading: what it takes before them.

    Raises:
        UserError: options that it does not take or needs, or whatever it raises.
    """
    if not callable(factory):
        raise UserError(f"{name} must be a function, got {type(factory).__name__}")
    signature = signature_of(name, factory)
    try:
        _check(name, list(signature.parameters.values())[len(leading) :], args, kwargs)
        bound = signature.bind(*leading, *args, **kwargs)
        bound.apply_defaults()  # caches tell apart what is given by position, by name or not at all
        return factory(*bound.args, **bound.kwargs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name} failed: {type(error).__name__}: {first_line(error)}") from error


def signature_of(name: str, factory: Any) -> inspect.Signature:
    """The signature of a factory.

    Raises:
        UserError: it is none, or has no signature.
    """
    try:
        return inspect.signature(factory)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be a function with a signature, got {type(factory).__name__}") from None


def _check(name: str, parameters: list[inspect.Parameter], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuses options that there are not, and options that are missing."""
    single = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    valid = [each.name for each in single]
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        check_options(name, kwargs, valid)
    missing = [each.name for each in single[len(args) :] if each.default is each.empty and each.name not in kwargs]
    if missing:
        options = "option" if len(missing) == 1 else "options"
        raise UserError(f"{name} needs the {options} {', '.join(missing)}. It takes: {', '.join(valid)}")


def function(kind: str, chosen: Any, factories: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """A function by name, or the user's own: "my_file.py:name" is a function, with brackets a factory of one.

    Args:
        kind: what it is, e.g. "loss".
        chosen: a text, or a function.
        factories: invjax's own, by name.

    Raises:
        UserError: as of `make`, or it is no function, or one that cannot be hashed.
    """
    found = make(kind, chosen, factories, itself=callable) if isinstance(chosen, str) else chosen
    if not callable(found):
        raise UserError(f"{kind} must be a name or a function, got {one_line(repr(found))}")
    return check_hashable(kind, found)


def check_hashable(what: str, thing: Any) -> Any:
    """The same thing; raises UserError for one that has no hash, by which compiled programs are told apart."""
    try:
        hash(thing)
    except TypeError as error:
        raise UserError(
            f"{what} must be hashable: give {type(thing).__name__} a __hash__, or none of __eq__"
        ) from error
    return thing
