"""Inpainting: some pixels are known, the others are not. Unknown entries of a measurement are zero."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Constant, Shape, SpectralOperator


class InpaintMask(SpectralOperator):
    """Keeps the pixels where `mask` is at least 0.5, for all channels alike; y has the image's shape.

    mask: (H, W), (1, H, W) or (C, H, W); 1 = known. A^T = A^+ = A.
    """

    def __init__(self, image_shape: Shape, mask: Tensor) -> None:
        super().__init__(image_shape)
        shape = tuple(mask.shape) if mask.ndim != 2 else (1, *mask.shape)
        if shape[1:] != self.image_shape[1:] or shape[0] not in (1, self.image_shape[0]):
            height, width = self.image_shape[1:]
            raise ValueError(
                f"The mask has shape {tuple(mask.shape)}, but the image is {height} x {width} (height x width): "
                "give one mask of the image's size."
            )
        known = mask.detach().reshape(shape) >= 0.5
        if not known.any():
            raise ValueError("The mask leaves no known pixel: mark at least one pixel as known.")
        self.mask = Constant(known)
        self.measurement_shape = self.image_shape

    @property
    def num_measurements(self) -> int:
        return int(self.mask.value.sum()) * self.image_shape[0] // self.mask.value.shape[0]

    def restrict(self, y: Tensor) -> Tensor:
        """y with zeros at unknown pixels, whatever stood there."""
        return torch.where(self.mask.like(y) > 0, y, 0)

    def _forward(self, x: Tensor) -> Tensor:
        return self.restrict(x)

    _adjoint = _forward

    def _pinv(self, y: Tensor, rcond: float) -> Tensor:
        return self.restrict(y)

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        return self.restrict(y * gain(y.new_ones(1, 1, 1)))


class InpaintBox(InpaintMask):
    """Hides a box of `size` pixels (a number, or height and width).

    Its top left corner is `position` (row, column) or, where that is None, drawn by `seed` at least `margin` pixels
    from the border.
    """

    def __init__(
        self,
        image_shape: Shape,
        size: int | tuple[int, int] = 256,
        position: tuple[int, int] | None = None,
        seed: int = 0,
        margin: int = 16,
    ) -> None:
        height, width = image_shape[-2:]
        rows, columns = (size, size) if isinstance(size, int) else size
        if position is None:
            free = (height - rows - 2 * margin, width - columns - 2 * margin)
            position = tuple(margin + draw_integer(max(n, 0), seed + i) for i, n in enumerate(free))
        else:
            free = (height - rows - position[0], width - columns - position[1])
        if min(rows, columns) < 1 or min(free) < 0 or min(position) < 0:
            raise ValueError(
                f"A box of {rows} x {columns} pixels (height x width) does not fit into an image of {height} x {width} "
                "at this position and margin: make the box or the margin smaller."
            )
        mask = torch.ones(height, width)
        mask[position[0] : position[0] + rows, position[1] : position[1] + columns] = 0
        super().__init__(image_shape, mask)
        self.position = position


class InpaintRandom(InpaintMask):
    """Drops pixels at random, all channels together: the fraction `drop`, or one drawn from [low, high] by `seed`."""

    def __init__(
        self, image_shape: Shape, drop: float | None = None, low: float = 0.3, high: float = 0.7, seed: int = 0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        if drop is None:
            drop = low + (high - low) * float(torch.rand((), generator=generator))
        if not 0 <= drop < 1 or low > high:
            raise ValueError(f"The fraction of dropped pixels must lie in [0, 1), but is {drop}.")
        height, width = image_shape[-2:]
        mask = torch.ones(height * width)
        mask[torch.randperm(mask.numel(), generator=generator)[: int(drop * mask.numel())]] = 0
        super().__init__(image_shape, mask.view(height, width))
        self.drop = drop


class Identity(SpectralOperator):
    """y = x: denoising, when the measurement carries noise."""

    def __init__(self, image_shape: Shape) -> None:
        super().__init__(image_shape)
        self.measurement_shape = self.image_shape

    def _forward(self, x: Tensor) -> Tensor:
        return x

    _adjoint = _forward

    def _pinv(self, y: Tensor, rcond: float) -> Tensor:
        return y

    def _spectral(self, y: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
        return y * gain(y.new_ones(1, 1, 1))


Denoise = Identity


def draw_integer(high: int, seed: int) -> int:
    """A whole number in [0, high], the same on every machine."""
    return int(torch.randint(high + 1, (), generator=torch.Generator().manual_seed(seed)))
