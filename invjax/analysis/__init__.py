"""What is made of finished runs: frames, tables, figures, the study of restarts, the page.

It reads run directories through invjax.runs, which knows nothing of what is made of them.
"""

from __future__ import annotations

import sys
from pathlib import Path


def conclude(workdir: Path, study: bool) -> None:
    """What a run does at its end: `publish`, and print the means and where the page is."""
    from invjax.analysis import terminal

    page = publish(workdir, study)
    terminal.show(workdir)
    print(f"{page}: open it in a browser")


def publish(workdir: Path, study: bool = False) -> Path:
    """Makes figures, tables and page of a run, and says what they lack.

    Args:
        workdir: the run directory.
        study: study its restarts before; as ever where that was done already.

    Returns:
        Path of the page.

    Raises:
        UserError: not a run directory, or results.csv is empty or damaged.
        OSError: the directory cannot be written.
    """
    # with pandas and matplotlib, which a descent does not need
    from invjax.analysis import figures, page, restarts
    from invjax.errors import UserError

    if study or (workdir / "restarts.csv").exists():  # which may have grown old
        try:
            restarts.write(workdir)
        except UserError as error:  # where they cannot be studied, the rest is not lost for it
            print(f"invjax: {error}", file=sys.stderr)
    for note in figures.write(workdir):
        print(f"invjax: {note}", file=sys.stderr)
    return page.write(workdir)
