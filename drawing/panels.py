"""Pictures of one operator: the photo x, its measurement A x, the adjoint A^T y and the pseudo-inverse A^+ y."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

if TYPE_CHECKING:
    from ..operators import Operator

SCALE, GAP, CAPTION = 2, 8, 22  # screen pixels for each of the photo's, between panels, and under them
INK, PALE, PAPER, EMPTY = "#1f2328", "#656d76", "#ffffff", "#eaeef2"
COLOURS = 256  # of a picture's palette: a third of the bytes, and refined, hardly to be told from all colours
RCOND = 0.01


def strip(x: Tensor, y: Tensor, operator: Operator, noisy: bool) -> Image.Image:
    """The panels side by side, captioned; x is (1, 3, H, W) and y (1, *measurement_shape), in [-1, 1]."""
    measured = "A x + noise" if noisy else "A x"
    panels = [("x", picture(x)), (f"{measured}: {size(operator)}", measurement(y, operator))]
    if operator.linear:
        adjoint = operator.adjoint(y)
        panels.append(("A^T y", picture(adjoint / adjoint.abs().quantile(0.99))))
        panels.append(("A^+ y", picture(operator.pinv(y, rcond=RCOND))))
    else:
        panels += [("A^T y", None), ("A^+ y", None)]
    height, width = (SCALE * n for n in x.shape[-2:])
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + CAPTION), PAPER)
    draw = ImageDraw.Draw(sheet)
    for left, (caption, panel) in zip(range(0, sheet.width, width + GAP), panels, strict=True):
        if panel is None:
            draw.rectangle((left, 0, left + width - 1, height - 1), EMPTY)
            draw.text((left + width // 2, height // 2), "not linear: none", PALE, font(), anchor="mm")
        else:
            sheet.paste(fitted(panel, width, height), (left, 0))
        draw.text((left + width // 2, height + CAPTION // 2), caption, INK, font(), anchor="mm")
    return sheet.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)


def picture(pixels: Tensor) -> Image.Image:
    """(1, 1 or 3, H, W) in [-1, 1], clipped."""
    rgb = (pixels[0].expand(3, -1, -1).clamp(-1, 1) + 1) * 127.5
    return Image.fromarray(rgb.round().byte().movedim(0, -1).contiguous().numpy())


def measurement(y: Tensor, operator: Operator) -> Image.Image:
    """y as a picture where it is one, otherwise its numbers in a square or, of a stack, its parts from the left."""
    if hasattr(operator, "split"):
        return beside([measurement(part, A) for part, A in zip(operator.split(y), operator.parts, strict=True)])
    if type(operator).__name__ == "PhaseRetrieval":
        return picture(stretched((y + 1e-3).log()))
    return picture(y if y.ndim == 4 else stretched(square(y)))


def stretched(y: Tensor) -> Tensor:
    """y moved and scaled to fill [-1, 1], a few outliers clipped."""
    low, high = y.quantile(0.01), y.quantile(0.99)
    return ((y - low) / (high - low) * 2 - 1).clamp(-1, 1)


def square(y: Tensor) -> Tensor:
    """(1, C, m) numbers in rows of a near square, channel by channel; the last row is filled up."""
    columns = math.ceil(math.sqrt(y.shape[-1]))
    missing = -y.shape[-1] % columns
    return torch.nn.functional.pad(y, (0, missing)).unflatten(-1, (-1, columns))


def beside(panels: list[Image.Image]) -> Image.Image:
    """Pictures of any size from left to right, at the scale of their pixels."""
    width, height = sum(p.width + 2 for p in panels) - 2, max(p.height for p in panels)
    sheet, left = Image.new("RGB", (width, height), PAPER), 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width + 2
    return sheet


def fitted(panel: Image.Image, width: int, height: int) -> Image.Image:
    """The panel centred in a box, enlarged so that pixels stay pixels where it fits, and made smaller where not."""
    factor = min(width / panel.width, height / panel.height)
    resample = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX
    panel = panel.resize((round(factor * panel.width), round(factor * panel.height)), resample)
    box = Image.new("RGB", (width, height), PAPER)
    box.paste(panel, ((width - panel.width) // 2, (height - panel.height) // 2))
    return box


def size(operator: Operator) -> str:
    """What a measurement is made of."""
    shape = operator.measurement_shape
    return f"{shape[2]} x {shape[1]}" if len(shape) == 3 else f"{math.prod(shape):,} numbers"


def font() -> ImageFont.FreeTypeFont:
    """Pillow's own font, the same on every machine."""
    return ImageFont.load_default(14)
