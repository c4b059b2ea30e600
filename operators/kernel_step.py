"""The kernel of a blur by what it made of a picture: the kernel's step of blind deblurring.

With y = k * x + n, and a picture that is off from x by white errors of variance e^2,

    k = argmin  E || L (k * x - y) ||^2 = argmin  || L (k * picture - y) ||^2 + e^2 || L k ||^2 m

over the kernels that photographs have: no value below zero, sum 1. It is the maximisation of Fast Diffusion EM
(Laroche, Almansa and Coupete, WACV 2024), and as there a step costs FFTs alone, and the error of the picture is part of
it. L takes gradients: a denoiser's errors are smooth, as photographs are, and in gradients they are nearly white.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .base import LinearOperator
from .boundary import pad
from .convolution import fast_length
from .masks import Identity

ITERATIONS, POWER = 40, 8
ROUGHNESS = 4.0
"""Energy of the gradients of white noise, both directions, by that of the noise."""


def likeliest_kernel(
    pictures: Tensor, y: Tensor, start: Tensor, error: float, then: LinearOperator | None = None
) -> Tensor:
    """The kernel (n, n), n odd, that blurs pictures (B, C, H, W) into y (1, C, H, W), from `start` of its size on.

    error: standard deviation e of what the pictures may be off, in their own units. then: what made y of the blurred
    picture; y has its shape. Accelerated projected gradients (Beck and Teboulle 2009); the border reflects. The
    position of the kernel is part of it.
    """
    forward, adjoint = convolved(pictures, len(start), then or Identity(tuple(y.shape[1:])))
    y = y.expand(len(pictures), -1, -1, -1)
    ridge = ROUGHNESS * error**2 * y.numel()

    def normal(kernel: Tensor) -> Tensor:
        return adjoint(laplacian(forward(kernel))) + ridge * kernel

    target = adjoint(laplacian(y))
    length = 1 / greatest(normal, start)
    kernel, ahead, momentum = start, start, 1.0
    for _ in range(ITERATIONS):
        last, kernel = kernel, on_simplex(ahead - length * (normal(ahead) - target))
        momentum, previous = (1 + math.sqrt(1 + 4 * momentum**2)) / 2, momentum
        ahead = kernel + (previous - 1) / momentum * (kernel - last)
    return kernel


Map = Callable[[Tensor], Tensor]


def convolved(pictures: Tensor, size: int, then: LinearOperator) -> tuple[Map, Map]:
    """k -> S (k * pictures) for kernels (size, size), and its transpose, which adds the pictures up."""
    padded = pad(pictures, size // 2, size // 2, "reflect")
    height, width = padded.shape[-2:]
    fft_size = tuple(map(fast_length, (height, width)))
    spectrum = torch.fft.rfft2(padded, s=fft_size)
    inside = (..., slice(size - 1, height), slice(size - 1, width))

    def forward(kernel: Tensor) -> Tensor:
        return then(torch.fft.irfft2(spectrum * torch.fft.rfft2(kernel, s=fft_size), s=fft_size)[inside])

    def adjoint(r: Tensor) -> Tensor:
        whole = r.new_zeros(*r.shape[:-2], *fft_size)
        whole[inside] = then.adjoint(r)
        product = (spectrum.conj() * torch.fft.rfft2(whole)).sum((0, 1))
        return torch.fft.irfft2(product, s=fft_size)[:size, :size]

    return forward, adjoint


def laplacian(r: Tensor) -> Tensor:
    """L^T L r, for the differences L of neighbours in (..., H, W)."""
    total = torch.zeros_like(r)
    for dim in (-2, -1):
        step = r.diff(dim=dim)
        total.narrow(dim, 1, step.shape[dim]).add_(step)
        total.narrow(dim, 0, step.shape[dim]).sub_(step)
    return total


def greatest(normal: Map, like: Tensor) -> float:
    """A little more than the largest eigenvalue of a symmetric map of kernels."""
    v = torch.rand(like.shape, generator=torch.Generator().manual_seed(0)).to(like)
    for _ in range(POWER):
        v = normal(v / v.norm())
    return 1.05 * float(v.norm())


def on_simplex(kernel: Tensor) -> Tensor:
    """The nearest kernel without values below zero and with sum 1 (Duchi et al. 2008)."""
    values = kernel.flatten().sort(descending=True).values
    above = values.cumsum(0) - 1
    count = torch.arange(1, len(values) + 1, device=values.device)
    last = int((values * count > above).sum()) - 1
    return (kernel - above[last] / (last + 1)).clamp_min(0)


def centred(kernel: Tensor, least: float, whole: bool) -> Tensor:
    """The kernel without what is below `least` of its peak, its centre of mass moved to the middle.

    A picture moved one way and a kernel moved the other fit as well: without this they drift apart. whole: to the
    nearest pixel alone, which keeps it as sharp as it is; else by linear interpolation.
    """
    kernel = torch.where(kernel < least * kernel.max(), 0, kernel)
    for dim in (0, 1):
        places = torch.arange(len(kernel), device=kernel.device) - len(kernel) // 2
        off = float((kernel.sum(1 - dim) * places).sum() / kernel.sum())
        pixels = round(off) if whole else math.floor(off)
        share = 0.0 if whole else off - pixels
        kernel = (1 - share) * shifted(kernel, -pixels, dim) + share * shifted(kernel, -pixels - 1, dim)
    return kernel / kernel.sum()


def shifted(kernel: Tensor, pixels: int, dim: int) -> Tensor:
    """Moved along dim, zeros coming in."""
    size = kernel.shape[dim]
    moved = torch.zeros_like(kernel)
    kept = size - abs(pixels)
    moved.narrow(dim, max(pixels, 0), kept).copy_(kernel.narrow(dim, max(-pixels, 0), kept))
    return moved
