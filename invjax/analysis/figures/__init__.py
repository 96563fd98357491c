"""Figures and tables for a paper: `write` makes figures/ and tables/ of the results in a run directory.

They start from the frame and its summary; nothing here knows of the page.
"""

from __future__ import annotations

from pathlib import Path


def write(workdir: Path) -> list[str]:
    """Writes tables/errors.csv, .md and .tex, and figures/pictures, errors and distances as .png and .pdf.

    A function of the files in the run directory and nothing else: the same results give the same bytes. The grid of
    pictures is laid out by `figure` of config.json, see `pictures.write`.

    Args:
        workdir: the run directory, with results.csv.

    Returns:
        What is missing in a figure and why, a line each: pictures that cannot be read, rows that do not fit.

    Raises:
        UserError: not a run directory, results.csv is damaged, or `figure` names no field of the results.
        OSError: the directory cannot be written.
    """
    from invjax.analysis import tables
    from invjax.analysis.figures import pictures, plots
    from invjax.runs import rundir

    figure = rundir.read(workdir).config.get("figure")
    figure = figure if isinstance(figure, dict) else {}  # of an earlier version
    rows, columns = (str(figure.get(axis) or "") for axis in ("rows", "columns"))
    tables.write(workdir)
    return pictures.write(workdir, rows, columns, bool(figure.get("field"))) + plots.write(workdir)
