"""What the kept part of a masked feature sees, against the support of its gradient."""

import jax
import numpy as np
import pytest

from invjax import masks, representations
from invjax.analysis.figures.field import box, masks_of
from invjax.types import Layer

from ...networks.common import CLOSE, QUICKLY, seeded

HEIGHT, WIDTH = 99, 115


def known(name):
    """A layer of CaffeNet."""
    return next(layer for layer in representations.layers("caffenet") if layer.name == name)


@pytest.mark.parametrize(
    ("layer", "mask"),
    [
        ("conv1", "centre 5x5"),
        ("conv1", "centre 2x3, channels 7:8"),
        ("conv2", "group 2/2, centre 2x3"),
        ("pool2", "centre 5x5"),
    ],
)
def test_a_box_is_where_the_gradient_is(layer, mask):
    phi = representations.get("caffenet", layer=layer, weights="random")
    shape = phi.feature_shape((HEIGHT, WIDTH, 3))
    masked = masks.apply(phi, masks.named(mask, shape))
    pictures = seeded(3, HEIGHT, WIDTH, 3, scale=60.0)
    gradient = jax.jit(jax.grad(lambda images: jax.vmap(masked)(images).sum()), compiler_options=QUICKLY)(pictures)
    strength = np.abs(gradient).max((0, 3))
    rows, columns = np.nonzero(strength > CLOSE * strength.max())  # Winograd's sums leave rounding errors beside it
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert box(known(layer), mask, shape[:2], WIDTH, HEIGHT) == seen


@pytest.mark.parametrize(
    ("layer", "mask"),
    [("conv1", ""), ("conv1", "group 1/2"), ("conv1", "group 1/2, channels 0:8"), ("fc6", "centre 1x1")],
)
def test_there_is_no_box_where_no_positions_are_left_out(layer, mask):
    assert box(known(layer), mask, (55, 55), 227, 227) is None


def test_there_is_no_box_of_what_nobody_knows():
    assert box(Layer("mine"), "centre 1x1", (55, 55), 227, 227) is None


def test_the_mask_of_a_variant_goes_before_that_of_the_config():
    both = "centre 3x3, channels 0:8"
    sweep = {"beta": [1.0, 2.0], "mask": [both, ""]}
    assert masks_of({"mask": "centre 5x5", "sweep": sweep}) == {
        f"beta=1, mask={both}": both,
        "beta=1, mask=default": "",
        f"beta=2, mask={both}": both,
        "beta=2, mask=default": "",
    }
    assert masks_of({"mask": both, "sweep": [{"beta": 1.0}, {"mask": "group 1/2"}]}) == {
        "beta=1": both,
        "mask=group 1/2": "group 1/2",
    }
    assert masks_of({"mask": both, "sweep": None}) == {"": both}
    assert masks_of({}) == {"": ""}
