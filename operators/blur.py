"""Blurs: Gaussian by rows and columns, any other kernel by FFT. Kernels sum to 1 and act by convolution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Constant, LinearOperator, Shape, SpectralOperator
from .kernels import gaussian_taps, motion_kernel
from .separable import Axis, Separable

BOUNDARIES = ("reflect", "circular", "zero", "replicate")


class GaussianBlur(Separable):
    """Gaussian blur of `sigma` pixels; taps beyond `kernel_size` (odd) and beyond 4 sigma are dropped, as in SciPy.

    boundary: "reflect" (the edge pixel is not repeated; the reference's), "circular", "zero" or "replicate". Each has
    an exact pseudo-inverse.
    """

    def __init__(
        self, image_shape: Shape, sigma: float = 3.0, kernel_size: int = 61, boundary: str = "reflect"
    ) -> None:
        check_kernel_size(kernel_size, image_shape)
        check_boundary(boundary)
        if not sigma > 0:
            raise ValueError(f"The blur's sigma must be positive (in pixels), but is {sigma}.")
        taps = gaussian_taps(sigma, kernel_size)
        height, width = image_shape[-2:]
        rows = Axis(blur_matrix(height, taps, boundary))
        super().__init__(image_shape, rows, rows if width == height else Axis(blur_matrix(width, taps, boundary)))


def Blur(image_shape: Shape, kernel: Tensor, boundary: str = "circular") -> CircularBlur | BoundedBlur:
    """Convolution with `kernel` (kh, kw), scaled to sum 1; a point becomes a picture of the kernel.

    boundary "circular" has an exact pseudo-inverse, a projector for every rcond, and is the default for that;
    "reflect", "zero" and "replicate" are truer to photographs, but their pinv and prox run conjugate gradients.
    """
    check_boundary(boundary)
    return CircularBlur(image_shape, kernel) if boundary == "circular" else BoundedBlur(image_shape, kernel, boundary)


def MotionBlur(
    image_shape: Shape, kernel_size: int = 61, intensity: float = 0.5, seed: int = 0, boundary: str = "circular"
) -> CircularBlur | BoundedBlur:
    """Blur along a random trajectory (`kernels.motion_kernel`); the boundaries are those of `Blur`."""
    check_kernel_size(kernel_size, image_shape)
    return Blur(image_shape, motion_kernel(kernel_size, intensity, seed), boundary)


class CircularBlur(SpectralOperator):
    """Circular convolution: diagonal in the Fourier basis."""

    def __init__(self, image_shape: Shape, kernel: Tensor) -> None:
        super().__init__(image_shape)
        self.measurement_shape = self.image_shape
        self.kernel = normalised(kernel, self.image_shape)
        self.transfer = Constant(transfer_function(self.kernel, self.image_shape[1:]))

    def _forward(self, x: Tensor) -> Tensor:
        return multiply_spectrum(x, self.transfer.like(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return multiply_spectrum(y, self.transfer.like(y).conj())

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        transfer = self.transfer.like(y)
        return multiply_spectrum(y, torch.sgn(transfer).conj() * gain(transfer.abs()))


class BoundedBlur(LinearOperator):
    """Convolution with a reflected, replicated or zero boundary: pad, convolve (by FFT), crop; A^T undoes each in turn.

    pinv and prox run conjugate gradients, preconditioned by the same blur with a circular boundary.
    """

    def __init__(self, image_shape: Shape, kernel: Tensor, boundary: str = "reflect") -> None:
        super().__init__(image_shape)
        self.measurement_shape, self.boundary = self.image_shape, boundary
        self.kernel = normalised(kernel, self.image_shape)
        self.radius = tuple(n // 2 for n in self.kernel.shape)
        self.padded = tuple(n + 2 * r for n, r in zip(self.image_shape[1:], self.radius, strict=True))
        self.transfer = Constant(transfer_function(self.kernel, self.padded))
        self.circular = Constant(transfer_function(self.kernel, self.image_shape[1:]))

    def _forward(self, x: Tensor) -> Tensor:
        for dim, radius in zip((-2, -1), self.radius, strict=True):
            x = pad(x, dim, radius, self.boundary)
        return self._crop(multiply_spectrum(x, self.transfer.like(x)))

    def _adjoint(self, y: Tensor) -> Tensor:
        rows, columns = self.radius
        y = torch.nn.functional.pad(y, (columns, columns, rows, rows))
        x = multiply_spectrum(y, self.transfer.like(y).conj())
        for dim, radius in zip((-2, -1), self.radius, strict=True):
            x = pad_adjoint(x, dim, radius, self.boundary)
        return x

    def _precondition(self, r: Tensor, t: float | Tensor) -> Tensor:
        return multiply_spectrum(r, 1 / (1 + t * self.circular.like(r).abs() ** 2))

    def _crop(self, x: Tensor) -> Tensor:
        (rows, columns), (_, height, width) = self.radius, self.image_shape
        return x[..., rows : rows + height, columns : columns + width]


def multiply_spectrum(x: Tensor, transfer: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(x) * transfer, s=x.shape[-2:])


def transfer_function(kernel: Tensor, size: Shape) -> Tensor:
    """The (H, W // 2 + 1) half spectrum of `kernel`, centred at the origin of an image of `size`."""
    canvas = torch.zeros(size, dtype=torch.float64)
    canvas[: kernel.shape[0], : kernel.shape[1]] = kernel
    return torch.fft.rfft2(canvas.roll([-(n // 2) for n in kernel.shape], (0, 1)))


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
    i = i.abs() % max(2 * size - 2, 1)
    return torch.where(i < size, i, 2 * size - 2 - i)


def pad(x: Tensor, dim: int, radius: int, boundary: str) -> Tensor:
    """x with `radius` more pixels at both ends of `dim`."""
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
    radius = len(taps) // 2
    source = source_index(size, radius, boundary).unfold(0, len(taps), 1)
    weight = taps.flip(0).double() * (source >= 0)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add(1, source.clamp_min(0), weight)


def normalised(kernel: Tensor, image_shape: Shape) -> Tensor:
    """`kernel` in float64, of odd size (even ones get a zero row or column at the end), with sum 1."""
    if kernel.ndim != 2 or not torch.isfinite(kernel).all() or not kernel.sum() > 0:
        raise ValueError(f"The blur kernel must be a (height, width) picture with a positive sum, not {kernel.shape}.")
    kernel = kernel.detach().cpu().double()
    kernel = torch.nn.functional.pad(kernel, (0, 1 - kernel.shape[1] % 2, 0, 1 - kernel.shape[0] % 2))
    check_kernel_size(max(kernel.shape), image_shape)
    return kernel / kernel.sum()


def check_kernel_size(kernel_size: int, image_shape: Shape) -> None:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"The blur's kernel size must be odd and positive, but is {kernel_size}.")
    if kernel_size > min(image_shape[-2:]):
        raise ValueError(
            f"The blur kernel ({kernel_size} pixels) is larger than the image ({image_shape[-2]} x {image_shape[-1]}, "
            "height x width): use a smaller kernel or a larger image."
        )


def check_boundary(boundary: str) -> None:
    if boundary not in BOUNDARIES:
        raise ValueError(f"The boundary must be one of {', '.join(BOUNDARIES)}, but is {boundary!r}.")
