"""Paper: a figure as wide as a page's text, written as PNG and PDF, the same bytes for the same drawing."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from invjax.files import write_atomically

TEXT_WIDTH, TEXT_HEIGHT, COLUMN_WIDTH = 6.875, 8.875, 3.25  # inches, CVPR's two columns and one of them
DPI = 300
INK, GREY = "#222222", "#777777"

# Qualitative colours after Paul Tol, and markers, to be told apart without colour
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccaa33", "#44aacc", "#aa4499", "#ee8844", "#888888")
MARKERS = "os^Dv<>p"

FORMATS = {"png": ["Software"], "pdf": ["Creator", "Producer", "CreationDate"]}  # and what they had better not tell

STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # TrueType, which journals ask for
}


@contextmanager
def _styled() -> Iterator[None]:
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names of pictures may be in any script
        matplotlib.rcdefaults()  # whatever the user's own matplotlibrc says
        matplotlib.rcParams.update(STYLE)
        yield


@contextmanager
def sheet(stem: Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure, written as `stem`.png and .pdf once it has been drawn on.

    Args:
        stem: path without suffix.
        width, height: inches.

    Raises:
        OSError: it cannot be written.
    """
    with _styled():
        figure = Figure(figsize=(width, height), dpi=DPI)
        yield figure
        for suffix, untold in FORMATS.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=DPI, metadata=dict.fromkeys(untold))
            write_atomically(stem.with_name(f"{stem.name}.{suffix}"), buffer.getvalue())


def text(plain: str) -> str:
    """Text for matplotlib: $ is a dollar, λ_TV has an index."""
    return plain.replace("$", r"\$").replace("λ_TV", r"$\lambda_\mathrm{TV}$")


def wrapped(plain: str, letters: int, lines: int = 99) -> list[str]:
    """Breaks a name that is too long for one line behind its separators, and ends it with … where it does not fit.

    Args:
        plain: the name.
        letters: that fit into a line.
        lines: at most.

    Returns:
        The lines, one or more.
    """
    rows = [""]
    for part in re.findall(r"λ_TV = \S+\s*|(?:[^\s/_,=+.-]|\.\d)+[\s/_,=+.-]*|[\s/_,=+.-]+", plain):
        if rows[-1] and length(rows[-1] + part.rstrip()) > letters:
            rows.append("")
        rows[-1] += part
    if len(rows) > lines:
        rows[lines - 1 :] = ["".join(rows[lines - 1 :])]
    return [row if length(row) <= letters else f"{row[: letters - 1]}…" for row in map(str.rstrip, rows)]


def length(plain: str) -> int:
    """Of a text, in letters; the index of λ_TV is a small one."""
    return len(plain.replace("λ_TV", "λTV"))


def extent(plain: str) -> int:
    """Of a text of the usual size, in pixels of the PNG."""
    with _styled():
        return math.ceil(TextPath((0, 0), text(plain), size=STYLE["font.size"]).get_extents().x1 * DPI / 72)
