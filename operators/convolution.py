"""Two-dimensional convolution by FFT, with a boundary, and its exact transpose."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from .base import Constant, Movable, Shape
from .boundary import pad, pad_adjoint


class Convolution(Movable):
    """Pads, convolves with `kernel` (odd sides, float64), and crops images of `size` (H, W); circular needs no padding.

    FFT for every kernel: beside it direct convolution only wins for a few taps, and on GPUs runs in TF32 by default.
    The spectrum of a padded image is shifted, so that the wanted part of the convolution begins at the first pixel.
    """

    def __init__(self, kernel: Tensor, size: Shape, boundary: str) -> None:
        circular = boundary == "circular"
        radius = tuple(n // 2 for n in kernel.shape)
        self.size, self.boundary = tuple(size), boundary
        self.radius = (0, 0) if circular else radius
        self.padded = tuple(n + 2 * r for n, r in zip(size, self.radius, strict=True))
        self.fft_size = self.size if circular else tuple(map(fast_length, self.padded))
        shift = [-r if circular else -2 * r for r in radius]
        self.transfer = Constant(transfer_function(kernel, self.fft_size, shift))

    def forward(self, x: Tensor) -> Tensor:
        return self._multiply(pad(x, *self.radius, self.boundary), self.transfer.like(x), self.size)

    def adjoint(self, y: Tensor) -> Tensor:
        x = self._multiply(y, self.transfer.like(y).conj(), self.padded)
        return pad_adjoint(pad_adjoint(x, -1, self.radius[1], self.boundary), -2, self.radius[0], self.boundary)

    @cached_property
    def polar(self) -> tuple[Constant, Constant]:
        """The singular values of the circular convolution, and V U^T in the Fourier basis."""
        with torch.inference_mode(False):
            return Constant(self.transfer.value.abs()), Constant(torch.sgn(self.transfer.value).conj())

    def spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        """V gain(S) U^T y of the circular convolution; see `SpectralOperator`."""
        singular, phase = (factor.like(y) for factor in self.polar)
        return self._multiply(y, phase * gain(singular), self.size)

    def then(self, other: Convolution) -> Convolution:
        """One circular convolution after another."""
        both = copy.copy(self)
        vars(both).pop("polar", None)
        both.transfer = Constant(self.transfer.value * other.transfer.value)
        return both

    def _multiply(self, x: Tensor, transfer: Tensor, size: Shape) -> Tensor:
        """The first `size` pixels of the circular convolution with a transfer function."""
        spectrum = torch.fft.rfft2(x, s=self.fft_size)
        spectrum = spectrum * transfer if transfer.requires_grad else spectrum.mul_(transfer)
        return torch.fft.irfft2(spectrum, s=self.fft_size)[..., : size[0], : size[1]]


def transfer_function(kernel: Tensor, size: Shape, shift: list[int]) -> Tensor:
    """The (H, W // 2 + 1) half spectrum of `kernel` in the corner of an image of `size`, moved by `shift`."""
    canvas = torch.zeros(size, dtype=torch.float64)
    canvas[: kernel.shape[0], : kernel.shape[1]] = kernel
    return torch.fft.rfft2(canvas.roll(shift, (0, 1)))


def fast_length(n: int) -> int:
    """The smallest multiple of 4 from n on that has no prime factor above 11: what FFT libraries are fastest at."""
    n += -n % 4
    rest = n
    for prime in (2, 3, 5, 7, 11):
        while rest % prime == 0:
            rest //= prime
    return n if rest == 1 else fast_length(n + 4)
