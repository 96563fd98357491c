"""Numbers and names as tables, figures and the page write them."""

from __future__ import annotations

import pytest

from invjax.analysis import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0213456, "0.0213"),
        (0.02, "0.0200"),
        (17.234, "17.2"),
        (100.0, "100"),
        (999.7, "1,000"),
        (12345.6, "12,346"),
        (3.2e-7, "3.20e-07"),
        (0.0, "0.00"),
        (-0.123, "−0.123"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert words.number(value) == text


def test_spread() -> None:
    nan = float("nan")
    assert words.spread("relative_error", [0.01, 0.03, nan]) == "0.0200 ± 0.0141"
    assert words.spread("normalized_error", [0.16, 0.18]) == "17.0 ± 1.4"
    assert words.spread("psnr", [20.25, 18.25, float("inf")]) == "19.2 ± 1.4"
    assert words.spread("relative_error", [0.5, nan]) == "0.500"
    assert words.spread("relative_error", [3e-7, 5e-7]) == "4.00e-07 ± 1.41e-07"
    assert words.spread("ssim", [nan]) == words.spread("ssim", []) == "–"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.123456789", "0.123457"),
        ("1e-9", "1e-09"),
        ("12", "12"),
        ("007", "007"),
        ("conv1", "conv1"),
        ("", "–"),
        ("inf", "inf"),
    ],
)
def test_cell(text: str, shown: str) -> None:
    assert words.cell(text) == shown


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "picture", "1 picture"), (1200, "picture", "1,200 pictures"), (3, "λ_TV", "3 λ_TV")],
)
def test_count(number: int, noun: str, text: str) -> None:
    assert words.count(number, noun) == text


def test_listed() -> None:
    assert [words.listed(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


def test_flat() -> None:
    assert words.flat({"a": {"b": [1, 2], "c": {}}, "d": None}) == {"a.b": "1, 2", "a.c": "{}", "d": "None"}


def test_date() -> None:
    assert words.date("2026-03-05T10:11:12+00:00") == "5 March 2026, 10:11 UTC"
    assert words.date("yesterday") == "yesterday"
