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

    kernel: "bicubic" (a = -0.5) or "box" (the average of factor x factor pixels).
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


def resize_matrix(size: int, factor: float, kernel: str) -> Tensor:
    """The (ceil(size / factor), size) matrix of one axis, in float64."""
    function, support = KERNELS[kernel]
    outputs = math.ceil(size / factor - 1e-9)
    centre = size / 2 + factor * (torch.arange(outputs, dtype=torch.float64) + 0.5 - outputs / 2) - 0.5
    reach = math.ceil(support * factor) + 1
    pixel = centre.floor()[:, None] + torch.arange(-reach, reach + 1, dtype=torch.float64)
    # The rounding keeps a pixel that lies on the edge of the kernel on the same side on every machine.
    weight = function(((centre[:, None] - pixel) / factor).mul(2**30).round().div(2**30))
    weight = weight / weight.sum(1, keepdim=True)
    folded = pixel.long() % (2 * size)
    folded = torch.where(folded < size, folded, 2 * size - 1 - folded)
    return torch.zeros(outputs, size, dtype=torch.float64).scatter_add(1, folded, weight)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, far) * (x < 2)


def _box(x: Tensor) -> Tensor:
    return ((x >= -0.5) & (x < 0.5)).to(x)


KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {"bicubic": (_cubic, 2), "box": (_box, 0.5)}
