"""The command line: invjax invert, run, report, study, representations, weights, hoggles, check."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invjax.errors import Incomplete, UserError

if TYPE_CHECKING:
    from invjax.runs.distributed import Share

EXIT_FAILURE, EXIT_USAGE, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 1, 2, 3, 130


class Parser(argparse.ArgumentParser):
    """One that knows no abbreviations, and refuses what it does not know in one line."""

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
        Exit code: 0; 1 when a file cannot be written; 2 for wrong input; 3 when some reconstructions of a run failed;
        130 when interrupted.
    """
    from invjax.version import __version__

    with Exit() as end:
        parser = _parser(__version__)
        options, rest = parser.parse_known_args(arguments)
        if rest and options.command not in (_run, _invert):
            parser.error(f"unknown argument: {rest[0]}")
        options.overrides = rest
        if options.computes:
            from invjax import compile_cache

            compile_cache.turn_on()
        options.command(options)
    return end.code


class Exit:
    """What a command does stands in this context, which tells in one line what went wrong.

    Attributes:
        code: the exit code afterwards, see `main`.
    """

    code = 0

    def __enter__(self) -> Exit:
        """Nothing is wrong yet."""
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        """Takes UserError, Incomplete, OSError and KeyboardInterrupt."""
        try:
            if error is not None:
                raise error
            sys.stdout.flush()
        except UserError as problem:
            self.code = _fail(str(problem), EXIT_USAGE)
        except Incomplete as problem:
            self.code = _fail(str(problem), EXIT_INCOMPLETE)
        except KeyboardInterrupt as stopped:
            print(f"invjax: {str(stopped) or 'interrupted'}", file=sys.stderr)
            self.code = EXIT_INTERRUPTED
        except BrokenPipeError:  # of `invjax representations | head`
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.code = EXIT_FAILURE
        except OSError as problem:
            where = f"{problem.filename}: " if problem.filename else ""
            self.code = _fail(f"{where}{problem.strerror or problem}", EXIT_FAILURE)
        return True


def _fail(message: str, code: int) -> int:
    print(f"invjax: error: {message}", file=sys.stderr)
    return code


def _parser(version: str) -> argparse.ArgumentParser:
    parser = Parser(prog="invjax", description="See what HOG, SIFT and CNN layers remember of a picture.")
    parser.add_argument("--version", action="version", version=f"invjax {version}")
    parser.set_defaults(computes=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    overrides = "Further arguments override fields of configs/base.py: --config.loss=l1"
    invert = commands.add_parser("invert", help="invert one representation of one or more pictures", epilog=overrides)
    source = invert.add_mutually_exclusive_group(required=True)
    source.add_argument("photos", nargs="*", default=(), metavar="PHOTO", help="file, folder or pattern")
    source.add_argument("--features", nargs="+", default=(), metavar="FILE", help="instead: .npy, .npz, HDF5 or .mat")
    invert.add_argument("--features-layout", choices=("hwc", "chw"), help="axes in these files (hwc)")
    invert.add_argument("--representation", required=True, metavar="NAME", help="see `invjax representations`")
    invert.add_argument(
        "--layer", default="", metavar="L", help="of a network: see `invjax representations NET`; its last"
    )
    invert.add_argument("--weights", metavar="W", help="of a network: see `invjax weights list`, a file, or random")
    invert.add_argument("--precision", choices=("float32", "tf32", "bfloat16"), help="of a network's products (tf32)")
    invert.add_argument("--restarts", type=int, help="reconstructions per picture (1)")
    invert.add_argument("--steps", type=int, help="gradient steps (the recipe's)")
    invert.add_argument("--recipe", metavar="R", help="fast (default), paper, or yours, my_file.py:name")
    invert.add_argument("--lambda-tv", type=float, metavar="X", help="weight of total variation (the paper's)")
    invert.add_argument("--size", type=int, help="side in pixels, 0: as it is (227 or the network's)")
    invert.add_argument("--seed", type=int, help="of the noise (0)")
    invert.add_argument("--stretch", action="store_true", default=None, help="also save pictures stretched")
    invert.add_argument("--out", required=True, type=Path, metavar="DIR", help="run directory")
    invert.set_defaults(command=_invert, computes=True)

    run = commands.add_parser(
        "run", help="run a config", epilog="Further arguments override fields: --config.restarts=8"
    )
    run.add_argument("config", metavar="CONFIG", help="a Python file, or a bundled config: demo, paper/layers")
    run.add_argument("--workdir", required=True, type=Path, metavar="DIR", help="run directory")
    run.add_argument("--dry_run", "--dry-run", action="store_true", help="only print the plan, and its time")
    run.add_argument("--distributed", action="store_true", help="one of several processes: SLURM, TPU pod, or by hand:")
    run.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, any free port, the same for all")
    run.add_argument("--num_processes", "--num-processes", type=int, metavar="N", help="how many processes there are")
    run.add_argument("--process_id", "--process-id", type=int, metavar="I", help="which one this is, from 0")
    run.add_argument(
        "--patience", type=float, metavar="S", help="seconds to wait for the others, or a silent one (300)"
    )
    run.add_argument("--shard", metavar="I/N", help="instead: part I, from 0, of N, each started whenever you like")
    run.set_defaults(command=_run, computes=True)

    report = commands.add_parser("report", help="write report.html of a run directory again, or compare several")
    report.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    report.add_argument("--out", type=Path, metavar="FILE", help="the page (report.html in DIR); needed for several")
    report.set_defaults(command=_report)

    study = commands.add_parser("study", help="study the restarts of a run: spread, best of k, agreement of class")
    study.add_argument("directory", type=Path, metavar="DIR", help="run directory")
    study.set_defaults(command=_study, computes=True)

    listing = commands.add_parser("representations", help="list the representations, or describe one")
    listing.add_argument("name", nargs="?", metavar="NAME")
    listing.set_defaults(command=_representations)

    _add_weights(commands.add_parser("weights", help="list, fetch or import weights of networks"))
    _add_hoggles(commands.add_parser("hoggles", help="the baseline HOGgles: learn a dictionary, invert HOG by it"))
    check = commands.add_parser("check", help="whether this machine computes right, in seconds")
    check.set_defaults(command=_check, computes=True)
    return parser


def _check(_: argparse.Namespace) -> None:
    from invjax import selfcheck

    answers = selfcheck.check()
    for answer in answers:
        print(f"{'right' if answer.right else 'WRONG'}: {answer.question}: {answer.found}")
    if not all(answer.right for answer in answers):
        raise Incomplete("this machine computes wrong numbers: see docs/performance.md#right-numbers-on-a-cpu")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    listing = actions.add_parser("list", help="list the published weights, and what is in the cache")
    listing.set_defaults(command=_list_weights)

    fetch = actions.add_parser("fetch", help="download and convert published weights")
    fetch.add_argument("name", metavar="NAME", help="see `invjax weights list`")
    fetch.add_argument("--url", default="", help="another address of the same file")
    fetch.set_defaults(command=_fetch_weights)

    convert = actions.add_parser("import", help="convert a file: Caffe, MatConvNet, PyTorch, .npz or .safetensors")
    convert.add_argument("file", metavar="FILE")
    convert.add_argument("--network", required=True, metavar="NAME", help="what the weights are for")
    convert.add_argument("--name", default="", help="what to call them (as the network)")
    convert.add_argument("--colours", default="", choices=("rgb", "bgr"), help="order, where the file does not tell")
    convert.set_defaults(command=_import_weights)


def _invert(options: argparse.Namespace) -> None:
    from invjax.analysis import conclude
    from invjax.runs import config as configs
    from invjax.runs.effects import is_set
    from invjax.runs.run import run

    config = configs.load("base", options.overrides)
    fields = ("restarts", "steps", "recipe", "size", "seed", "stretch", "features_layout", "weights", "precision")
    given = {field: getattr(options, field) for field in fields}
    given |= {"images": tuple(options.photos) or None, "features": tuple(options.features) or None}
    given |= {"representations": (options.representation,), "layers": (options.layer,) if options.layer else None}
    given |= {"lambda_tv": None if options.lambda_tv is None else (options.lambda_tv,)}
    for field, value in given.items():
        if value is not None:
            if is_set(config, field):
                raise UserError(f"--config.{field}: invjax invert was told that otherwise already: give it once")
            config[field] = value
    run(config, options.out, conclude)


def _run(options: argparse.Namespace) -> None:
    from invjax.analysis import conclude
    from invjax.runs import config as configs
    from invjax.runs.run import run

    if options.dry_run:
        from invjax.runs import dry_run

        dry_run.show(configs.load(options.config, options.overrides), options.workdir)
        return
    config = configs.load(options.config, options.overrides)  # before the others are waited for in vain
    run(config, options.workdir, conclude, _share(options))


def _share(options: argparse.Namespace) -> Share:
    """What this process computes of the run; everything, where nothing else is said."""
    from invjax.runs import directory, distributed

    numbers = options.coordinator, options.num_processes, options.process_id
    meets = options.distributed or any(number is not None for number in numbers)
    if options.patience is not None and not meets:
        raise UserError("--patience is for processes that meet: add --distributed, or --coordinator and so on")
    if options.shard is not None and meets:
        raise UserError("--shard is for processes that do not meet: without --distributed, --coordinator and so on")
    if meets:
        directory.refuse_strangers(options.workdir)
        patience = distributed.PATIENCE if options.patience is None else options.patience
        return distributed.meet(options.workdir, *numbers, patience)
    return distributed.ALONE if options.shard is None else distributed.shard(options.shard)


def _report(options: argparse.Namespace) -> None:
    from invjax.analysis import page, publish
    from invjax.runs.distributed import gather

    if options.out is not None:
        print(page.write(options.directories, options.out))
        return
    if len(options.directories) > 1:
        raise UserError("report: several run directories are compared on a page of its own: add --out compared.html")
    workdir = options.directories[0]
    gather(workdir)
    print(publish(workdir))


def _study(options: argparse.Namespace) -> None:
    from invjax.analysis import publish, restarts

    restarts.write(options.directory)
    restarts.print_table(options.directory)
    print(publish(options.directory))


def _representations(options: argparse.Namespace) -> None:
    from invjax import representations

    if options.name and representations.layers(options.name):
        _describe(options.name)
        return
    if options.name:
        make = representations.factory(options.name)
        print(f"{options.name}{inspect.signature(make, eval_str=True)}\n\n{inspect.getdoc(make)}")
        return
    for name in representations.names():
        summary = (inspect.getdoc(representations.factory(name)) or "").splitlines()[0]
        print(f"{name:12} {summary}")


def _describe(name: str) -> None:
    """The layers of a network."""
    from rich.console import Console
    from rich.table import Table

    from invjax import networks
    from invjax.representations.network import suitable_lambda_tv

    network = networks.get(name)
    print(inspect.getdoc(networks.factory(name)))
    print(f"{network.weights():,} weights; pictures of {network.input.size} pixels\n")
    table = Table("layer", "feature", "sees, px", "stride", "λ_TV", box=None, header_style="", pad_edge=False)
    for layer, (field, stride) in network.until(*network.names()).reach().items():
        shape = "×".join(map(str, network.shapes()[layer]))
        far = (str(field), str(stride)) if field else ("all", "")
        table.add_row(layer, shape, *far, f"{suitable_lambda_tv(network.until(layer)):g}")
    Console(highlight=False, width=100).print(table)


def _list_weights(_: argparse.Namespace) -> None:
    from invjax import weights

    for entry in weights.ENTRIES:
        size = f"{entry.size:.0f} MB" if entry.size else "size unknown"
        state = "cached" if weights.stored(entry.name).exists() else "not cached"
        print(f"{entry.name:20} {entry.network:12} {size:13} {state:11} licence: {entry.licence}")
        print(f"    {entry.url}\n    {entry.hash}")
    published = {entry.name for entry in weights.ENTRIES}
    for path in sorted(weights.cache().glob("*.safetensors")):
        if path.stem not in published:
            print(f"{path.stem:20} imported: {path}")


def _fetch_weights(options: argparse.Namespace) -> None:
    from invjax import weights

    print(weights.fetch(options.name, options.url))


def _import_weights(options: argparse.Namespace) -> None:
    from invjax import networks, weights

    print(weights.import_file(options.file, networks.get(options.network), options.name, options.colours))


def _add_hoggles(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    train = actions.add_parser("train", help="learn a dictionary from pictures")
    train.add_argument("photos", nargs="+", metavar="PHOTO", help="file, folder or pattern; not those to be inverted")
    train.add_argument("--representation", default="hog", choices=("hog", "hogb", "hog_uoctti", "dsift"), help="(hog)")
    train.add_argument("--atoms", type=int, help="of the dictionary (4096)")
    train.add_argument("--window", type=int, help="cells of a side of a window (5)")
    train.add_argument("--sparsity", type=float, metavar="X", help="weight λ of the codes (0.2)")
    train.add_argument("--windows", type=int, help="to learn from, at most (20000)")
    train.add_argument("--passes", type=int, help="over the windows; 0: atoms are windows drawn at random (0)")
    train.add_argument("--seed", type=int, help="of everything random (0)")
    train.add_argument("--size", type=int, help="side of the pictures in pixels, 0: as they are (227)")
    train.add_argument("--out", required=True, type=Path, metavar="FILE", help="the dictionary, an .npz")
    train.set_defaults(command=_train_hoggles, computes=True)

    invert = actions.add_parser("invert", help="invert the representation of a dictionary")
    invert.add_argument("photos", nargs="+", metavar="PHOTO", help="file, folder or pattern")
    invert.add_argument("--dictionary", required=True, metavar="FILE", help="of `invjax hoggles train`")
    invert.add_argument("--size", type=int, help="side in pixels, 0: as it is (227)")
    invert.add_argument("--stretch", action="store_true", help="also save pictures stretched")
    invert.add_argument("--out", required=True, type=Path, metavar="DIR", help="run directory")
    invert.set_defaults(command=_invert_hoggles, computes=True)


def _train_hoggles(options: argparse.Namespace) -> None:
    import time

    from invjax import bars, hoggles, representations
    from invjax.runs.sources import find_pictures, load_pictures

    started = time.monotonic()
    phi = representations.get(options.representation)
    size = phi.input.size if options.size is None else options.size
    pictures = load_pictures(find_pictures(tuple(options.photos)), phi, size)
    fields = ("atoms", "window", "sparsity", "windows", "passes", "seed")
    chosen = {field: getattr(options, field) for field in fields if getattr(options, field) is not None}
    dictionary = hoggles.train(pictures, phi, bar=lambda batches: bars.over(batches, "learning"), **chosen)
    dictionary.save(options.out)
    print(f"{options.out}: {dictionary.describe()}, in {time.monotonic() - started:.0f} s")


def _invert_hoggles(options: argparse.Namespace) -> None:
    from invjax import hoggles
    from invjax.analysis import conclude
    from invjax.runs import config as configs
    from invjax.runs.effects import HOGGLES
    from invjax.runs.run import run

    dictionary = hoggles.load(options.dictionary)
    config = configs.default()
    config.recipe, config.hoggles = HOGGLES, options.dictionary
    config.images, config.representations = tuple(options.photos), (dictionary.name,)
    config.options.update(dictionary.options)
    config.stretch = options.stretch
    if options.size is not None:
        config.size = options.size
    run(config, options.out, conclude)
