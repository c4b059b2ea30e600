"""Super-resolution: the measurement is a smaller image."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .base import Shape
from .separable import Axis, Separable


class SuperResolution(Separable):
    """Antialiased down-sampling by `factor` >= 1 (fractions too); y is (C, ceil(H / factor), ceil(W / factor)).

    The kernel is stretched by the factor, normalised at each output pixel, and the image mirrored (edge repeated) at
    its border: MATLAB's imresize, and the `Resizer` of the PSLD and DPS references; Pillow's filters agree away from
    the border. The image centre is kept where the factor does not divide the size.

    kernel: "bicubic" (a = -0.5), "bilinear", "lanczos" (3 lobes), "box" (the average over the area of an output
    pixel), "nearest" (no antialiasing), or "gaussian" (half an output pixel, then decimation).
    """

    def __init__(self, image_shape: Shape, factor: float = 4, kernel: str = "bicubic") -> None:
        height, width = image_shape[-2:]
        if kernel not in KERNELS:
            raise ValueError(f"The super-resolution kernel must be one of {', '.join(KERNELS)}, but is {kernel!r}.")
        if not 1 <= factor <= min(height, width):
            raise ValueError(
                f"The super-resolution factor must lie between 1 and the shorter image side ({min(height, width)}), "
                f"but is {factor}."
            )
        rows = Axis(resize_matrix(height, factor, kernel))
        super().__init__(image_shape, rows, rows if width == height else Axis(resize_matrix(width, factor, kernel)))
        self.factor, self.kernel = factor, kernel

    @staticmethod
    def image_shape_for(measurement_shape: Shape, factor: float = 4, kernel: str = "bicubic") -> Shape:
        """The largest image whose measurement has this shape."""
        channels, *size = measurement_shape
        return channels, *(math.floor(n * factor + 1e-9) for n in size)


def resize_matrix(size: int, factor: float, kernel: str) -> Tensor:
    """The (ceil(size / factor), size) matrix of one axis, in float64."""
    function, support = KERNELS[kernel]
    outputs = math.ceil(size / factor - 1e-9)
    centre = size / 2 + factor * (torch.arange(outputs, dtype=torch.float64) + 0.5 - outputs / 2) - 0.5
    reach = math.ceil(support * factor) + 1
    pixel = centre.floor()[:, None] + torch.arange(-reach, reach + 1, dtype=torch.float64)
    # Rounded, so that a pixel on the edge of a kernel falls on the same side on every machine.
    distance = (centre[:, None] - pixel).mul(2**30).round().div(2**30)
    weight = function(distance / factor, 1 / factor)
    weight = weight / weight.sum(1, keepdim=True)
    folded = pixel.long() % (2 * size)
    folded = torch.where(folded < size, folded, 2 * size - 1 - folded)
    return torch.zeros(outputs, size, dtype=torch.float64).scatter_add(1, folded, weight)


def _cubic(x: Tensor, pixel: float) -> Tensor:
    x = x.abs()
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, far) * (x < 2)


def _linear(x: Tensor, pixel: float) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def _lanczos(x: Tensor, pixel: float) -> Tensor:
    return torch.sinc(x) * torch.sinc(x / 3) * (x.abs() < 3)


def _box(x: Tensor, pixel: float) -> Tensor:
    return ((1 + pixel) / 2 - x.abs()).clamp(0, pixel)


def _nearest(x: Tensor, pixel: float) -> Tensor:
    return ((x >= -pixel / 2) & (x < pixel / 2)).to(x)


def _gaussian(x: Tensor, pixel: float) -> Tensor:
    return torch.exp(-2 * x**2) * (x.abs() <= 2)


# Weight of an image pixel at distance x, both in output pixels, of which an image pixel is `pixel` wide; half-width.
KERNELS: dict[str, tuple[Callable[[Tensor, float], Tensor], float]] = {
    "bicubic": (_cubic, 2),
    "bilinear": (_linear, 1),
    "lanczos": (_lanczos, 3),
    "box": (_box, 1),
    "nearest": (_nearest, 0.5),
    "gaussian": (_gaussian, 2),
}
