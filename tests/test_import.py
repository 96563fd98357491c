"""What few need is imported when they need it."""

import subprocess
import sys

import pytest

from invjax import representations, weights

RARE = {
    "h5py",
    "safetensors",
    "google.protobuf",
    "requests",
    "flax.nnx",
    "matplotlib",
    "pandas",
    "sklearn",
    "dm_pix",
    "jinja2",
    "tensorboardX",
    "IPython",
    "invjax.weights",
}


def imported(code):
    """The rare modules that are imported once the code has run."""
    printed = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return RARE.intersection(printed.stdout.split())


def test_rare_modules_are_not_imported_in_vain():
    everything = "import invjax, invjax.features, invjax.cli; [getattr(invjax, name) for name in invjax.__all__]"
    assert imported(everything) == set()
    assert imported("from invjax.representations import get; get('caffenet', layer='conv1', weights='random')") == {
        "invjax.weights"
    }


@pytest.mark.parametrize("package", [representations, weights])
def test_all_names_are_there(package):
    assert all(callable(getattr(package, name)) for name in package.__all__ if name != "ENTRIES")
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        _ = package.nothing
