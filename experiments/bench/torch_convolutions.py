"""HOG, HOGb and DSIFT in PyTorch as the paper describes them: as convolutional networks.

CVPR 2015, section 3.2: a convolution with directional filters; binning of each pixel's gradient by orientation, an
activation function; pooling into cells by a convolution with a bilinear filter, its stride the cell; blocks of cells
gathered and normalised, by convolutions with fixed kernels too; clamping. Gradients are autograd's.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.bench.torch_descent import Features
from invjax.representations.dsift import CLAMP, SPAN, STRIDE, Dsift
from invjax.representations.hog import Hog

TINY = 1e-12


def features(apply: Hog | Dsift, like: Tensor) -> Features:
    """Pictures [N, 1, H, W] → features [N, channels, rows, columns].

    Args:
        apply: the descriptor.
        like: any tensor of the device and precision that it is to be computed on.

    Raises:
        NotImplementedError: another descriptor than the paper's three.
    """
    if isinstance(apply, Dsift):
        return _dsift(apply, like)
    if isinstance(apply, Hog) and not apply.uoctti and apply.votes in ("hard", "bilinear"):
        return _hog(apply, like)
    raise NotImplementedError(apply)


def _hog(hog: Hog, like: Tensor) -> Features:
    bins, vote = 2 * hog.orientations, _hard_votes if hog.votes == "hard" else _bilinear_votes
    directional = _directional(bins).to(like)
    bilinear = _bilinear(hog.cell, 2 * hog.cell - hog.cell % 2, bins).to(like)  # about the middle of a cell
    eye = torch.eye(hog.orientations)
    undirected = torch.cat([eye, eye], 1)[..., None, None].to(like)
    both = torch.cat([torch.eye(bins)[..., None, None].to(like), undirected])
    block, corners = torch.ones(1, 1, 2, 2).to(like), torch.eye(4).reshape(4, 1, 2, 2).to(like)

    def function(pictures: Tensor) -> Tensor:
        votes = vote(F.conv2d(pictures, directional, padding=1), bins)
        cells = F.conv2d(votes, bilinear, stride=hog.cell, padding=hog.cell // 2, groups=bins)
        rows, columns = (side // hog.cell for side in pictures.shape[2:])
        cells = cells[:, :, :rows, :columns]
        energy = F.conv2d(cells, undirected).square().sum(1, keepdim=True)
        norms = F.conv2d(energy, block).clamp_min(TINY).rsqrt()
        around = F.conv2d(norms, corners, padding=1)  # of the four blocks of each cell
        blocks = F.conv2d(cells, both)[:, None] * around[:, :, None]
        return blocks.clamp_max(CLAMP).sum(1) / 2

    return function


def _dsift(dsift: Dsift, like: Tensor) -> Features:
    bins = dsift.orientations
    directional, bilinear = _directional(bins).to(like), _bilinear(dsift.cell, 2 * dsift.cell, bins).to(like)
    gathering = _gathering(bins).to(like)

    def function(pictures: Tensor) -> Tensor:
        votes = _bilinear_votes(F.conv2d(pictures, directional), bins)
        cells = F.conv2d(votes, bilinear, stride=dsift.cell, groups=bins)
        descriptors = F.conv2d(cells, gathering, stride=STRIDE)
        norms = descriptors.square().sum(1, keepdim=True).clamp_min(TINY).rsqrt()
        return (descriptors * norms).clamp_max(CLAMP)

    return function


def _directional(bins: int) -> Tensor:
    """The derivative along each direction: filters [bins, 1, 3, 3]."""
    angles = 2 * np.pi * np.arange(bins) / bins
    filters = np.zeros((bins, 1, 3, 3))
    filters[:, 0, 1, 2], filters[:, 0, 2, 1] = np.cos(angles) / 2, np.sin(angles) / 2
    return torch.tensor(filters - filters[:, :, ::-1, ::-1])


def _magnitude(projections: Tensor) -> Tensor:
    """|g| from its projections onto directions evenly over the circle, whose squares add up to bins/2 · |g|²."""
    squared = projections.square().mean(1, keepdim=True) * 2
    flat = squared <= 1e-30
    return squared.masked_fill(flat, 1.0).sqrt().masked_fill(flat, 0.0)


def _hard_votes(projections: Tensor, bins: int) -> Tensor:
    """|g| for the direction with the greatest projection: [N, bins, H, W] → the same shape."""
    best = projections.detach().argmax(1, keepdim=True)
    gate = torch.zeros_like(projections).scatter_(1, best, 1.0)
    return gate * _magnitude(projections)


def _bilinear_votes(projections: Tensor, bins: int) -> Tensor:
    """|g| · max(0, 1 − K/2π · angle to the direction), by the arccosine: [N, bins, H, W] → the same shape."""
    length = _magnitude(projections)
    below_one = 1 - torch.finfo(projections.dtype).eps  # where the arccosine has a derivative
    cosine = (projections / length.clamp_min(1e-15)).clamp(-below_one, below_one)
    return length * (1 - bins / (2 * math.pi) * cosine.acos()).clamp_min(0)


def _bilinear(cell: int, width: int, bins: int) -> Tensor:
    """Triangles of half-width `cell` in both directions, for each orientation: [bins, 1, width, width]."""
    triangle = 1 - torch.arange(width).sub((width - 1) / 2).abs() / cell
    return torch.outer(triangle, triangle).expand(bins, 1, width, width).contiguous()


def _gathering(bins: int) -> Tensor:
    """The Gaussian window of a descriptor's cells, each in channels of its own: [16 bins, bins, 4, 4]."""
    window = np.exp(-0.5 * ((np.arange(SPAN) - (SPAN - 1) / 2) / 1.5) ** 2)
    kernel = np.zeros((SPAN, SPAN, bins, bins, SPAN, SPAN))
    for i in range(SPAN):
        for j in range(SPAN):
            kernel[i, j, range(bins), range(bins), i, j] = window[i] * window[j]
    return torch.tensor(kernel.reshape(-1, bins, SPAN, SPAN))
