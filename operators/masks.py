"""Inpainting: some pixels are known, the others are not. Unknown entries of a measurement are zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor

from .base import Constant, Shape, SpectralOperator


class InpaintMask(SpectralOperator):
    """Keeps the pixels where `mask` is at least 0.5; y has the image's shape. A^T = A^+ = A.

    mask: (H, W), (1, H, W) or (C, H, W) for all images alike, or (N, 1, H, W) or (N, C, H, W) for N images, each with
        its own, and for a batch of several times N images in turn; 1 = known.
    """

    def __init__(self, image_shape: Shape, mask: Tensor) -> None:
        super().__init__(image_shape)
        shape = tuple(mask.shape) if mask.ndim != 2 else (1, *mask.shape)
        if len(shape) not in (3, 4) or shape[-3] not in (1, self.image_shape[0]):
            raise ValueError(
                f"mask: Inpaint Mask has one of shape {shape}; give one mask of the image's size, or one for each of "
                f"its {self.image_shape[0]} channels."
            )
        if shape[-2:] != self.image_shape[1:]:
            height, width = self.image_shape[1:]
            raise ValueError(
                f"mask: Inpaint Mask has one of {' x '.join(map(str, shape[:-3:-1]))} pixels, but the image is "
                f"{width} x {height} (width x height); connect the mask of this image, resized or cropped as it was."
            )
        known = mask.detach().reshape(shape if len(mask) > 1 else shape[-3:]) >= 0.5
        if not known.flatten(-3).any(-1).all():
            raise ValueError("The mask leaves no known pixel: mark at least one pixel as known.")
        self.mask = Constant(known)
        self.images = len(known) if known.ndim == 4 else 1
        self.measurement_shape = self.image_shape

    @cached_property
    def num_measurements(self) -> int | Tensor:
        known = self.mask.value.flatten(-3).sum(-1) * (self.image_shape[0] // self.mask.value.shape[-3])
        return known if self.images > 1 else int(known)

    def restrict(self, y: Tensor) -> Tensor:
        """y with zeros at unknown pixels. ValueError for a batch that is no multiple of the masks."""
        if len(y) % self.images:
            raise ValueError(f"These are {self.images} masks for as many images, but the batch has {len(y)}.")
        mask = self.mask.like(y)
        return y * (mask.repeat(len(y) // self.images, 1, 1, 1) if self.images > 1 else mask)

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
            place = torch.rand(2, generator=torch.Generator().manual_seed(seed)).tolist()
            position = tuple(margin + int(u * (n + 1)) for u, n in zip(place, free, strict=True))
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
        check_drop(drop)
        height, width = image_shape[-2:]
        mask = torch.ones(height * width)
        mask[torch.randperm(mask.numel(), generator=generator)[: int(drop * mask.numel())]] = 0
        super().__init__(image_shape, mask.view(height, width))
        self.drop = drop


class InpaintHalf(InpaintMask):
    """Hides one half of the image: side "left", "right", "top" or "bottom"."""

    def __init__(self, image_shape: Shape, side: str = "right") -> None:
        height, width = image_shape[-2:]
        halves = {
            "left": (slice(None), slice(0, width // 2)),
            "right": (slice(None), slice(width // 2, None)),
            "top": (slice(0, height // 2),),
            "bottom": (slice(height // 2, None),),
        }
        check_choice("side", side, halves)
        mask = torch.ones(height, width)
        mask[halves[side]] = 0
        super().__init__(image_shape, mask)


class Outpaint(InpaintMask):
    """Keeps the centre, the fraction `keep` of each side, and hides the rest (RePaint's "expand" has keep = 0.25)."""

    def __init__(self, image_shape: Shape, keep: float = 0.5) -> None:
        if not 0 < keep <= 1:
            raise ValueError(f"The fraction of each side to keep must lie in (0, 1], but is {keep}.")
        height, width = image_shape[-2:]
        rows, columns = max(1, round(keep * height)), max(1, round(keep * width))
        top, left = (height - rows) // 2, (width - columns) // 2
        mask = torch.zeros(height, width)
        mask[top : top + rows, left : left + columns] = 1
        super().__init__(image_shape, mask)


class InpaintGrid(InpaintMask):
    """Keeps the first pixel of each factor x factor block: super-resolution by decimation, at full size."""

    def __init__(self, image_shape: Shape, factor: int = 2) -> None:
        if not 1 <= factor <= min(image_shape[-2:]):
            raise ValueError(f"The grid's factor must lie between 1 and the shorter image side, but is {factor}.")
        mask = torch.zeros(image_shape[-2:])
        mask[::factor, ::factor] = 1
        super().__init__(image_shape, mask)
        self.factor = factor


class Destripe(InpaintMask):
    """Dead lines, `width` pixels wide; axis "columns" or "rows".

    Regular (the last `width` of every `spacing` lines) or, with `drop`, that fraction of all stripes drawn by `seed`.
    """

    def __init__(
        self,
        image_shape: Shape,
        axis: str = "columns",
        width: int = 2,
        spacing: int = 8,
        drop: float | None = None,
        seed: int = 0,
    ) -> None:
        check_choice("axis", axis, ("columns", "rows"))
        size = image_shape[-1] if axis == "columns" else image_shape[-2]
        if width < 1 or (drop is None and width >= spacing):
            raise ValueError(
                f"The stripes' width must be at least 1 and below their spacing, but is {width} (spacing {spacing})."
            )
        if drop is None:
            known = torch.arange(size) % spacing < spacing - width
        else:
            check_drop(drop)
            stripes = -(-size // width)
            known = torch.ones(stripes)
            known[torch.randperm(stripes, generator=torch.Generator().manual_seed(seed))[: int(drop * stripes)]] = 0
            known = known.repeat_interleave(width)[:size]
        super().__init__(image_shape, (known if axis == "columns" else known[:, None]).expand(image_shape[-2:]))


class InpaintLines(Destripe):
    """Keeps the first of every `period` lines (RePaint's "alternating lines" has rows and period 2)."""

    def __init__(self, image_shape: Shape, axis: str = "rows", period: int = 2) -> None:
        super().__init__(image_shape, axis, width=period - 1, spacing=period)


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


def check_drop(drop: float) -> None:
    if not 0 <= drop < 1:
        raise ValueError(f"The fraction to drop must lie in [0, 1), but is {drop}.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ValueError(f"The {name} must be one of {', '.join(choices)}, but is {value!r}.")
