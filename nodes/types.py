"""The pack's socket types, and the one place where ComfyUI's images become the operators' pixels and back."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

CATEGORY = "inverse problems"

Operator = io.Custom("PSLD_OPERATOR")
"""A function of the image shape (C, H, W) that gives a LinearOperator: `partial(GaussianBlur, sigma=3.0)`."""

MeasurementIO = io.Custom("PSLD_MEASUREMENT")
"""operators.measurement.Measurement"""

ReportIO = io.Custom("PSLD_REPORT")
"""runtime.sampler.Report"""


def pixels_from_image(image: Tensor, name: str = "image") -> Tensor:
    """IMAGE, BHWC in [0, 1] -> BCHW in [-1, 1], float32, in memory of its own.

    Raises ValueError, naming the input, for an alpha channel, NaN, or another number of channels than 1 or 3.
    """
    if image.ndim != 4:
        raise ValueError(
            f"{name}: its shape is {tuple(image.shape)}; connect an IMAGE (batch, height, width, channel)."
        )
    channels = image.shape[-1]
    if channels == 4:
        raise ValueError(
            f"{name}: it has 4 channels, the last one alpha; take the alpha out with 'Split Image with Alpha' and use "
            "it as the mask of an Inpaint Mask operator."
        )
    if channels not in (1, 3):
        raise ValueError(f"{name}: it has {channels} channels; connect a grey (1) or RGB (3) image.")
    if not torch.isfinite(image).all():
        raise ValueError(f"{name}: it contains NaN or infinite values; check the node that made it.")
    return image.movedim(-1, 1).to(torch.float32, copy=True) * 2 - 1


def image_from_pixels(pixels: Tensor) -> Tensor:
    """BCHW in [-1, 1] -> IMAGE, BHWC in [0, 1], clamped, float32 on the CPU."""
    return ((pixels.float().cpu() + 1) / 2).clamp(0, 1).movedim(1, -1).contiguous()
