"""Sparse codes and the atoms for them, by scikit-learn.

Codes are not negative, as in ihog: they are sparser than codes of any sign, and found faster. Everything is float64: in
float32 the solver never comes as near to the optimum as it wants to, and goes on in vain.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from invjax.errors import UserError

BATCH = 512  # windows between two updates of the atoms
Bar = Callable[[list[np.ndarray]], Iterable[np.ndarray]]


def check_installed() -> None:
    """Raises UserError where there is no scikit-learn, which is needed here and nowhere else."""
    if importlib.util.find_spec("sklearn") is None:
        raise UserError("HOGgles needs scikit-learn: pip install 'invjax[hoggles]'")


def encode(rows: np.ndarray, atoms: np.ndarray, sparsity: float) -> np.ndarray:
    """The codes ≥ 0 that minimise ½‖row − code·atoms‖² + λ Σ code (LASSO), by the homotopy of least angles, as ihog.

    Args:
        rows: [N, values].
        atoms: [K, values].
        sparsity: λ > 0.

    Returns:
        float64 [N, K].
    """
    from sklearn.decomposition import sparse_encode

    rows, atoms = rows.astype(np.float64), atoms.astype(np.float64)
    with _quiet():
        return sparse_encode(rows, atoms, algorithm="lasso_lars", alpha=sparsity, positive=True)


def learn(rows: np.ndarray, atoms: int, sparsity: float, passes: int, seed: int, bar: Bar = iter) -> np.ndarray:
    """Atoms, of norm at most 1, that minimise what `encode` does, on average over all rows.

    Args:
        rows: [N, values], N ≥ atoms, none of them zero.
        atoms: K.
        sparsity: λ > 0.
        passes: over the rows; with none, the atoms are rows drawn at random, of norm 1.
        seed: of the draw and of the order of the rows.
        bar: shows progress; called with the batches, it yields them.

    Returns:
        float64 [K, values].

    Reference: Mairal, Bach, Ponce & Sapiro, "Online dictionary learning for sparse coding", ICML 2009.
    """
    from sklearn.decomposition import MiniBatchDictionaryLearning

    rng = np.random.default_rng(seed)
    start = rows[rng.choice(len(rows), atoms, replace=False)].astype(np.float64)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    learner = MiniBatchDictionaryLearning(
        atoms, alpha=sparsity, fit_algorithm="cd", positive_code=True, dict_init=start, random_state=seed
    )
    count = -(-len(rows) // BATCH)
    batches = [batch for _ in range(passes) for batch in np.array_split(rng.permutation(len(rows)), count)]
    with _quiet():
        for batch in bar(batches):
            learner.partial_fit(rows[batch].astype(np.float64))
    return learner.components_ if passes else start


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The solver warns of codes that it left within 1e-5 of the optimum, its tolerance being 1e-8."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
