"""A pair of dictionaries, and its file."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from invjax import features, representations
from invjax.errors import UserError
from invjax.files import reading, write_atomically
from invjax.hoggles.codes import check_installed
from invjax.hoggles.windows import grid
from invjax.types import Representation

ABOUT = "about.json"  # inside the file, beside the arrays
ABOUT_LIMIT = 1 << 16  # bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Dictionary:
    """Atoms of pictures, each with the atom of the feature that goes with it.

    Attributes:
        patches: float32 [K, side·side], the picture's atoms, of the norm that goes with the features.
        features: float32 [K, channels·window·window], the feature's atoms.
        name, options: of the representation, as `representations.get` takes them.
        window: cells of a side of a window.
        sparsity: λ, weight of Σ|code| beside half the squared error of a window of norm 1.
        contrast: standard deviation of the pictures it was learned from, grey levels.
        source: what it was learned from, for the record.
    """

    patches: np.ndarray
    features: np.ndarray
    name: str
    options: dict[str, Any]
    window: int
    sparsity: float
    contrast: float
    source: str = ""

    @property
    def atoms(self) -> int:
        """How many atoms there are."""
        return len(self.patches)

    def describe(self) -> str:
        """What it is, in a line."""
        return (
            f"{self.atoms} atoms of {self.name}, windows of {self.window}×{self.window} cells, λ {self.sparsity:g}, "
            f"of {self.source}"
        )

    def representation(self) -> Representation:
        """The representation that it inverts."""
        return representations.get(self.name, **self.options)

    def save(self, path: str | Path) -> None:
        """Writes it, in one piece or not at all, as an .npz with a text about the arrays in it.

        Raises:
            OSError: the file cannot be written.
        """
        about = {field: value for field, value in vars(self).items() if not isinstance(value, np.ndarray)}
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo(ABOUT), json.dumps(about))
            for name in ("patches", "features"):
                array = io.BytesIO()
                np.save(array, getattr(self, name))
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue())
        write_atomically(path, buffer.getvalue())


def load(path: str | Path) -> Dictionary:
    """Reads what `Dictionary.save` has written.

    Raises:
        UserError: no such file, damaged, or not a dictionary.
    """
    path = Path(path)
    with reading(path):
        about = json.loads(_about(path))
    arrays = features.read_features(path)
    with reading(path):
        dictionary = Dictionary(arrays["patches"], arrays["features"], **about)
        _validate(dictionary)
    return dictionary


def _about(path: Path) -> bytes:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if ABOUT in archive.namelist():
                with archive.open(ABOUT) as file:
                    return file.read(ABOUT_LIMIT)
    raise UserError("not a dictionary of HOGgles: `invjax hoggles train` makes one")


def _validate(dictionary: Dictionary) -> None:
    """Raises UserError, or anything, unless all that `invert` relies on is there."""
    window, patches, rows = dictionary.window, dictionary.patches, dictionary.features
    largest = patches.shape[1] + rows.shape[1]  # no number of cells, pixels or orientations is larger
    phi = dictionary.representation()
    if not 0 < window <= largest or max(dictionary.options.values()) > largest:
        raise UserError("damaged: windows, cells or orientations are too large for the atoms")
    [_, _, channels] = phi.feature_shape((2 * phi.input.minimum, 2 * phi.input.minimum, 1))
    for name, values in {"patches": grid(phi).side(window) ** 2, "features": channels * window**2}.items():
        array = getattr(dictionary, name)
        if array.dtype != np.float32 or array.shape != (dictionary.atoms, values) or not np.isfinite(array).all():
            raise UserError(f"damaged: {name} are not finite float32 [{dictionary.atoms}, {values}]")
    for name in ("sparsity", "contrast"):
        if not 0 < getattr(dictionary, name) < math.inf:
            raise UserError(f"damaged: {name} is {getattr(dictionary, name)}")


def options_of(phi: Representation) -> dict[str, Any]:
    """What `representations.get` needs beside the name to make phi again."""
    values = vars(phi.apply) | {"bilinear": getattr(phi.apply, "votes", "") == "bilinear"}
    return {name: values[name] for name in inspect.signature(representations.factory(phi.name)).parameters}


def check(dictionary: Dictionary, phi: Representation) -> None:
    """Raises UserError unless the dictionary was learned for just this representation, and scikit-learn is there."""
    check_installed()
    grid(phi)
    if phi.apply != dictionary.representation().apply:
        raise UserError(
            f"the dictionary is of {_told(dictionary.name, dictionary.options)}, "
            f"not of {_told(phi.name, options_of(phi))}: train another, or invert what it is of"
        )


def _told(name: str, options: dict[str, Any]) -> str:
    return f"{name} ({', '.join(f'{option} {value}' for option, value in options.items())})"
