"""Colour measurements: grey pictures, mixed channels, and the mosaic of a camera sensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .base import Constant, Shape, SpectralOperator
from .masks import InpaintMask, check_choice

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601."""

BAYER = ("RGGB", "BGGR", "GRBG", "GBRG")


class ChannelMix(SpectralOperator):
    """Each pixel's channels times `matrix` (measured channels, image channels)."""

    def __init__(self, image_shape: Shape, matrix: Tensor | Sequence[Sequence[float]]) -> None:
        super().__init__(image_shape)
        matrix = torch.as_tensor(matrix, dtype=torch.float64)
        if matrix.ndim != 2 or matrix.shape[1] != self.image_shape[0] or not matrix.any():
            raise ValueError(
                f"The mixing matrix must be non-zero with one column for each of the image's {self.image_shape[0]} "
                f"channels, but has shape {tuple(matrix.shape)}."
            )
        self.measurement_shape = (matrix.shape[0], *self.image_shape[1:])
        self.matrix = Constant(matrix)
        self.svd = tuple(map(Constant, torch.linalg.svd(self.matrix.value, full_matrices=False)))

    def _forward(self, x: Tensor) -> Tensor:
        return mix(self.matrix.like(x), x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return mix(self.matrix.like(y).mT, y)

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        u, s, v = (factor.like(y) for factor in self.svd)
        return mix(v.mT, mix(u.mT, y) * gain(s[:, None, None]))


class Greyscale(ChannelMix):
    """A grey picture of a colour image; weights of red, green and blue by ITU-R BT.601, as PIL's "L"."""

    def __init__(self, image_shape: Shape, weights: Sequence[float] = LUMA) -> None:
        if image_shape[0] != len(weights):
            raise ValueError(f"Greyscale needs an image of {len(weights)} channels, but this one has {image_shape[0]}.")
        super().__init__(image_shape, [list(weights)])


class BayerMosaic(InpaintMask):
    """One colour per pixel, as a camera sensor sees: `pattern` names the top left 2 x 2 pixels, row by row."""

    def __init__(self, image_shape: Shape, pattern: str = "RGGB") -> None:
        check_choice("Bayer pattern", pattern, BAYER)
        if image_shape[0] != 3:
            raise ValueError(f"A Bayer mosaic needs an RGB image, but this one has {image_shape[0]} channel(s).")
        mask = torch.zeros(image_shape)
        for i, colour in enumerate(pattern):
            mask["RGB".index(colour), i // 2 :: 2, i % 2 :: 2] = 1
        super().__init__(image_shape, mask)


def mix(matrix: Tensor, x: Tensor) -> Tensor:
    """(m, C) times (B, C, ...) over the channels."""
    return torch.einsum("mc,bc...->bm...", matrix, x)
