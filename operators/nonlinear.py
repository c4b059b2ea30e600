"""Non-linear measurements: a forward that autograd can follow, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Operator, Shape


class PhaseRetrieval(Operator):
    """Magnitude of the orthonormal Fourier transform of the zero-padded image, zero frequency in the middle.

    Each side is padded by oversample / 8 of its length at both ends (2 in DPS: y is 1.5 times as large).
    """

    def __init__(self, image_shape: Shape, oversample: float = 2.0) -> None:
        super().__init__(image_shape)
        if not 0 <= oversample <= 64:
            raise ValueError(f"The oversampling of phase retrieval must lie between 0 and 64, but is {oversample}.")
        channels, height, width = self.image_shape
        self.margins = tuple(int(oversample / 8 * n) for n in (height, width))
        self.measurement_shape = (channels, height + 2 * self.margins[0], width + 2 * self.margins[1])

    def _forward(self, x: Tensor) -> Tensor:
        rows, columns = self.margins
        padded = F.pad(x, (columns, columns, rows, rows))
        return torch.fft.fftshift(torch.fft.fft2(padded, norm="ortho").abs(), dim=(-2, -1))


class HighDynamicRange(Operator):
    """An overexposed picture: clip(scale * x) to [-1, 1]."""

    def __init__(self, image_shape: Shape, scale: float = 2.0) -> None:
        super().__init__(image_shape)
        if not scale > 0:
            raise ValueError(f"The scale of the exposure must be positive, but is {scale}.")
        self.measurement_shape, self.scale = self.image_shape, scale

    def _forward(self, x: Tensor) -> Tensor:
        return (self.scale * x).clamp(-1, 1)


class Gamma(Operator):
    """A tone curve: intensities in [0, 1] to the power of `gamma`, values outside clipped."""

    def __init__(self, image_shape: Shape, gamma: float = 2.2) -> None:
        super().__init__(image_shape)
        if not gamma > 0:
            raise ValueError(f"gamma must be positive, but is {gamma}.")
        self.measurement_shape, self.gamma = self.image_shape, gamma

    def _forward(self, x: Tensor) -> Tensor:
        return 2 * ((x + 1) / 2).clamp(1e-6, 1) ** self.gamma - 1  # at zero the slope may be infinite
