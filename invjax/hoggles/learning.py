"""Learning a pair of dictionaries from pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import jax
import numpy as np

from invjax.errors import UserError
from invjax.hoggles.codes import Bar, check_installed, learn
from invjax.hoggles.dictionary import Dictionary, options_of
from invjax.hoggles.windows import FLAT, feature_windows, grid, normalised, patches
from invjax.types import Representation


def train(
    pictures: Sequence[np.ndarray],
    phi: Representation,
    *,
    window: int = 5,
    atoms: int = 4096,
    sparsity: float = 0.2,
    windows: int = 20_000,
    passes: int = 0,
    seed: int = 0,
    bar: Bar = iter,
) -> Dictionary:
    """Draws or learns atoms of pictures and of features together.

    What it learns from are windows of the features and the patches below them, one cell larger on each side, of the
    pictures and their mirror images; both minus their mean and of norm 1, so that contrast does not matter. With
    passes, the atoms, of norm at most 1, minimise ½‖window, patch − code·atoms‖² + λ Σ code with codes ≥ 0, as in ihog.

    Args:
        pictures: float32 [H, W, 1], in phi's units, of at least `window` cells.
        phi: hog, hogb, hog_uoctti or dsift.
        window: cells of a side of a window, ≥ 1.
        atoms: how many to learn, K ≥ 1.
        sparsity: λ > 0.
        windows: how many to learn from, drawn at random where there are more.
        passes: over all windows, ≥ 0; with none, the atoms are windows drawn at random. Learned atoms are means of
            windows that agree in their HOG and not in their pixels, so the pictures are blurred: with few pictures to
            learn from they are worse (docs/reproduction.md).
        seed: of everything random.
        bar: shows progress; called with the batches, it yields them.

    Returns:
        The dictionary; the same for the same arguments.

    Raises:
        UserError: a value out of range, a picture that is too small, pictures that are flat, fewer windows than
            atoms, or no scikit-learn.
    """
    check_installed()
    _check_numbers(sparsity, passes, window=window, atoms=atoms, windows=windows)
    _check_pictures(pictures, phi, window)
    rng = np.random.default_rng(seed)
    features, below = _pairs(pictures, phi, window, windows, rng)
    if len(features) < atoms:
        raise UserError(
            f"{len(pictures)} pictures have {len(features)} windows that are not flat, fewer than {atoms} atoms: "
            "take more or larger pictures, or fewer atoms"
        )
    learned = learn(np.hstack([below, features]), atoms, sparsity, passes, seed, bar)
    size = below.shape[1]
    return Dictionary(
        patches=learned[:, :size].astype(np.float32),
        features=learned[:, size:].astype(np.float32),
        name=phi.name,
        options=options_of(phi),
        window=window,
        sparsity=float(sparsity),
        contrast=float(np.mean([picture.std() for picture in pictures])),
        source=f"{len(pictures)} pictures sha256:{_digest(pictures)}, {len(features)} windows, seed {seed}",
    )


def _check_numbers(sparsity: float, passes: int, **positive: int) -> None:
    for name, value, least in [("passes", passes, 0), *((name, value, 1) for name, value in positive.items())]:
        if value < least:
            raise UserError(f"{name} must be at least {least}, got {value}")
    if not 0 < sparsity < 1:  # no product of a window of norm 1 with an atom is larger
        raise UserError(f"sparsity must be between 0 and 1, got {sparsity}")


def _check_pictures(pictures: Sequence[np.ndarray], phi: Representation, window: int) -> None:
    cell = grid(phi).cell
    if not pictures:
        raise UserError("no pictures to learn from")
    for number, picture in enumerate(pictures, 1):
        phi.input.check(picture.shape, phi.name)
        if min(phi.feature_shape(picture.shape)[:2]) < window:
            height, width = picture.shape[:2]
            raise UserError(
                f"picture {number} of {len(pictures)}, {height}×{width} pixels, is smaller than a window of "
                f"{window}×{window} cells of {cell} pixels: leave it out, or take a smaller window"
            )


def _pairs(
    pictures: Sequence[np.ndarray], phi: Representation, window: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Windows and the patches below them, normalised, at most `count`, as many of each picture; no flat ones."""
    compute = jax.jit(Representation.__call__)
    share = -(-count // (2 * len(pictures)))
    found = []
    for picture in pictures:
        for image in (picture, picture[:, ::-1]):
            above = feature_windows(np.asarray(compute(phi, image)), window)
            below = patches(image[..., 0], above.shape[:2], grid(phi), window)
            places = np.unravel_index(rng.permutation(above.shape[0] * above.shape[1])[:share], above.shape[:2])
            found.append([normalised(view[places].reshape(len(places[0]), -1)) for view in (above, below)])
    features, below = (np.concatenate(part)[:count] for part in zip(*found, strict=True))
    lively = np.all([np.linalg.norm(rows, axis=1) > FLAT for rows in (features, below)], axis=0)
    return features[lively], below[lively]


def _digest(pictures: Sequence[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(picture).tobytes() for picture in pictures)).hexdigest()[:8]
