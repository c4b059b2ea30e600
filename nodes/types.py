"""The pack's socket types, and the one place where ComfyUI's images become the operators' pixels and back."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from comfy_api.latest import io
from torch import Tensor

from .. import operators

CATEGORY = "inverse problems"
BURNT = 0.99
MAX_SEED = 0xFFFFFFFFFFFFFFFF
GREY_LEVELS = 255
"""Of an 8-bit picture: what noise is told in."""

Operator = io.Custom("PSLD_OPERATOR")
"""A function of the image shape (C, H, W) that gives a LinearOperator: `partial(GaussianBlur, sigma=3.0)`."""

MeasurementIO = io.Custom("PSLD_MEASUREMENT")
"""operators.measurement.Measurement"""

ReportIO = io.Custom("PSLD_REPORT")
"""runtime.report.Report"""

FitIO = io.Custom("PSLD_FIT")
"""operators.fit.Fit"""


def seed_input(tooltip: str) -> io.Input:
    """A seed, which the frontend keeps or changes after each run."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def pixels_from_image(image: Tensor, name: str = "image", dtype: torch.dtype = torch.float32) -> Tensor:
    """IMAGE, BHWC in [0, 1] -> BCHW in [-1, 1], in memory of its own.

    In float64 `image_from_pixels` gives the image back to the bit; float32 cannot hold 2 v - 1 for a dark v.
    Raises ValueError, naming the input, for an alpha channel, NaN, or another number of channels than 1 or 3.
    """
    check_image(image, name)
    return image.movedim(-1, 1).to(dtype, copy=True) * 2 - 1


def check_image(image: Tensor, name: str = "image") -> None:
    """Raises ValueError, naming the input, for what is no grey or RGB picture of finite numbers."""
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


def warn_of_white(image: Tensor) -> None:
    """Logs that a photo is all but white: what older versions of ComfyUI make of a 16-bit grey file."""
    share = float((image >= 1).all(-1).float().mean())
    if share > BURNT:
        logging.warning(
            "image: %.1f %% of it is pure white. ComfyUI's Load Image clips 16-bit grey files to white; if this was "
            "one, save it with 8 bits, or as 16-bit RGB.",
            100 * share,
        )


def size_of(image: Tensor) -> str:
    """Width, height and batch of an IMAGE, for messages."""
    batch = f" in a batch of {len(image)}" if len(image) > 1 else ""
    return f"{image.shape[2]} x {image.shape[1]} pixels{batch}"


def image_from_pixels(pixels: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """BCHW in [-1, 1] -> IMAGE, BHWC in [0, 1] (clamped; to other bounds where given), float32 on the CPU.

    Grey becomes RGB, which Save Image needs.
    """
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    precise = pixels.cpu() if pixels.dtype == torch.float64 else pixels.float().cpu()
    return ((precise + 1) / 2).float().clamp(low, high).movedim(1, -1).contiguous()


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Values of a combo that come over the API are not checked by the server."""
    if value not in choices:
        raise ValueError(f"{name}: {value!r} is not one of {', '.join(choices)}; choose one of these.")


def linear(operator: operators.Operator, name: str = "operator") -> operators.LinearOperator:
    """The operator itself. ValueError, naming the input, where it is not linear."""
    if not operator.linear:
        raise ValueError(
            f"{name}: {operators.nonlinear_part(operator)} is not linear, so it has no adjoint and no pseudo-inverse; "
            "connect a linear operator."
        )
    return operator
