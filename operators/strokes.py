"""Masks drawn with a pen: RePaint's thin and thick strokes, and the scratches of an old photo."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from .base import Shape
from .masks import InpaintMask, check_choice

# Pixels of a 512 pixel image, after the generator of LaMa (github advimman/lama), which drew RePaint's masks.
STROKES = {
    "thin": {"strokes": (10, 40), "length": (10, 50), "width": (5, 15)},
    "medium": {"strokes": (4, 10), "length": (30, 110), "width": (15, 50)},
    "thick": {"strokes": (2, 5), "length": (60, 210), "width": (40, 100)},
}


class InpaintStrokes(InpaintMask):
    """Hides zigzag brush strokes; style "thin", "medium" or "thick", scaled with the image, drawn by `seed`."""

    def __init__(self, image_shape: Shape, style: str = "thin", seed: int = 0) -> None:
        check_choice("style", style, STROKES)
        ranges = STROKES[style]
        generator = torch.Generator().manual_seed(seed)
        height, width = image_shape[-2:]
        scale = min(height, width) / 512
        hidden = torch.zeros(height, width, dtype=torch.bool)
        for _ in range(int(uniform(generator, *ranges["strokes"]))):
            point = torch.tensor([uniform(generator, 0, height), uniform(generator, 0, width)])
            for turn in range(int(uniform(generator, 1, 6))):
                angle = torch.tensor(uniform(generator, 0, 4) * (1 if turn % 2 else -1))
                step = scale * uniform(generator, *ranges["length"]) * torch.stack((angle.cos(), angle.sin()))
                end = torch.minimum((point + step).clamp_min(0), torch.tensor([height - 1.0, width - 1.0]))
                draw_segment(hidden, point, end, scale * uniform(generator, *ranges["width"]))
                point = end
        super().__init__(image_shape, ~hidden)


class InpaintScratches(InpaintMask):
    """Hides `count` scratches, `width` pixels wide: nearly vertical lines that waver, drawn by `seed`."""

    def __init__(self, image_shape: Shape, count: int = 8, width: float = 2.0, seed: int = 0) -> None:
        if count < 1 or not width > 0:
            raise ValueError(f"Scratches need a count and a width above zero, but have {count} and {width}.")
        generator = torch.Generator().manual_seed(seed)
        height, columns = image_shape[-2:]
        hidden = torch.zeros(height, columns, dtype=torch.bool)
        for _ in range(count):
            top, bottom = sorted(uniform(generator, -0.3, 1.3) * height for _ in range(2))
            knots = max(2, round((bottom - top) / max(height / 12, 1)))
            rows = torch.linspace(top, bottom, knots)
            waver = 0.01 * columns * torch.randn(knots, generator=generator).cumsum(0)
            points = torch.stack((rows, uniform(generator, 0, columns) + waver), 1)
            for start, end in zip(points[:-1], points[1:], strict=True):
                draw_segment(hidden, start, end, width)
        super().__init__(image_shape, ~hidden)


def uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def draw_segment(canvas: Tensor, start: Tensor, end: Tensor, width: float) -> None:
    """Sets the pixels of `canvas` (H, W) within width / 2 of the segment between two points (row, column)."""
    low = (torch.minimum(start, end) - width / 2).floor().clamp_min(0).int().tolist()
    high = (torch.maximum(start, end) + width / 2 + 2).int().clamp_min(0).tolist()
    window = canvas[low[0] : high[0], low[1] : high[1]]
    rows = torch.arange(window.shape[0])[:, None] + low[0] - start[0]
    columns = torch.arange(window.shape[1]) + low[1] - start[1]
    direction = end - start
    along = ((rows * direction[0] + columns * direction[1]) / direction.square().sum().clamp_min(1e-6)).clamp(0, 1)
    distance = (rows - along * direction[0]) ** 2 + (columns - along * direction[1]) ** 2
    window |= distance <= width**2 / 4
