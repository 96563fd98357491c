"""What tells the reconstructions of a page apart, and so what its reader can choose."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, urlencode

from invjax.analysis.page.items import Item
from invjax.runs.store import Row, describe

ORDER = {"run": "run", "image": "picture", "representation": "representation"}  # then what was swept, and last
LAST = {"lambda_tv": "λ_TV", "restart": "restart"}
NUMBERS = {"lambda_tv": float, "restart": int}
PART = re.compile(r"(?:^|, )([\w.]+)=")  # of the name of a variant: "beta=1, options.cell=6"
NAMED = {*ORDER, *LAST, "variant"}  # all others are fields of a sweep
NOT_SWEPT = "default"


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One of the ways in which reconstructions differ.

    Attributes:
        name: in links.
        label: on the page.
        values: what there is, in the order to show it.
        free: whether it can be chosen: it has several values, which do not follow from the other choices. Of several
            runs, always.
    """

    name: str
    label: str
    values: list[str]
    free: bool


@dataclasses.dataclass(frozen=True)
class Choices:
    """The dimensions, and the place of every reconstruction in them, as indices of values."""

    dimensions: list[Dimension]
    places: list[tuple[int, ...]]

    def index(self, name: str) -> int:
        """Where a dimension of that name is."""
        return [dimension.name for dimension in self.dimensions].index(name)

    def dimension(self, name: str) -> Dimension:
        """The dimension of that name."""
        return self.dimensions[self.index(name)]

    def free(self, without: Sequence[str] = ()) -> list[str]:
        """Names of the dimensions that can be chosen, but for some."""
        return [dimension.name for dimension in self.dimensions if dimension.free and dimension.name not in without]

    def ordered(self, items: Sequence[Item], names: Sequence[str]) -> list[tuple[Item, tuple[int, ...]]]:
        """All reconstructions with their places, in the order of the values of some dimensions."""
        indices = [self.index(name) for name in names]
        return sorted(zip(items, self.places, strict=True), key=lambda pair: tuple(pair[1][index] for index in indices))

    def settings(self, place: Sequence[int], names: Iterable[str]) -> dict[str, str]:
        """The values of some dimensions at a place, by name."""
        indices = {name: self.index(name) for name in names}
        return {name: self.dimensions[index].values[place[index]] for name, index in indices.items()}

    def describe(self, name: str, value: str) -> str:
        """A value of a dimension in words; swept fields are told by name."""
        return describe(name, value) if name in NAMED else f"{name}={value}"


def link(settings: Mapping[str, str]) -> str:
    """URL of a part of the page that has these settings; what is not named stays as it is."""
    return "#" + urlencode(settings, quote_via=quote)


def choices(items: Sequence[Item], features: Sequence[str]) -> Choices:
    """The dimensions of some reconstructions.

    Args:
        items: at least one.
        features: what was inverted, in the order to show it.
    """
    swept = _swept([item.row.variant for item in items])
    settings = [
        {"run": item.run.name, "image": item.row.image, "representation": item.row.feature}
        | parts
        | {"lambda_tv": item.row.weight, "restart": str(item.row.restart)}
        for item, parts in zip(items, swept, strict=True)
    ]
    values = {name: _values(name, settings, features) for name in settings[0]}
    places = [tuple(values[name].index(setting[name]) for name in values) for setting in settings]
    free = _free(list(values), places)
    rows = [item.row for item in items]
    labels = {name: name for name in values} | ORDER | LAST | {"representation": _noun(rows)}
    if not any(item.original for item in items):
        labels["image"] = "feature"
    return Choices([Dimension(name, labels[name], list(values[name]), name in free) for name in values], places)


def _noun(rows: Sequence[Row]) -> str:
    return "layer" if all(row.layer for row in rows) else "representation"


def _values(name: str, settings: Sequence[Mapping[str, str]], features: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(setting[name] for setting in settings))
    if name == "representation":
        return sorted(found, key=features.index)
    return sorted(found, key=NUMBERS[name]) if name in NUMBERS else found


def _swept(variants: Sequence[str]) -> list[dict[str, str]]:
    """The fields of a sweep by name, or the names of variants as they are where these do not tell fields."""
    parts = [_parts(variant) for variant in variants]
    fields = list(dict.fromkeys(field for part in parts for field in part))
    told = all(part or not variant for part, variant in zip(parts, variants, strict=True))
    if told and not {*ORDER, *LAST} & set(fields):
        return [{field: part.get(field, NOT_SWEPT) for field in fields} for part in parts]
    return [{"variant": variant or NOT_SWEPT} for variant in variants]


def _parts(variant: str) -> dict[str, str]:
    before, *found = PART.split(variant)
    return {} if before else dict(zip(found[::2], found[1::2], strict=True))


def _free(names: Sequence[str], places: Sequence[tuple[int, ...]]) -> set[str]:
    """Names without those whose value follows from the others: the λ_TV of each layer, where it has just one."""
    free = list(names)
    for name in sorted(names, key=lambda name: (name in ORDER, name != "lambda_tv")):
        rest = [other for other in free if other != name]
        indices = [names.index(other) for other in rest]
        several = len({place[names.index(name)] for place in places}) > 1
        follows = len({tuple(place[index] for index in indices) for place in places}) == len(set(places))
        if not several or (follows and name != "run"):  # runs are compared, whatever else tells them apart
            free = rest
    return set(free)
