"""Scratches and dust of any tone: thin and small things that stand out from both their sides.

A top-hat (Meyer 1979) is what an opening or closing by a square takes away: all that is narrower than the square, and
no edge. Of that, a scratch is long and keeps one colour, which hair, creases and outlines seldom do; dust is small, and
where nothing else like it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from .noise_level import estimate_sigma

DIRECTIONS = 16
LEAST_SEGMENT = 7
"""Pixels of the segments along which a scratch keeps its colour; or half the least length."""
EVEN = 0.04
"""Deviation of the colour along a scratch, of 0 to 1, without the photo's noise."""
NOISE = 0.55
"""Variance that the photo's noise adds to that, by its square in [-1, 1] units: 3/4 for three channels, less what of
texture counts as noise."""
RARE_LINE, RARE_SPECK = 1.3, 5.0
"""So many times stronger than what is narrow around it."""
PART = 0.5
"""Of a line's strength, that its pixels have at least."""
SLENDER = 4
"""Square of a line's length by its area, at least."""


def find_ridges(image: Tensor, contrast: float, max_width: int, min_length: int) -> Tensor:
    """Lines of one colour each, brighter or darker than both their sides: (B, C, H, W) in [0, 1] -> (B, H, W), bool.

    contrast: in some channel, at least. max_width, min_length: in pixels, as for `find_lines`.
    """
    if min(image.shape[-2:]) < 3:
        return torch.zeros_like(image[:, 0], dtype=torch.bool)
    segments = bars(max(LEAST_SEGMENT, min_length // 2 | 1))
    mean, square = (along(values.flatten(0, 1)[:, None], segments) for values in (image, image**2))
    variance = (square - mean**2).clamp_min(0).unflatten(0, image.shape[:2]).sum(1)  # (B, directions, H, W)
    even = variance < (EVEN**2 + NOISE * estimate_sigma(image * 2 - 1) ** 2).view(-1, 1, 1, 1)
    found = torch.zeros_like(image[:, 0], dtype=torch.bool)
    for narrow in tophats(image, max_width + 1 + max_width % 2):
        line = torch.where(even, along(narrow[:, None], segments), 0).amax(1)
        certain = (line > contrast) & (line > RARE_LINE * around(narrow, 4 * max_width + 1))
        near = F.max_pool2d(certain.float(), 3, stride=1, padding=1) > 0
        marked = near & (narrow > PART * line.clamp_min(contrast))
        found |= slender_parts(marked, max_width, min_length)
    return found


def find_specks(image: Tensor, contrast: float, max_width: int) -> Tensor:
    """Small spots brighter or darker than all around them: (B, C, H, W) in [0, 1] -> (B, H, W), bool."""
    found = torch.zeros_like(image[:, 0], dtype=torch.bool)
    for narrow in tophats(image, max_width + 1 + max_width % 2):
        rare = narrow > RARE_SPECK * around(narrow, 8 * max_width + 1)
        found |= small_parts((narrow > contrast) & rare, 2 * max_width)
    return found


def tophats(image: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """How much darker, and how much brighter, than a square of its surroundings: two (B, H, W), of all channels."""
    dark, bright = (widest(-widest(sign * image, side), side) for sign in (1, -1))
    return (-dark - image).amax(1), (image - bright).amax(1)


def widest(image: Tensor, side: int) -> Tensor:
    """The largest value in the square around each pixel; the side is odd."""
    padded = F.pad(image, [side // 2] * 4, mode="replicate")
    return F.max_pool2d(F.max_pool2d(padded, (side, 1), stride=1), (1, side), stride=1)


def around(values: Tensor, side: int) -> Tensor:
    """The mean over the square around each pixel of (B, H, W), as far as it lies in the picture."""
    return F.avg_pool2d(values[:, None], side, stride=1, padding=side // 2, count_include_pad=False)[:, 0]


def bars(length: int) -> Tensor:
    """Segments in DIRECTIONS, one pixel wide, of this odd number of pixels and of sum 1: (n, 1, length, length)."""
    reach = length // 2
    steps = torch.arange(-reach, reach + 1)
    segments = torch.zeros(DIRECTIONS, 1, length, length)
    for i, segment in enumerate(segments):
        angle = torch.tensor(i * math.pi / DIRECTIONS)
        rows, columns = angle.sin(), angle.cos()
        longer = torch.maximum(rows.abs(), columns.abs())
        row, column = ((steps * part / longer).round().long() + reach for part in (rows, columns))
        segment[0, row, column] = 1
    return segments / length


def along(values: Tensor, segments: Tensor) -> Tensor:
    """The mean of (n, 1, H, W) along each segment around each pixel: (n, DIRECTIONS, H, W)."""
    reach = segments.shape[-1] // 2
    return F.conv2d(F.pad(values, [reach] * 4, mode="replicate"), segments.to(values))


def slender_parts(marked: Tensor, max_width: int, min_length: int) -> Tensor:
    """The connected parts (8 neighbours) of (B, H, W) that are long, and as thin as a line may be."""

    def slender(area: int, height: int, width: int) -> bool:
        length = math.hypot(height, width)
        thin = area <= (max_width + 1) * length and SLENDER * area <= length**2
        return max(height, width) >= min_length and thin

    return parts(marked, slender)


def small_parts(marked: Tensor, most: int) -> Tensor:
    """The connected parts (8 neighbours) of (B, H, W) that fit into a square of so many pixels."""
    return parts(marked, lambda area, height, width: max(height, width) <= most)


def parts(marked: Tensor, kept: Callable[[int, int, int], bool]) -> Tensor:
    """The connected parts of (B, H, W) that `kept` keeps, by area, height and width."""
    chosen = torch.zeros_like(marked)
    for i, frame in enumerate(marked.numpy()):
        labels, count = ndimage.label(frame, structure=torch.ones(3, 3).numpy())
        areas = ndimage.sum_labels(frame, labels, range(1, count + 1))
        boxes = [[s.stop - s.start for s in box] for box in ndimage.find_objects(labels)]
        keep = [False, *(kept(area, *box) for area, box in zip(areas, boxes, strict=True))]
        chosen[i] = torch.tensor(keep)[torch.from_numpy(labels).long()]
    return chosen
