"""Which reconstructions stand side by side, and which λ_TV is a layer's best."""

from __future__ import annotations

import dataclasses
import math

from invjax.report import layers
from invjax.report.rundir import COLUMNS, Row

BLANK = Row(**{name: {"str": "", "int": 0, "float": math.nan}[kind] for name, kind in COLUMNS.items()})


def row(image: str, layer: str, weight: float, error: float, **others: object) -> Row:
    measured = {"lambda_tv": weight, "relative_error": error} | others
    return dataclasses.replace(BLANK, representation="net", image=image, layer=layer, **measured)


def lines(rows: list[Row]) -> list[list[tuple[str, float, int]]]:
    [sheet] = layers.sheets(rows)
    return [[(row.layer, row.lambda_tv, row.restart) for row in line] for line in sheet.lines]


def test_layers_keep_the_order_of_the_run_and_the_best_restart() -> None:
    errors = {("b", 0): 0.2, ("b", 1): 0.1, ("a", 0): math.nan, ("a", 1): 7.0}
    rows = [row("cat", layer, 0.5, error, restart=restart) for (layer, restart), error in errors.items()]
    assert lines(rows) == [[("b", 0.5, 1), ("a", 0.5, 1)]]


def test_a_line_for_each_weight_unless_every_layer_has_its_own() -> None:
    own = [row("cat", "a", 0.5, 0.1), row("cat", "b", 5, 0.1)]
    assert lines(own) == [[("a", 0.5, 0), ("b", 5, 0)]]
    assert not layers.tables(own)
    both = [row("cat", layer, weight, 0.1) for layer in "ab" for weight in (5, 0.5)]
    assert lines(both) == [[("a", 5, 0), ("b", 5, 0)], [("a", 0.5, 0), ("b", 0.5, 0)]]


def test_networks_with_one_layer_have_neither_sheet_nor_table() -> None:
    rows = [row("cat", "a", 0.5, 0.1), row("cat", "a", 5, 0.1), dataclasses.replace(BLANK, representation="hog")]
    assert not layers.sheets(rows) and not layers.tables(rows)


def test_least_is_of_the_means_that_are_finite() -> None:
    errors = {("a", 0.5): [0.3, 0.1], ("a", 5): [0.15, math.inf], ("b", 0.5): [0.1], ("b", 5): [], ("c", 5): [math.nan]}
    rows = [row("cat", *place, value) for place, values in errors.items() for value in values]
    [table] = layers.tables(rows)
    assert (table.measure, table.weights) == ("relative error", ["0.5", "5"])
    least = {layer: [errors.least for errors in line] for layer, line in table.lines.items()}
    assert least == {"a": [False, True], "b": [True, False], "c": [False, False]}
    assert table.lines["a"][0].values == [0.3, 0.1] and table.lines["b"][1].values == []


def test_several_pictures_are_measured_by_their_normalized_error() -> None:
    places = [(image, layer, weight) for image in ("cat", "dog") for layer in "ab" for weight in (1, 2)]
    [table] = layers.tables([row(*place, 0.5, normalized_error=0.25 / place[2]) for place in places])
    assert table.measure == "normalized error, %"
    assert [errors.values for errors in table.lines["b"]] == [[25, 25], [12.5, 12.5]]
    assert [errors.least for errors in table.lines["b"]] == [False, True]
