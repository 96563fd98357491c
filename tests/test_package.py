"""`import invjax` reads what is asked for, when it is asked for."""

import subprocess
import sys

import pytest

import invjax


def test_every_name_is_there():
    for name in invjax.__all__:
        assert getattr(invjax, name) is not None
        assert name in dir(invjax)
    assert invjax.compile_cache.turn_on.__module__ == "invjax.compile_cache"  # modules that are not in __all__, too
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        invjax.nonsense  # noqa: B018


@pytest.mark.parametrize("what", ["import invjax", "from invjax import cli; cli._parser('1').format_help()"])
def test_help_needs_no_jax(what):
    program = f"import sys; {what}; print(sorted({{'jax', 'numpy', 'flax', 'optax'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
