from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """Loads the golden arrays of a picture by its name, e.g. golden("disc")."""

    def load(picture):
        (file,) = GOLDEN.glob(f"{picture}_*.npz")
        with np.load(file) as arrays:
            return dict(arrays)

    return load
