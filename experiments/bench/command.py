"""`python -m experiments.bench`: options, rows, and what is written of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from invjax import cli
from invjax.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.bench.rows import Row

SUITES = ("networks", "shallow", "sweep", "devices", "table")
WIDTH = 150  # of tables in files
EPILOG = """\
Suites: networks and shallow, layers and HOG, HOGb and DSIFT against PyTorch (the default: both); sweep, cells of a
sweep as one batch against one at a time; devices, a batch over 1, 2, 4 … local devices; table, how long the paper's
whole table of CaffeNet takes. PyTorch comes with pip install 'torch>=2.4'; without it, ours alone is measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point.

    Args:
        arguments: default those of the process.

    Returns:
        Exit code, as of the command `invjax`.
    """
    with cli.Exit() as end:
        _call(arguments)
    return end.code


def _call(arguments: Sequence[str] | None) -> None:
    options = parsed(arguments)
    from invjax import compile_cache

    compile_cache.turn_on()
    run(options)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options that are given; lists are separated by commas."""
    parser = cli.Parser(
        prog="python -m experiments.bench",
        description="Time gradient steps, beside PyTorch's and what the device could do.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser)
    return parser.parse_args(arguments)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="instead: five rows in two minutes, no torch.compile")
    parser.add_argument("--rows", type=_words, metavar="A,B", help="instead: these, as hog or caffenet/relu5")
    parser.add_argument("--batches", type=_numbers, metavar="N,M", help="reconstructions of --rows (1)")
    parser.add_argument("--precision", type=_words, default=["float32"], help="of networks: float32, tf32, bfloat16")
    parser.add_argument("--rounds", type=_positive, default=5, metavar="R", help="of which medians are taken (5)")
    parser.add_argument("--fraction", type=float, default=0.1, metavar="F", help="of the table that is run (0.1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows, and with what they were measured")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw ratios and shares, .png or .pdf")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write everything: bench.json, bench.txt, bench.png")


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        UserError: an unknown suite, row, layer or precision, or options that contradict each other.
    """
    # JAX would take three quarters of a GPU's memory at its start, which `check` may be, and leave the peers too little
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    check(options)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    from rich.console import Console

    from experiments.bench import show

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    measured: list[Row] = []
    try:
        with console.status("measuring") as status:
            for row in chosen(options):
                measured.append(row)
                told = f"{row.name}, batch {row.batch}: {show.rate(row)}"
                status.update(f"measuring; last: {told}")
                if not console.is_terminal:
                    print(told, file=sys.stderr, flush=True)
    finally:  # also where somebody stops it
        _publish(measured, options, console)


def _publish(measured: list[Row], options: argparse.Namespace, console: Console) -> None:
    """Prints and writes what was measured."""
    from rich.console import Console

    from experiments.bench import plot, rows, show

    if not measured:
        return
    show.show(measured, console)
    if file := _file(options.json, options.out, "bench.json"):
        file.write_text(json.dumps(rows.summary(measured, options.rounds), indent=1))
    if options.out:
        with (options.out / "bench.txt").open("w") as text:
            show.show(measured, Console(file=text, width=WIDTH))
    if file := _file(options.plot, options.out, "bench.png"):
        plot.draw(measured, file)


def check(options: argparse.Namespace) -> None:
    """Raises UserError for what cannot be measured."""
    for suite in options.suites:
        if suite not in SUITES:
            raise UserError(f"bench: unknown suite '{suite}'. Valid: {', '.join(SUITES)}")
    if sum(map(bool, (options.suites, options.quick, options.rows))) > 1:
        raise UserError("bench: suites, --quick and --rows exclude each other")
    if options.batches and not options.rows:
        raise UserError("bench: --batches is for --rows")
    if not 0 < options.fraction <= 1:
        raise UserError(f"bench: --fraction must be above 0 and at most 1, got {options.fraction:g}")
    if options.plot and options.plot.suffix not in (".png", ".pdf"):
        raise UserError(f"bench: --plot must end in .png or .pdf, got {options.plot}")
    from experiments.bench.steps import representation
    from invjax import networks

    for row in options.rows or ():
        representation(row)
    if not options.precision:
        raise UserError(f"bench: --precision is empty. Valid: {', '.join(networks.PRECISIONS)}")
    for precision in options.precision:
        if precision not in networks.PRECISIONS:
            raise UserError(f"bench: precision must be of {', '.join(networks.PRECISIONS)}, got '{precision}'")


def chosen(options: argparse.Namespace) -> Iterator[Row]:
    """The rows asked for, each as soon as it is measured."""
    from experiments.bench import suites

    if options.rows:
        yield from suites.rows(options.rows, options.batches or [1], options.precision, options.rounds)
        return
    for suite in ("quick",) if options.quick else options.suites or ("shallow", "networks"):
        if suite == "table":
            yield from suites.table(options.precision, options.fraction)
        else:
            yield from getattr(suites, suite)(options.precision, options.rounds)
    if not set(options.suites) & {"sweep", "devices"}:
        yield from suites.goals()


def _file(named: Path | None, directory: Path | None, name: str) -> Path | None:
    file = named or (directory / name if directory else None)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
    return [_positive(word) for word in _words(text)]


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got '{text}'") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number
