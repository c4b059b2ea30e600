"""Any photo size for a model that takes multiples of some number of pixels: a window of the photo, and back again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Fit:
    """A window of a photo of `size` (height, width): `window` rows and columns from `corner` (row, column).

    It may reach beyond the photo, which is mirrored there (edge repeated).
    """

    size: tuple[int, int]
    corner: tuple[int, int]
    window: tuple[int, int]

    def apply(self, photo: Tensor) -> Tensor:
        """The window of a photo (..., H, W)."""
        for axis in (-2, -1):
            index, n = self._pixels(axis) % (2 * self.size[axis]), self.size[axis]
            photo = photo.index_select(axis, torch.where(index < n, index, 2 * n - 1 - index).to(photo.device))
        return photo

    def padding(self) -> Tensor:
        """True in the window (rows, columns) where it reaches beyond the photo."""
        inside = [(self._pixels(axis) >= 0) & (self._pixels(axis) < self.size[axis]) for axis in (-2, -1)]
        return ~(inside[0][:, None] & inside[1])

    def undo(self, restored: Tensor, photo: Tensor) -> Tensor:
        """The photo (B, C, H, W) with its window replaced by the restored one, padding left out.

        Where the restored window is larger by a factor (super-resolution), so is the result: the photo around the
        window is enlarged (bicubic). ValueError where the restored one is no multiple of the window.
        """
        factor = restored.shape[-2] / self.window[0]
        if tuple(restored.shape[-2:]) != tuple(round(factor * n) for n in self.window):
            raise ValueError(
                f"the restored image is {restored.shape[-2]} x {restored.shape[-1]} (height x width), which is no "
                f"multiple of the fitted {self.window[0]} x {self.window[1]}"
            )
        result = photo.clone() if factor == 1 else enlarge(photo, factor)
        theirs, ours = zip(*(self._overlap(axis, factor, result.shape[axis]) for axis in (-2, -1)), strict=True)
        result[..., theirs[0], theirs[1]] = restored[..., ours[0], ours[1]]
        return result

    def _pixels(self, axis: int) -> Tensor:
        return torch.arange(self.window[axis]) + self.corner[axis]

    def _overlap(self, axis: int, factor: float, size: int) -> tuple[slice, slice]:
        """The pixels that photo and window share, counted in the (enlarged) photo and in the window."""
        first = round(factor * self.corner[axis])
        low, high = max(0, first), min(size, first + round(factor * self.window[axis]))
        return slice(low, high), slice(low - first, high - first)


def pad(size: tuple[int, int], multiple: int, align: int = 1) -> Fit:
    """The photo and a border around it, up to the next multiple; the corner is a multiple of `align`."""
    window = tuple(-(-n // multiple) * multiple for n in size)
    return Fit(size, tuple(-((m - n) // 2 // align) * align for n, m in zip(size, window, strict=True)), window)


def crop(size: tuple[int, int], multiple: int, align: int = 1) -> Fit:
    """The centre of the photo, down to a multiple. ValueError where the photo is smaller than one."""
    if min(size) < multiple:
        raise ValueError(f"a photo of {size[0]} x {size[1]} (height x width) cannot be cropped to {multiple} pixels")
    window = tuple(n // multiple * multiple for n in size)
    return Fit(size, tuple((n - m) // 2 // align * align for n, m in zip(size, window, strict=True)), window)


def around(mask: Tensor, margin: int, least: int, multiple: int, align: int = 1) -> Fit:
    """The smallest window, at least `least` pixels wide and high, that holds the marked pixels of a mask (H, W) with
    `margin` around them; inside the photo where that is large enough. ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("the mask marks nothing")
    size, corner, window = tuple(mask.shape), [], []
    for n, marked in zip(size, (mask.any(1), mask.any(0)), strict=True):
        first, last = (int(i) for i in marked.nonzero()[[0, -1], 0])
        length = min(max(last - first + 1 + 2 * margin, least), n)
        length = -(-length // multiple) * multiple
        start = (first + last + 1 - length) // 2
        start = min(max(start, 0), n - length) if length <= n else (n - length) // 2
        corner.append(start // align * align)
        window.append(length)
    return Fit(size, tuple(corner), tuple(window))


def least_multiple(multiple: int, factor: float) -> tuple[int, int]:
    """(n, align): `factor` times n is the least multiple of `multiple`, and factor times align the least whole number.

    For a photo that super-resolution will enlarge, the factor taken as a fraction with a denominator up to 100.
    """
    exact = Fraction(factor).limit_denominator(100)
    whole = multiple * exact.denominator
    return whole // math.gcd(whole, exact.numerator), exact.denominator


def enlarge(photo: Tensor, factor: float) -> Tensor:
    """(B, C, H, W) in [0, 1] -> the same, `factor` times as large (rounded down), by bicubic interpolation."""
    size = [math.floor(factor * n + 1e-6) for n in photo.shape[-2:]]
    return F.interpolate(photo, size=size, mode="bicubic").clamp(0, 1)
