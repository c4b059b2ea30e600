"""Finds the scratches and dead lines of a photo, near-black, near-white or of any tone, thin and long; and its dust."""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from .masks import check_choice
from .ridges import find_ridges, find_specks

ANY, DUST = "any", "dust"
TONES = ("dark", "bright", "both", ANY, DUST)
DENSE = 0.8  # of a square twice as wide as a line; two crossing lines fill 3/4 of it
FULL = 0.95  # of a row or column
ROUNDS = 200  # enough for gaps of some 15 pixels
HALF = 1e-3  # rounding of half precision, a quarter of an 8-bit level


def find_lines(
    image: Tensor,
    tone: str = "both",
    threshold: float = 0.08,
    max_width: int = 6,
    min_length: int = 20,
    grow: int = 1,
) -> Tensor:
    """Mask (B, H, W) of the lines in (B, C, H, W) images in [0, 1]; True = line.

    tone: "dark" (all channels at most `threshold`), "bright" (all at least 1 - threshold), "both", "any" (these, and
        lines of one colour that differ by `threshold` from both their sides), or "dust": no lines, but small spots that
        differ so from all around them.
    max_width: the lines' width in pixels. Areas more than twice as wide are never lines; in between it depends on
        their direction.
    min_length: pixels along the longer side of a line's bounding box; shorter specks are left out.
    grow: pixels by which the mask is widened, over the blurred edges of the lines.

    A row or column that is marked over nearly its whole length is a line throughout, also across dark or bright areas.
    """
    check_choice("tone", tone, TONES)
    if tone == DUST:
        return dilate(find_specks(image, threshold, max_width), grow)
    dark = image.amax(1) <= threshold + HALF
    bright = image.amin(1) >= 1 - threshold - HALF
    chosen = {"dark": [dark], "bright": [bright]}.get(tone, [dark, bright])
    found = find_ridges(image, threshold, max_width, min_length) if tone == ANY else torch.zeros_like(dark)
    for marked in chosen:
        parts = long_parts(marked & ~wide_areas(marked, max_width), min_length)
        found |= stripes(marked, max_width) | (dilate(parts, max_width) & marked)  # crossings count as wide areas
    return dilate(found, grow)


def bridged(image: Tensor, mask: Tensor) -> Tensor:
    """(B, C, H, W), what a mask (B, H, W) marks filled as smoothly as can be: each pixel the mean of its neighbours."""
    hidden = mask[:, None]
    level = (image * ~hidden).sum((2, 3), keepdim=True) / (~hidden).sum((2, 3), keepdim=True).clamp_min(1)
    image = torch.where(hidden, level, image)
    for _ in range(ROUNDS):
        rows, columns = F.pad(image, (0, 0, 1, 1), mode="replicate"), F.pad(image, (1, 1, 0, 0), mode="replicate")
        around = (rows[..., :-2, :] + rows[..., 2:, :] + columns[..., :-2] + columns[..., 2:]) / 4
        image = torch.where(hidden, around, image)
    return image


def stripes(marked: Tensor, max_width: int) -> Tensor:
    """Whole rows and columns of (B, H, W) that are marked nearly everywhere, side by side at most `max_width` deep."""
    full = torch.zeros_like(marked)
    for axis in (-1, -2):
        lines = marked.float().mean(axis) >= FULL
        for i, row in enumerate(lines.numpy()):
            labels, count = ndimage.label(row)
            widths = ndimage.sum_labels(row, labels, range(1, count + 1))
            narrow = torch.tensor([False, *(widths <= max_width)])[torch.from_numpy(labels).long()]
            full[i] |= narrow.unsqueeze(axis)
    return full


def wide_areas(marked: Tensor, max_width: int) -> Tensor:
    """The squares, twice as wide as a line may be, that are marked nearly everywhere: (B, H, W) -> (B, H, W).

    An opening that forgives some noise, grown by one pixel to take the area's edge along.
    """
    side = [min(2 * max_width, n) for n in marked.shape[-2:]]
    density = F.avg_pool2d(marked.float().unsqueeze(1), side, stride=1)
    centres = F.pad((density >= DENSE).float(), (side[1] - 1, side[1] - 1, side[0] - 1, side[0] - 1))
    squares = F.max_pool2d(F.max_pool2d(centres, (side[0], 1), stride=1), (1, side[1]), stride=1)
    return dilate(squares.squeeze(1) > 0, 1)


def long_parts(marked: Tensor, min_length: int) -> Tensor:
    """The connected parts (8 neighbours) of (B, H, W) whose bounding box is at least `min_length` long."""
    kept = torch.zeros_like(marked)
    for i, frame in enumerate(marked.numpy()):
        labels, _ = ndimage.label(frame, structure=torch.ones(3, 3).numpy())
        long = [max(s.stop - s.start for s in box) >= min_length for box in ndimage.find_objects(labels)]
        kept[i] = torch.tensor([False, *long])[torch.from_numpy(labels).long()]
    return kept


def dilate(mask: Tensor, radius: int) -> Tensor:
    """(B, H, W) grown by `radius` pixels to every side."""
    if radius == 0:
        return mask
    return F.max_pool2d(mask.float().unsqueeze(1), 2 * radius + 1, stride=1, padding=radius).squeeze(1) > 0
