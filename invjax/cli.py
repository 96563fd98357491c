"""The command line: invjax invert, run, report, representations."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from invjax.errors import UserError

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> None:  # type: ignore[override]
        """One line, where argparse prints the usage as well."""
        raise UserError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command `invjax`.

    Args:
        arguments: default those of the process.

    Returns:
        Exit code: 0; 1 when a file cannot be written; 2 for wrong input; 130 when interrupted.
    """
    from invjax.version import __version__

    try:
        parser = _parser(__version__)
        options, rest = parser.parse_known_args(arguments)
        if rest and options.command is not _run:
            parser.error(f"unknown argument: {rest[0]}")
        options.overrides = rest
        options.command(options)
        sys.stdout.flush()
        return 0
    except UserError as error:
        return _fail(str(error), EXIT_USAGE)
    except KeyboardInterrupt as stopped:
        print(f"invjax: {stopped or 'interrupted'}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # of `invjax representations | head`
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", EXIT_FAILURE)


def _fail(message: str, code: int) -> int:
    print(f"invjax: error: {message}", file=sys.stderr)
    return code


def _parser(version: str) -> argparse.ArgumentParser:
    parser = _Parser(prog="invjax", description="See what HOG and SIFT remember of a picture.")
    parser.add_argument("--version", action="version", version=f"invjax {version}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    invert = commands.add_parser("invert", help="invert one representation of one or more pictures")
    invert.add_argument("photos", nargs="+", metavar="PHOTO", help="file, folder or pattern")
    invert.add_argument("--representation", required=True, metavar="NAME", help="see `invjax representations`")
    invert.add_argument("--layer", default="", help="of a network")
    invert.add_argument("--restarts", type=int, help="reconstructions per picture (1)")
    invert.add_argument("--steps", type=int, help="gradient steps (the recipe's)")
    invert.add_argument("--recipe", choices=("fast", "paper"), help="fast (default) or the paper's")
    invert.add_argument("--lambda-tv", type=float, metavar="X", help="weight of total variation (0.5)")
    invert.add_argument("--size", type=int, help="side in pixels, 0: as it is (227)")
    invert.add_argument("--seed", type=int, help="of the noise (0)")
    invert.add_argument("--stretch", action="store_true", help="also save pictures stretched to the full range")
    invert.add_argument("--out", required=True, type=Path, metavar="DIR", help="run directory")
    invert.set_defaults(command=_invert)

    run = commands.add_parser(
        "run", help="run a config", epilog="Further arguments override fields: --config.restarts=8"
    )
    run.add_argument("config", metavar="CONFIG", help="a Python file, or a bundled config such as demo")
    run.add_argument("--workdir", required=True, type=Path, metavar="DIR", help="run directory")
    run.set_defaults(command=_run)

    report = commands.add_parser("report", help="write report.html of a run directory again")
    report.add_argument("directory", type=Path, metavar="DIR")
    report.set_defaults(command=_report)

    listing = commands.add_parser("representations", help="list the representations, or describe one")
    listing.add_argument("name", nargs="?", metavar="NAME")
    listing.set_defaults(command=_representations)
    return parser


def _invert(options: argparse.Namespace) -> None:
    from invjax.experiment import config as configs
    from invjax.experiment.run import run

    config = configs.default()
    config.images = tuple(options.photos)
    config.representations = (options.representation,)
    config.layers = (options.layer,) if options.layer else ()
    for field in ("restarts", "steps", "recipe", "size", "seed", "stretch"):
        if getattr(options, field) is not None:
            config[field] = getattr(options, field)
    if options.lambda_tv is not None:
        config.lambda_tv = (options.lambda_tv,)
    run(config, options.out)


def _run(options: argparse.Namespace) -> None:
    from invjax.experiment import config as configs
    from invjax.experiment.run import run

    run(configs.load(options.config, options.overrides), options.workdir)


def _report(options: argparse.Namespace) -> None:
    from invjax import report

    print(report.write(options.directory))


def _representations(options: argparse.Namespace) -> None:
    from invjax import representations

    if options.name:
        make = representations.factory(options.name)
        print(f"{options.name}{inspect.signature(make, eval_str=True)}\n\n{inspect.getdoc(make)}")
        return
    for name in representations.names():
        summary = (inspect.getdoc(representations.factory(name)) or "").splitlines()[0]
        print(f"{name:12} {summary}")
