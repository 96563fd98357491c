"""What few need is imported when they need it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from invjax import representations, weights

ROOT = Path(__file__).parent.parent
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


ABOVE = ("invjax.runs", "invjax.analysis", "invjax.cli")  # all that inverts
FORBIDDEN = {  # what a part of the package must not import
    "invjax": ("experiments", "tests"),
    "invjax/runs": ("invjax.analysis", "invjax.cli"),
    "invjax/analysis": ("invjax.cli",),
    "invjax/analysis/figures": ("invjax.analysis.page",),
    "invjax/analysis/page": ("invjax.analysis.figures", "invjax.analysis.restarts"),
    "invjax/networks": ("invjax.representations", "invjax.weights", *ABOVE),
    "invjax/representations": ("invjax.inversion", "invjax.losses", *ABOVE),
    "invjax/weights": ("invjax.representations", *ABOVE),
    "invjax/hoggles": ABOVE,
}


def imports(path):
    """Names of modules, and of what is imported from them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_parts_import_what_is_below_them(part):
    found = [(path.name, name) for path in (ROOT / part).rglob("*.py") for name in imports(path)]
    assert found and not [
        name for name in found if f"{name[1]}.".startswith(tuple(f"{bad}." for bad in FORBIDDEN[part]))
    ]
