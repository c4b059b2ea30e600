"""Two-dimensional convolution by FFT, with a boundary, and its exact transpose."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Constant, Movable, Shape
from .boundary import pad, pad_adjoint


class Convolution(Movable):
    """Pads, convolves with `kernel` (odd sides, float64), and crops images of `size` (H, W); circular needs no padding.

    FFT for every kernel: beside it direct convolution only wins for a few taps, and on GPUs runs in TF32 by default.
    """

    def __init__(self, kernel: Tensor, size: Shape, boundary: str) -> None:
        self.size, self.boundary = size, boundary
        self.radius = (0, 0) if boundary == "circular" else tuple(n // 2 for n in kernel.shape)
        padded = (n + 2 * r for n, r in zip(size, self.radius, strict=True))
        self.fft_size = size if boundary == "circular" else tuple(fast_length(n) for n in padded)
        self.transfer = Constant(transfer_function(kernel, self.fft_size))

    def forward(self, x: Tensor) -> Tensor:
        (rows, columns), (height, width) = self.radius, self.size
        x = pad(x, rows, columns, self.boundary)
        return self._multiply(x, self.transfer.like(x))[..., rows : rows + height, columns : columns + width]

    def adjoint(self, y: Tensor) -> Tensor:
        (rows, columns), (height, width) = self.radius, self.size
        y = pad(y, rows, columns, "zero")
        x = self._multiply(y, self.transfer.like(y).conj())[..., : height + 2 * rows, : width + 2 * columns]
        return pad_adjoint(pad_adjoint(x, -1, columns, self.boundary), -2, rows, self.boundary)

    def spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """V gain(S) U^T y of the circular convolution; see `SpectralOperator`."""
        transfer = self.transfer.like(y)
        return self._multiply(y, torch.sgn(transfer).conj() * gain(transfer.abs()))

    def _multiply(self, x: Tensor, transfer: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x, s=self.fft_size) * transfer, s=self.fft_size)


def transfer_function(kernel: Tensor, size: Shape) -> Tensor:
    """The (H, W // 2 + 1) half spectrum of `kernel`, centred at the origin of an image of `size`."""
    canvas = torch.zeros(size, dtype=torch.float64)
    canvas[: kernel.shape[0], : kernel.shape[1]] = kernel
    return torch.fft.rfft2(canvas.roll([-(n // 2) for n in kernel.shape], (0, 1)))


def fast_length(n: int) -> int:
    """The smallest length from n on that has no prime factor above 7."""
    rest = n
    for prime in (2, 3, 5, 7):
        while rest % prime == 0:
            rest //= prime
    return n if rest == 1 else fast_length(n + 1)
