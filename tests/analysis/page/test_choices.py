"""What can be chosen, which errors are compared, and which restart is the best."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from invjax.analysis.frame import frame_of, measure_of
from invjax.analysis.page import explorer, heatmap
from invjax.analysis.page.choices import Choices
from invjax.analysis.page.choices import choices as made
from invjax.analysis.page.items import Embedded, Item
from invjax.runs.rundir import Run
from invjax.runs.store import Row
from invjax.types import Origin

BLANKS = {"str": "", "int": 0, "float": math.nan}
BLANK = Row(
    **{
        field.name: next(BLANKS[kind] for kind in BLANKS if kind in str(field.type))
        for field in dataclasses.fields(Row)
    }
)
ORIGINS = {"net": Origin("net")}
RUN = Run(Path("run"), [], "run", origins=ORIGINS)


def item(layer: str, weight: float, error: float, run: Run = RUN, image: str = "cat", **others: object) -> Item:
    measured = {"lambda_tv": weight, "relative_error": error} | others
    row = dataclasses.replace(BLANK, representation="net", image=image, layer=layer, **measured)
    return Item(run, row, Embedded("picture-0"), None, None, None, None, None)


def choices(items: list[Item]) -> Choices:
    return made(items, list(dict.fromkeys(item.row.feature for item in items)))


def table(items: list[Item]) -> heatmap.Table:
    runs = {item.run.name: item.run for item in items}
    frame = frame_of([dataclasses.replace(run, rows=[i.row for i in items if i.run is run]) for run in runs.values()])
    return heatmap.table(items, choices(items), measure_of(frame))


# --- choices ----------------------------------------------------------------------------------------------------


def test_what_has_one_value_is_no_choice() -> None:
    made = choices([item("a", 0.5, 0.1), item("b", 0.5, 0.1)])
    assert made.free() == ["representation"]
    assert made.dimension("representation").values == ["net a", "net b"]


def test_a_combined_mask_is_one_value_of_a_sweep() -> None:
    variants = [f"beta={beta}, mask={mask}" for beta in (1, 2) for mask in ("centre 1x1, channels 7:8", "group 1/2")]
    made = choices([item("a", 0.5, 0.1, variant=variant) for variant in variants])
    assert made.dimension("mask").values == ["centre 1x1, channels 7:8", "group 1/2"]
    assert made.dimension("beta").values == ["1", "2"]


def test_weights_that_follow_from_the_layer_are_no_choice() -> None:
    assert choices([item("a", 0.5, 0.1), item("b", 5, 0.1)]).free() == ["representation"]
    both = [item(layer, weight, 0.1) for layer in "ab" for weight in (5, 0.5)]
    made = choices(both)
    assert made.free() == ["representation", "lambda_tv"]
    assert made.dimension("lambda_tv").values == ["0.5", "5"]
    assert made.places[0] == (0, 0, 0, 1, 0)  # run, image, representation, λ_TV, restart


def test_several_runs_are_always_a_choice() -> None:
    other = Run(Path("other"), [], "other", origins=ORIGINS)
    made = choices([item("a", 0.5, 0.1), item("b", 0.5, 0.1, other)])
    assert made.free()[0] == "run"


def test_fields_of_a_sweep() -> None:
    items = [item("a", 0.5, 0.1, variant=name) for name in ("beta=1, recipe=paper, fast", "beta=2, recipe=x", "")]
    made = choices(items)
    assert made.dimension("beta").values == ["1", "2", "default"]
    assert made.dimension("recipe").values == ["paper, fast", "x", "default"]
    assert len({made.places[place] for place in range(3)}) == 3


@pytest.mark.parametrize("names", [("no field", "beta=2"), ("restart=1", "restart=2"), ("image=1", "")])
def test_variants_that_do_not_tell_fields_are_shown_as_they_are(names: tuple[str, ...]) -> None:
    made = choices([item("a", 0.5, 0.1, variant=name) for name in names])
    assert made.dimension("variant").values == [name or "default" for name in names]


@pytest.mark.parametrize("seed", range(5))
def test_free_choices_tell_all_reconstructions_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = {tuple(map(int, key)) for key in rng.integers(0, 3, (12, 4))}
    items = [item(f"l{a}", b, 0.1, variant=f"beta={c}", restart=d) for a, b, c, d in sorted(keys)]
    made = choices(items)
    found = {tuple(made.settings(place, made.free()).items()) for place in made.places}
    assert len(found) == len(items)


# --- the table of errors ----------------------------------------------------------------------------------------


def test_least_is_of_the_means_that_are_finite() -> None:
    errors = {("a", 0.5): [0.3, 0.1], ("a", 5): [0.15, math.inf], ("b", 0.5): [0.1], ("b", 5): [], ("c", 5): [math.nan]}
    found = table(
        [
            item(*place, value, restart=restart)
            for place, values in errors.items()
            for restart, value in enumerate(values)
        ]
    )
    assert found.title == "relative error"
    assert found.columns == [(("lambda_tv", "0.5"),), (("lambda_tv", "5"),)]
    least = {layer: [cell and cell.best for cell in line] for layer, line in found.lines.items()}
    assert least == {"net a": [False, True], "net b": [False, None], "net c": [None, False]}
    first, second = found.lines["net a"]
    assert first and second and first.text == "0.200 ± 0.141" and second.text == "0.150"
    assert found.scale and found.scale[:2] == pytest.approx((0.1, 0.2))


def test_several_pictures_are_measured_by_their_normalized_error() -> None:
    places = [(image, layer, weight) for image in ("cat", "dog") for layer in "ab" for weight in (1, 2)]
    found = table(
        [item(layer, weight, 0.5, image=image, normalized_error=0.25 / weight) for image, layer, weight in places]
    )
    assert found.title == "normalized error, %"
    assert [cell and cell.text for cell in found.lines["net b"]] == ["25.0 ± 0.0", "12.5 ± 0.0"]
    assert [cell and cell.best for cell in found.lines["net b"]] == [False, True]


def test_runs_of_which_one_has_a_single_picture_are_compared_by_relative_error() -> None:
    other = Run(Path("other"), [], "other", origins=ORIGINS)
    found = table([item("a", 1, 0.5, normalized_error=0.2), item("a", 1, 0.25, other)])
    assert found.title == "relative error"
    assert [cell and cell.text for cell in found.lines["net a"]] == ["0.500", "0.250"]


def test_colours_grow_with_the_logarithm_and_text_can_be_read() -> None:
    found = table([item(layer, 1, error) for layer, error in zip("abcd", (0.0, 0.001, 0.01, 0.1), strict=True)])
    cells = [line[0] for line in found.lines.values()]
    assert cells[0] and cells[1] and cells[0].ground == cells[1].ground  # zero has no logarithm
    luminances = []
    for cell in cells:
        assert cell
        ground, ink = (luminance(color) for color in (cell.ground, cell.ink))
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) >= 4.5  # WCAG 2.2, 1.4.3
        luminances.append(ground)
    assert luminances == sorted(luminances)


def luminance(color: str) -> float:
    """WCAG's relative luminance, written out."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- the explorer's data ----------------------------------------------------------------------------------------


def test_the_best_restart_of_each_group() -> None:
    errors = {("b", 0): 0.2, ("b", 1): 0.1, ("a", 0): math.nan, ("a", 1): 7.0}
    items = [item(layer, 0.5, error, restart=restart) for (layer, restart), error in errors.items()]
    rows = explorer.data(items, choices(items))["rows"]
    assert [row["best"] for row in rows] == [False, True, False, True]


def test_long_curves_are_thinned_to_four_digits_with_both_ends() -> None:
    steps = np.arange(0, 10_001, 10)
    thinned = explorer.curves({"tv": np.exp(-steps / 1e3), "step": steps, "other": np.full(steps.shape, np.nan)})
    assert list(thinned) == ["step", "tv", "other"]
    assert len(thinned["step"]) == explorer.HISTORY_POINTS
    assert (thinned["step"][0], thinned["step"][-1]) == (0, 10_000)
    np.testing.assert_allclose(thinned["tv"], np.exp(-np.array(thinned["step"]) / 1e3), rtol=5e-4)
    assert set(thinned["other"]) == {None}


def test_short_curves_are_kept() -> None:
    assert explorer.curves({"step": np.arange(2), "tv": np.array([math.inf, 0.123456])}) == {
        "step": [0, 1],
        "tv": [None, 0.1235],
    }
    assert explorer.curves({"step": np.zeros(0), "tv": np.zeros(0)}) == {"step": [], "tv": []}
