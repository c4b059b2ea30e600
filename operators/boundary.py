"""What lies beyond the border of an image: padding, its transpose, and convolution matrices of one axis."""

from __future__ import annotations

import torch
from torch import Tensor

BOUNDARIES = ("reflect", "circular", "zero", "replicate")


def check_boundary(boundary: str) -> None:
    if boundary not in BOUNDARIES:
        raise ValueError(f"The boundary must be one of {', '.join(BOUNDARIES)}, but is {boundary!r}.")


def source_index(size: int, radius: int, boundary: str) -> Tensor:
    """For each of the size + 2 radius padded pixels the pixel that it copies, or -1 for zero."""
    i = torch.arange(-radius, size + radius)
    match boundary:
        case "circular":
            return i % size
        case "replicate":
            return i.clamp(0, size - 1)
        case "zero":
            return torch.where((i < 0) | (i >= size), -1, i)
    i = i % max(2 * size - 2, 1)
    return torch.where(i < size, i, 2 * size - 2 - i)


def pad(x: Tensor, rows: int, columns: int, boundary: str) -> Tensor:
    """x with `rows` more pixels above and below, and `columns` more at the left and the right."""
    if rows == columns == 0:
        return x
    margins = (columns, columns, rows, rows)
    return torch.nn.functional.pad(x, margins, mode="constant" if boundary == "zero" else boundary)


def pad_adjoint(x: Tensor, dim: int, radius: int, boundary: str) -> Tensor:
    """The transpose of `pad` along `dim` (-1 or -2); a circular boundary is never padded."""
    size = x.shape[dim] - 2 * radius
    before, inside, after = x.split((radius, size, radius), dim)
    if boundary in ("zero", "circular") or radius == 0:
        return inside
    inside = inside.clone()
    if boundary == "reflect":
        inside.narrow(dim, 1, radius).add_(before.flip(dim))
        inside.narrow(dim, size - 1 - radius, radius).add_(after.flip(dim))
    else:
        inside.narrow(dim, 0, 1).add_(before.sum(dim, keepdim=True))
        inside.narrow(dim, size - 1, 1).add_(after.sum(dim, keepdim=True))
    return inside


def blur_matrix(size: int, taps: Tensor, boundary: str) -> Tensor:
    """The (size, size) matrix of convolution with `taps` (odd length) along one axis, in float64."""
    source = source_index(size, len(taps) // 2, boundary).unfold(0, len(taps), 1)
    weight = taps.flip(0).double() * (source >= 0)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add(1, source.clamp_min(0), weight)
