"""Blurs, by FFT.

Kernels sum to 1 and act by convolution: a point becomes a picture of the kernel. Separable kernels have an exact
pseudo-inverse with every boundary. Others have one with a circular boundary, which is their default for that; with
"reflect", "zero" and "replicate", truer to photographs, their pinv and prox run conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import LinearOperator, Shape, SpectralOperator
from .boundary import blur_matrix, check_boundary
from .convolution import Convolution
from .kernels import disc_kernel, gaussian_kernel, gaussian_taps, line_kernel, motion_kernel
from .separable import Axis, Separable


class SeparableBlur(Separable):
    """Convolution of the columns with `row_taps` (down the rows) and of the rows with `column_taps`; odd lengths.

    boundary: "reflect" (the edge pixel is not repeated), "circular", "zero" or "replicate".
    """

    smoothing = True

    def __init__(self, image_shape: Shape, row_taps: Tensor, column_taps: Tensor, boundary: str = "reflect") -> None:
        check_boundary(boundary)
        height, width = image_shape[-2:]
        rows = Axis(blur_matrix(height, row_taps, boundary))
        same = height == width and torch.equal(row_taps, column_taps)
        super().__init__(image_shape, rows, rows if same else Axis(blur_matrix(width, column_taps, boundary)))
        self.convolution = Convolution(torch.outer(row_taps, column_taps), self.image_shape[1:], boundary)

    def _forward(self, x: Tensor) -> Tensor:
        return self.convolution.forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.convolution.adjoint(y)

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        if self.convolution.boundary == "circular":
            return self.convolution.spectral(y, gain)
        return super()._spectral(y, gain)


class GaussianBlur(SeparableBlur):
    """Gaussian blur of `sigma` pixels; taps beyond `kernel_size` (odd) and beyond 4 sigma are dropped, as in SciPy.

    The reference has sigma 3, reflected boundary, and kernels of 121 pixels at 512 and 61 at 256.
    """

    def __init__(
        self, image_shape: Shape, sigma: float = 3.0, kernel_size: int = 61, boundary: str = "reflect"
    ) -> None:
        check_kernel_size(kernel_size, image_shape)
        taps = gaussian_taps(sigma, kernel_size)
        super().__init__(image_shape, taps, taps, boundary)


class UniformBlur(SeparableBlur):
    """The mean of kernel_size x kernel_size pixels (odd)."""

    def __init__(self, image_shape: Shape, kernel_size: int = 9, boundary: str = "reflect") -> None:
        check_kernel_size(kernel_size, image_shape)
        taps = torch.full((kernel_size,), 1 / kernel_size, dtype=torch.float64)
        super().__init__(image_shape, taps, taps, boundary)


def AnisotropicBlur(
    image_shape: Shape,
    sigma_x: float = 6.0,
    sigma_y: float = 1.0,
    angle: float = 0.0,
    kernel_size: int = 61,
    boundary: str = "circular",
) -> SeparableBlur | CircularBlur | BoundedBlur:
    """Gaussian blur with two sigmas in pixels, its x axis turned by `angle` degrees counter-clockwise."""
    check_kernel_size(kernel_size, image_shape)
    if angle % 180 == 0:
        taps = gaussian_taps(sigma_y, kernel_size), gaussian_taps(sigma_x, kernel_size)
        return SeparableBlur(image_shape, *taps, boundary)
    return Blur(image_shape, gaussian_kernel(sigma_x, sigma_y, angle, kernel_size), boundary)


def MotionBlur(
    image_shape: Shape, kernel_size: int = 61, intensity: float = 0.5, seed: int = 0, boundary: str = "circular"
) -> CircularBlur | BoundedBlur:
    """Blur along a random track of a shaking camera; intensity 0 (straight) to 1 (wild), see `motion_kernel`."""
    check_kernel_size(kernel_size, image_shape)
    return Blur(image_shape, motion_kernel(kernel_size, intensity, seed), boundary)


def LineBlur(
    image_shape: Shape, length: float = 15.0, angle: float = 0.0, boundary: str = "circular"
) -> CircularBlur | BoundedBlur:
    """Blur along a straight line of `length` pixels; angle in degrees, counter-clockwise from horizontal."""
    return Blur(image_shape, line_kernel(length, angle), boundary)


def DefocusBlur(image_shape: Shape, radius: float = 5.0, boundary: str = "circular") -> CircularBlur | BoundedBlur:
    """Blur by a disc of `radius` pixels: a lens out of focus."""
    return Blur(image_shape, disc_kernel(radius), boundary)


def Blur(image_shape: Shape, kernel: Tensor, boundary: str = "circular") -> CircularBlur | BoundedBlur:
    """Convolution with any `kernel` (kh, kw), scaled to sum 1; its middle is the pixel (kh // 2, kw // 2)."""
    check_boundary(boundary)
    convolution = Convolution(normalised(kernel, image_shape), image_shape[1:], boundary)
    return (CircularBlur if boundary == "circular" else BoundedBlur)(image_shape, convolution)


class CircularBlur(SpectralOperator):
    """Circular convolution: diagonal in the Fourier basis."""

    smoothing = True

    def __init__(self, image_shape: Shape, convolution: Convolution) -> None:
        super().__init__(image_shape)
        self.measurement_shape, self.convolution = self.image_shape, convolution

    def _forward(self, x: Tensor) -> Tensor:
        return self.convolution.forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.convolution.adjoint(y)

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        return self.convolution.spectral(y, gain)


class BoundedBlur(LinearOperator):
    """Convolution with a reflected, replicated or zero boundary: pinv and prox run conjugate gradients.

    |A A^+ A x - A x| <= 0.01 |A| |x|, and prox to a relative residual of 1e-4 in single, 1e-12 in double precision.
    No transform diagonalises these: a cosine transform would need a symmetric kernel and repeated edge pixels.
    """

    smoothing = True
    norm = 1.0  # but for a few per cent that the border adds

    def __init__(self, image_shape: Shape, convolution: Convolution) -> None:
        super().__init__(image_shape)
        self.measurement_shape, self.convolution = self.image_shape, convolution

    def _forward(self, x: Tensor) -> Tensor:
        return self.convolution.forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.convolution.adjoint(y)

    def _norm(self, like: Tensor) -> float:
        return self.norm


def normalised(kernel: Tensor, image_shape: Shape) -> Tensor:
    """`kernel` in float64, of odd size (even ones get a zero row or column at the end), with sum 1."""
    if kernel.ndim != 2 or not torch.isfinite(kernel).all() or not kernel.sum() > 0:
        raise ValueError(
            f"The blur kernel must be one finite (height, width) picture with a positive sum, but has shape "
            f"{tuple(kernel.shape)} and sum {float(kernel.sum()):.3g}: give a grey picture, white on black."
        )
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
