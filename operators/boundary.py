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


def pad(x: Tensor, dim: int, radius: int, boundary: str) -> Tensor:
    """x with `radius` more pixels at both ends of `dim` (-1 or -2)."""
    if radius == 0:
        return x
    if boundary == "zero":
        return torch.nn.functional.pad(x, (radius, radius) if dim == -1 else (0, 0, radius, radius))
    return x.index_select(dim, source_index(x.shape[dim], radius, boundary).to(x.device))


def pad_adjoint(x: Tensor, dim: int, radius: int, boundary: str) -> Tensor:
    """The transpose of `pad`: padded pixels are added to those that they copy."""
    size = x.shape[dim] - 2 * radius
    inside = x.narrow(dim, radius, size)
    if boundary == "zero" or radius == 0:
        return inside
    index = source_index(size, radius, boundary).to(x.device)
    inside = inside.index_add(dim, index[:radius], x.narrow(dim, 0, radius))
    return inside.index_add(dim, index[-radius:], x.narrow(dim, radius + size, radius))


def blur_matrix(size: int, taps: Tensor, boundary: str) -> Tensor:
    """The (size, size) matrix of convolution with `taps` (odd length) along one axis, in float64."""
    source = source_index(size, len(taps) // 2, boundary).unfold(0, len(taps), 1)
    weight = taps.flip(0).double() * (source >= 0)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add(1, source.clamp_min(0), weight)
