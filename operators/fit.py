"""Any photo size for a model that takes multiples of some number of pixels: a window of the photo, and back again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from scipy import ndimage
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Fit:
    """A window of a photo of `size` (height, width): `window` rows and columns from `corner` (row, column).

    It may reach beyond the photo, which is mirrored there (edge repeated). It is one of so many `windows` of the photo.
    """

    size: tuple[int, int]
    corner: tuple[int, int]
    window: tuple[int, int]
    windows: int = 1

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
        window is enlarged (bicubic), unless it is as large already.
        """
        factor = self.factor(restored)
        large = tuple(photo.shape[-2:]) == enlarged_size(self.size, factor)
        result = photo.clone() if large else enlarge(photo, factor)
        theirs, ours = zip(*(self._overlap(axis, factor, result.shape[axis]) for axis in (-2, -1)), strict=True)
        result[..., theirs[0], theirs[1]] = restored[..., ours[0], ours[1]]
        return result

    def factor(self, restored: Tensor) -> float:
        """By which the restored window is larger than the fitted one. ValueError where it is no multiple of it."""
        factor = restored.shape[-2] / self.window[0]
        if tuple(restored.shape[-2:]) != tuple(round(factor * n) for n in self.window):
            raise ValueError(
                f"the restored image is {restored.shape[-1]} x {restored.shape[-2]} (width x height), which is no "
                f"multiple of the fitted {self.window[1]} x {self.window[0]}"
            )
        return factor

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
        raise ValueError(f"a photo of {size[1]} x {size[0]} (width x height) cannot be cropped to {multiple} pixels")
    window = tuple(n // multiple * multiple for n in size)
    return Fit(size, tuple((n - m) // 2 // align * align for n, m in zip(size, window, strict=True)), window)


def around(mask: Tensor, margin: int, least: int, multiple: int, align: int = 1) -> Fit:
    """The smallest window, at least `least` pixels wide and high, that holds the marked pixels of a mask (H, W) with
    `margin` around them; inside the photo where that is large enough. ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("the mask marks nothing")
    ends = [int(i) for marked in (mask.any(1), mask.any(0)) for i in marked.nonzero()[[0, -1], 0]]
    return around_box(tuple(mask.shape), (ends[0], ends[1] + 1, ends[2], ends[3] + 1), margin, least, multiple, align)


def around_each(mask: Tensor, margin: int, least: int, multiple: int, align: int = 1) -> list[Fit]:
    """A window as of `around` for each connected part of a mask (H, W); one for parts that a window would share."""
    if not mask.any():
        raise ValueError("the mask marks nothing")
    labels, _ = ndimage.label(mask.numpy(), structure=torch.ones(3, 3).numpy())
    parts = ndimage.find_objects(labels)
    boxes = torch.tensor([[rows.start, rows.stop, columns.start, columns.stop] for rows, columns in parts])
    while True:
        fits = [around_box(tuple(mask.shape), box, margin, least, multiple, align) for box in boxes.tolist()]
        windows = torch.tensor([[f.corner[0], f.corner[0] + f.window[0], f.corner[1], f.corner[1] + f.window[1]]
                                for f in fits])  # fmt: skip
        low, high = (torch.stack((windows[:, i::2], boxes[:, i::2])) for i in (0, 1))
        shared = (low[0, :, None] < high[1]) & (low[1] < high[0, :, None])
        count, group = connected_components(shared.all(-1).numpy(), directed=False)
        if count == len(boxes):
            return [replace(fit, windows=count) for fit in fits]
        members = [boxes[torch.from_numpy(group) == i] for i in range(count)]
        low, high = (torch.stack([end(part, 0) for part in members]) for end in (torch.amin, torch.amax))
        boxes = torch.where(torch.tensor([True, False, True, False]), low, high)


def around_box(
    size: tuple[int, int], box: Sequence[int], margin: int, least: int, multiple: int, align: int = 1
) -> Fit:
    """As `around`, for a box: the rows from box[0] to before box[1], and the columns from box[2] to before box[3]."""
    corner, window = [], []
    for n, first, end in zip(size, box[::2], box[1::2], strict=True):
        length = min(max(end - first + 2 * margin, least), n)
        length = -(-length // multiple) * multiple
        start = (first + end - length) // 2
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
    """(B, C, H, W) -> the same, `factor` times as large (rounded down), by bicubic interpolation.

    It overshoots at edges: clipped to [0, 1], or to what the photo has beyond that.
    """
    low, high = min(0.0, float(photo.min())), max(1.0, float(photo.max()))
    return F.interpolate(photo, size=enlarged_size(photo.shape[-2:], factor), mode="bicubic").clamp(low, high)


def enlarged_size(size: Sequence[int], factor: float) -> tuple[int, ...]:
    """(height, width) of a photo that super-resolution enlarges."""
    return tuple(math.floor(factor * n + 1e-6) for n in size)


def blend(photo: Tensor, restored: Tensor, painted: Tensor, feather: int = 0) -> Tensor:
    """The restored image (B, C, H, W) where painted (1 or B, h, w; bool), and the photo, to the bit, elsewhere.

    feather: pixels beyond the painted ones over which one becomes the other. The painted area may be that of a smaller
        photo, before both were enlarged.
    """
    away = torch.stack([torch.from_numpy(ndimage.distance_transform_edt(~m.numpy())) for m in painted])
    weight = (1 - away[:, None] / (feather + 1)).clamp_min(0).to(restored)
    if weight.shape[-2:] != photo.shape[-2:]:
        weight = F.interpolate(weight, photo.shape[-2:], mode="nearest-exact")
    return torch.lerp(photo, restored, weight)
