"""A photo before and after, side by side."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SHOWN, GAP = 256, 8
"""Least height of a picture in the node, and the white between before and after, in pixels."""


def beside(before: Tensor, after: Tensor) -> Tensor:
    """Two IMAGEs side by side at the size of the second, with some white between."""
    before = resized(before, tuple(after.shape[1:3]))
    white = after.new_ones(len(after), after.shape[1], GAP, after.shape[3])
    return torch.cat([before.to(after), white, after], dim=2)


def shown_pair(before: Tensor, after: Tensor) -> Tensor:
    """Before and after, at least SHOWN pixels high: small photos by whole factors, with sharp pixels."""
    factor = math.ceil(SHOWN / after.shape[1])
    size = tuple(factor * n for n in after.shape[1:3])
    return beside(resized(before, size, "nearest-exact"), resized(after, size, "nearest-exact"))


def resized(image: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """An IMAGE of another height and width."""
    if tuple(image.shape[1:3]) == size:
        return image
    return F.interpolate(image.movedim(-1, 1), size=size, mode=mode).clamp(0, 1).movedim(1, -1)
