"""One exception for every mistake a user can mend, and how its message is put."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """Wrong input, told in one line: what is wrong, where, and what to do.

    The command line prints the message and exits with code 2; in Python it is an ordinary `ValueError`.
    """


class Incomplete(Exception):
    """Some of what was asked for failed, and the rest is done: told in one line, with exit code 3."""


def suggestion(name: str, valid: Sequence[str]) -> str:
    """The end of a message about an unknown name: the nearest of the valid ones, and all of them."""
    near = difflib.get_close_matches(name, valid, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}Valid: {', '.join(valid)}"


def check_options(what: str, options: Iterable[str], valid: Iterable[str]) -> None:
    """Raises UserError for an option that `what` does not have, with those that it has."""
    names = list(valid)
    known = f"Valid: {', '.join(names)}" if names else "It has none"
    for option in options:
        if option not in names:
            raise UserError(f"{what} has no option '{option}'. {known}")


def one_line(message: object) -> str:
    """A message that may quote a file, fit to be printed: no line breaks, no commands to terminals, no megabytes."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(message)[:1000])


def first_line(error: BaseException) -> str:
    """The first line of an error of a library, fit to be printed; some have pages, some none."""
    return one_line(str(error).strip().partition("\n")[0])
