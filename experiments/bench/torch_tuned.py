"""HOG, HOGb and DSIFT in PyTorch by hand, as fast as we could make them: no convolutions.

Gradients are differences of slices; pooling is separable, down the rows first: what a pixel votes is put straight into
the sums of its band of rows, so that no planes of votes are in memory, and a pixel's derivative is gathered from there,
by an autograd function; then along the rows as a product with a banded matrix. Eagerly, votes are scattered by
`index_add_`; compiled, they are selected plane by plane, which torch.compile fuses into one pass.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.bench.torch_descent import Features, Setting
from invjax.representations import oriented
from invjax.representations.dsift import CLAMP, SPAN, STRIDE, Dsift
from invjax.representations.hog import Hog

TINY = 1e-12
Votes = tuple[list[Tensor], list[Tensor]]  # values float32 [N, H, W], and the orientations chosen, int64


def features(apply: Hog | Dsift, size: int, setting: Setting) -> Features:
    """Pictures float32 [N, 1, size, size] → features [N, channels, rows, columns].

    Raises:
        NotImplementedError: another descriptor than the paper's three.
    """
    if isinstance(apply, Dsift):
        return _dsift(apply, size, setting)
    if isinstance(apply, Hog) and not apply.uoctti and apply.votes in ("hard", "bilinear"):
        return _hog(apply, size, setting)
    raise NotImplementedError(apply)


def _hog(hog: Hog, size: int, setting: Setting) -> Features:
    bins, half = 2 * hog.orientations, hog.orientations
    vote = _hard_votes if hog.votes == "hard" else _soft_votes
    pooling = Pooling(bins, size, size // hog.cell, hog.cell, (hog.cell - 1) / 2, setting)

    def function(pictures: Tensor) -> Tensor:
        padded = F.pad(pictures[:, 0], (1, 1, 1, 1))
        cells = pooling(vote(*_gradients(padded), bins))
        undirected = cells[:, :half] + cells[:, half:]
        energy = undirected.square().sum(1, keepdim=True)
        above = energy[:, :, :-1] + energy[:, :, 1:]
        norms = F.pad((above[..., :-1] + above[..., 1:]).clamp_min(TINY).rsqrt(), (1, 1, 1, 1))
        both, count = torch.cat([cells, undirected], 1), cells.shape[2]
        corners = [norms[:, :, i : i + count, j : j + count] for i in (0, 1) for j in (0, 1)]
        return sum((both * corner).clamp_max(CLAMP) for corner in corners) * 0.5  # type: ignore[return-value,unused-ignore]

    return function


def _dsift(dsift: Dsift, size: int, setting: Setting) -> Features:
    bins, side = dsift.orientations, size - 2
    pooling = Pooling(bins, side, (side - dsift.cell) // dsift.cell, dsift.cell, dsift.cell - 0.5, setting)
    away = (torch.arange(SPAN, device=setting.device) - (SPAN - 1) / 2) / 1.5
    window = torch.exp(-0.5 * (away.square()[:, None] + away.square())).reshape(-1)

    def function(pictures: Tensor) -> Tensor:
        cells = pooling(_soft_votes(*_gradients(pictures[:, 0]), bins))
        count = (cells.shape[2] - SPAN) // STRIDE + 1
        last = STRIDE * (count - 1) + 1
        parts = [cells[:, :, i : i + last : STRIDE, j : j + last : STRIDE] for i in range(SPAN) for j in range(SPAN)]
        descriptors = torch.stack(parts, 1) * window[:, None, None, None]
        scale = descriptors.square().sum((1, 2), keepdim=True).clamp_min(TINY).rsqrt()
        return (descriptors * scale).clamp_max(CLAMP).flatten(1, 2)

    return function


def _gradients(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Half differences of the neighbours, [N, H, W] → [N, H − 2, W − 2] each."""
    return (plane[:, 1:-1, 2:] - plane[:, 1:-1, :-2]) / 2, (plane[:, 2:, 1:-1] - plane[:, :-2, 1:-1]) / 2


def _hard_votes(gx: Tensor, gy: Tensor, bins: int) -> Votes:
    length = _length(gx, gy)
    position = torch.atan2(gy.detach(), gx.detach()) * (bins / (2 * math.pi))
    chosen = position.round().long()
    return [length], [torch.where(chosen < 0, chosen + bins, chosen)]


def _soft_votes(gx: Tensor, gy: Tensor, bins: int) -> Votes:
    length = _length(gx, gy)
    flat = length == 0
    position = torch.atan2(gy.masked_fill(flat, 0.0), gx.masked_fill(flat, 1.0)) * (bins / (2 * math.pi))
    below = position.detach().floor()
    upper = length * (position - below)
    chosen = below.long()
    chosen = torch.where(chosen < 0, chosen + bins, chosen)
    return [length - upper, upper], [chosen, torch.where(chosen == bins - 1, 0, chosen + 1)]


def _length(gx: Tensor, gy: Tensor) -> Tensor:
    squared = gx * gx + gy * gy
    flat = squared <= 1e-30
    return squared.masked_fill(flat, 1.0).sqrt().masked_fill(flat, 0.0)


class Pooling:
    """Bilinear pooling of votes into square cells: triangles of half-width `cell` around each cell's centre."""

    def __init__(self, bins: int, size: int, cells: int, cell: int, first_centre: float, setting: Setting) -> None:
        """Arguments as of `oriented.pool`; size: rows, and columns, of the votes."""
        self.bins, self.compiled = bins, setting.compiled
        self.bands = oriented.Bands(cells, cell, first_centre)
        self.columns = torch.tensor(oriented.pooling_matrix(size, cells, cell, first_centre), device=setting.device)
        weights = torch.tensor(self.bands.weights(), device=setting.device)
        rows = torch.arange(size, device=setting.device) + self.bands.before
        self.band = (rows // cell).clamp_max(cells)[:, None]
        weights = weights[rows % cell] * (rows // cell <= cells)[:, None]
        self.above, self.below = weights[:, :1].contiguous(), weights[:, 1:].contiguous()

    def __call__(self, votes: Votes) -> Tensor:
        """→ [N, bins, cells, cells]."""
        values, chosen = votes
        return PoolRows.apply(self, len(values), *values, *chosen) @ self.columns


class PoolRows(torch.autograd.Function):
    """Votes [N, H, W] → [N, bins, cells, W]."""

    @staticmethod
    def forward(ctx: Any, pooling: Pooling, count: int, *votes: Tensor) -> Tensor:
        """Votes are `count` values, then as many choices."""
        values, chosen = votes[:count], votes[count:]
        ctx.save_for_backward(*chosen)
        ctx.pooling, ctx.count = pooling, count
        sums = _selected(pooling, values, chosen) if pooling.compiled else _scattered(pooling, values, chosen)
        return sums[0][:, :, 1:] + sums[1][:, :, :-1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients with respect to the values."""
        pooling, padded = ctx.pooling, F.pad(gradients[0], (0, 0, 1, 1))
        gather = _gathered_by_selecting if pooling.compiled else _gathered
        taken = [gather(pooling, padded, choice) for choice in ctx.saved_tensors]
        return (None, None, *taken, *(None,) * ctx.count)


def _index(pooling: Pooling, chosen: Tensor, rows: int) -> Tensor:
    """Of each vote in a flat [N, bins, rows, W]."""
    n, _, width = chosen.shape
    picture = torch.arange(n, device=chosen.device)[:, None, None]
    column = torch.arange(width, device=chosen.device)
    return ((picture * pooling.bins + chosen) * rows + pooling.band) * width + column


def _scattered(pooling: Pooling, values: Any, chosen: Any) -> list[Tensor]:
    """Sums of each band for the cells above and below, [N, bins, cells + 1, W] each."""
    n, _, width = chosen[0].shape
    rows = pooling.bands.cells + 1
    sums = [values[0].new_zeros(n * pooling.bins * rows * width) for _ in range(2)]
    for value, choice in zip(values, chosen, strict=True):
        index = _index(pooling, choice, rows).reshape(-1)
        for total, weight in zip(sums, (pooling.above, pooling.below), strict=True):
            total.index_add_(0, index, (value * weight).reshape(-1))
    return [total.view(n, pooling.bins, rows, width) for total in sums]


def _cut(pooling: Pooling, plane: Tensor) -> Tensor:
    """[N, H, W] → [N, cells + 1, cell, W]."""
    cells, cell, _ = pooling.bands
    height = (cells + 1) * cell
    padded = F.pad(plane, (0, 0, pooling.bands.before, max(0, height - pooling.bands.before - plane.shape[1])))
    return padded[:, :height].view(len(plane), cells + 1, cell, -1)


def _selected(pooling: Pooling, values: Any, chosen: Any) -> list[Tensor]:
    """As `_scattered`."""
    planes = torch.arange(pooling.bins, device=values[0].device)[:, None, None]
    values, chosen = ([_cut(pooling, part) for part in parts] for parts in (values, chosen))
    sums = [torch.zeros((), device=planes.device)] * 2
    for row, weights in enumerate(pooling.bands.weights()):
        for value, choice in zip(values, chosen, strict=True):
            vote = torch.where(choice[:, None, :, row] == planes, value[:, None, :, row], 0.0)
            sums = [total + weight * vote for total, weight in zip(sums, weights, strict=True)]
    return sums


def _gathered(pooling: Pooling, padded: Tensor, chosen: Tensor) -> Tensor:
    """From [N, bins, cells + 2, W] what each pixel [N, H, W] voted for."""
    index = _index(pooling, chosen, padded.shape[2])
    flat = padded.reshape(-1)
    return flat[index] * pooling.above + flat[index + padded.shape[3]] * pooling.below


def _gathered_by_selecting(pooling: Pooling, padded: Tensor, chosen: Tensor) -> Tensor:
    """As `_gathered`."""
    cut = _cut(pooling, chosen)
    weights = torch.tensor(pooling.bands.weights(), device=padded.device)
    above, below = weights[:, :1], weights[:, 1:]
    taken = torch.zeros((), device=padded.device)
    for k in range(pooling.bins):
        plane = padded[:, k, :, None]
        taken = torch.where(cut == k, above * plane[:, :-1] + below * plane[:, 1:], taken)
    height = chosen.shape[1]
    plane = taken.reshape(len(chosen), -1, chosen.shape[2])[:, pooling.bands.before :][:, :height]
    return F.pad(plane, (0, 0, 0, height - plane.shape[1]))
