"""Errors by layer, and how far restarts are apart at every layer, as plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invjax.analysis.figures import curves
from invjax.analysis.figures.curves import Curve, Panel
from invjax.analysis.frame import frame_of, labels, varying
from invjax.analysis.summary import Summary, summarise
from invjax.errors import one_line
from invjax.runs import rundir

if TYPE_CHECKING:
    import pandas

    from invjax.types import Origin

STUDY = "distances.csv"
DISTANCES = ("normalized_spread", "normalized_error", "spread_by_norm", "error_by_norm")  # columns of it
SIDES = {"error": "from the picture", "spread": "from each other"}


def write(workdir: Path) -> list[str]:
    """Writes figures/errors.png and .pdf, and after a study of restarts figures/distances.png and .pdf.

    errors: mean and sample standard deviation, over pictures and restarts, of the normalized error, or the relative
    error of a single picture; a curve for each variant and λ_TV. A network of which there are several layers has a
    panel of its own, from the first layer to the last; all else stands side by side in one panel.

    distances: of the study's distances.csv, how far restarts are from the picture and from each other at every layer,
    mean over pictures; a curve for each layer, variant and λ_TV that was inverted, with a mark at that layer, and
    one for the noise that the descents started from.

    Args:
        workdir: the run directory.

    Returns:
        What could not be drawn, a line each.

    Raises:
        UserError: not a run directory.
        OSError: it cannot be written.
    """
    folder = Path(workdir) / "figures"
    run = rundir.read(workdir)
    curves.draw(folder / "errors", error_panels(summarise(frame_of([run]))))
    study = Path(workdir) / STUDY
    if not study.exists():
        return []
    try:
        panels = distance_panels(_read(study), run.origins)
    except Exception as error:  # whatever reading a damaged table raises
        return [f"{STUDY} is damaged: no figures/distances ({one_line(error)})"]
    if panels:
        curves.draw(folder / "distances", panels)
    return []


def error_panels(summary: Summary) -> list[Panel]:
    """The panels of figures/errors."""
    several = summary.cells.groupby("representation").layer.transform("nunique") > 1
    whole = (summary.cells.representation + " " + summary.cells.layer).str.strip()
    cells = summary.cells.assign(
        panel=summary.cells.representation.where(several, ""), place=summary.cells.layer.where(several, whole)
    )
    panels = []
    for title, group in cells.groupby("panel", sort=False):
        drawn = []
        for key, found in _grouped(group, summary.series):
            means, deviations = (
                found[f"{summary.measure}_{which}"] * summary.shown.factor for which in ("mean", "std")
            )
            drawn.append(Curve(labels(summary.series, key), _by(found.place, means), _by(found.place, deviations)))
        panels.append(Panel(title, summary.shown.title, list(dict.fromkeys(group.place)), drawn, joined=bool(title)))
    return panels


def distance_panels(frame: pandas.DataFrame, origins: Mapping[str, Origin]) -> list[Panel]:
    """The panels of figures/distances: two for each representation.

    Args:
        frame: of distances.csv.
        origins: of the representations, by name.
    """
    panels = []
    for name, found in frame[frame["at"] != "inverted"].groupby("representation", sort=False):
        series = varying(found, ["representation"], ["layer", "variant", "lambda_tv"])
        restarts, noise = found[found.of == "reconstructions"], found[found.of == "floor"]
        order = ["pixels", *(layer.name for layer in origins[name].layers)]
        there = list(dict.fromkeys(found["at"]))
        places = sorted(there, key=lambda at: order.index(at) if at in order else len(order))
        form, unit = _unit(found)
        for side, title in SIDES.items():
            column = form.format(side)
            drawn = [
                Curve(labels(series, key), _means(group, column), marked=group.layer.iloc[0])
                for key, group in _grouped(restarts, series)
            ]
            if restarts[column].notna().any():
                control = Curve("the noise they started from", _means(noise, column), control=True)
                panels.append(Panel(f"{name}: restarts {title}", unit, places, [*drawn, control]))
    return panels


def _read(path: Path) -> pandas.DataFrame:
    import pandas

    texts, numbers = ("representation", "layer", "variant", "of", "at"), ("lambda_tv", *DISTANCES)
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in texts + numbers if name not in frame]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    return frame.assign(**{name: pandas.to_numeric(frame[name]) for name in numbers})


def _grouped(frame: pandas.DataFrame, fields: list[str]) -> list[tuple[Any, pandas.DataFrame]]:
    """The rows by their values of several fields, or of none."""
    return list(frame.groupby(fields, sort=False, dropna=False)) if fields else [((), frame)]


def _unit(frame: pandas.DataFrame) -> tuple[str, str]:
    """Form of the columns to be drawn, and what they are: normalized where there are two pictures."""
    if frame.normalized_error.notna().any():
        return "normalized_{}", "distance / that of pictures"
    return "{}_by_norm", f"distance / norm of {'the picture' if frame.error_by_norm.notna().any() else 'restarts'}"


def _means(frame: pandas.DataFrame, column: str) -> dict[str, float]:
    return frame.groupby("at")[column].mean().to_dict()


def _by(places: pandas.Series, values: pandas.Series) -> dict[str, float]:
    return dict(zip(places, values, strict=True))
