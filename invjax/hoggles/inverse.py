"""A picture from a feature, by a pair of dictionaries."""

from __future__ import annotations

import numpy as np

from invjax.errors import UserError
from invjax.hoggles.codes import encode
from invjax.hoggles.dictionary import Dictionary, check
from invjax.hoggles.windows import MARGIN, averaged, feature_windows, grid, normalised
from invjax.inversion import check_target
from invjax.types import Feature, Representation

BORDER = 1  # positions that the feature is continued by, so that patches cover every pixel at the picture's edge


def invert(
    dictionary: Dictionary, phi: Representation, feature: Feature, image_shape: tuple[int, int, int]
) -> np.ndarray:
    """The picture that the dictionary draws of a feature.

    HOG forgets brightness and contrast: the mean of the picture is grey, its standard deviation that of the pictures
    which the dictionary was learned from.

    Args:
        dictionary: of `train` or `load`.
        phi: the representation it was learned for.
        feature: float32 [h, w, channels], phi of a picture.
        image_shape: [H, W, 1] of that picture.

    Returns:
        float32 [H, W, 1], in phi's units.

    Raises:
        UserError: another representation, a feature that does not fit the picture's shape, has fewer positions than
            the window, or is like no atom; no scikit-learn.
    """
    check(dictionary, phi)
    check_target(phi, feature, image_shape)
    window, cells = dictionary.window, np.asarray(feature)
    if min(cells.shape[:2]) < window:
        raise UserError(
            f"a picture of {image_shape[0]}×{image_shape[1]} pixels has {cells.shape[0]}×{cells.shape[1]} cells of "
            f"{phi.name}, fewer than the dictionary's windows of {window}×{window}: take a larger picture"
        )
    windows = feature_windows(np.pad(cells, [(BORDER, BORDER)] * 2 + [(0, 0)], mode="edge"), window)
    rows, columns = windows.shape[:2]
    codes = encode(normalised(windows.reshape(rows * columns, -1)), dictionary.features, dictionary.sparsity)
    where = grid(phi)
    drawn = normalised(codes @ dictionary.patches)  # as the patches that the atoms were learned from
    drawn = drawn.reshape(rows, columns, where.side(window), where.side(window))
    image = averaged(drawn, where.cell, (BORDER + MARGIN) * where.cell - where.origin, image_shape[:2])
    image = image - image.mean()
    if not image.std() > 0:
        raise UserError("no atom of the dictionary is like this feature: train one with a smaller sparsity")
    return (image * (dictionary.contrast / image.std())).astype(np.float32)[..., None]
