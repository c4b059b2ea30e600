"""What is suspicious of a measurement though not wrong, in sentences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..operators import BayerMosaic, Operator, estimate_sigma
from ..operators.discrepancy import ROUNDING
from .types import GREY_LEVELS

OFF = 4.0
"""Times, by which a given noise level and the estimate may differ: fine texture counts as noise."""
HOLE = 16
"""Side of a square of exactly one colour that is taken for a hole, in pixels."""
PLAIN = 4.0
"""Grey levels of 255 by which the four pixels of a mosaic differ at least, on average."""


def suspicions(photo: Tensor, A: Operator, sigma: float) -> list[str]:
    """Of a degraded photo (B, C, H, W) in [-1, 1], the operator that is believed to have made it, and its noise."""
    if not A.linear or photo.shape[-2:] != A.measurement_shape[-2:]:
        return []
    known = A.restrict(torch.ones(A.measurement_shape).expand(A.images, *A.measurement_shape)) > 0
    said = [wrong_noise(photo, known, sigma)]
    if isinstance(A, BayerMosaic):
        said.append(no_mosaic(photo))
    elif known.all():
        said.append(hole(photo))
    return [note for note in said if note]


def wrong_noise(photo: Tensor, known: Tensor, sigma: float) -> str:
    """Where the noise that is told is far from the one that is seen."""
    if len(photo) > 1 or sigma <= 0 or known.shape[1:] != photo.shape[1:]:
        return ""
    try:
        seen = max(float(estimate_sigma(photo, known)), ROUNDING)
    except ValueError:
        return ""
    if sigma / OFF <= seen <= sigma * OFF:
        return ""
    much = "more" if seen < sigma else "less"
    return (
        f"The noise is said to be {sigma * GREY_LEVELS / 2:.1f} of 255 grey levels, which is far {much} than the "
        f"{seen * GREY_LEVELS / 2:.1f} that the photo shows."
    )


def hole(photo: Tensor) -> str:
    """Where the photo has an area of exactly one colour."""
    side = min(HOLE, *(n // 2 for n in photo.shape[-2:]))
    if side < 4:
        return ""
    same = F.max_pool2d(photo, side, stride=1) + F.max_pool2d(-photo, side, stride=1)
    if not (same.abs().amax(1) == 0).any():
        return ""
    return (
        f"A part of the photo, {side} pixels wide or more, is of exactly one colour, as a hole is: what should be "
        "filled must be marked by a mask."
    )


def no_mosaic(photo: Tensor) -> str:
    """Where a picture for a Bayer mosaic shows all colours at every pixel, or the same grey."""
    dark = (photo <= photo.amin((1, 2, 3), keepdim=True)).float().mean()
    if photo.shape[1] == 3 and float((photo - photo.mean(1, keepdim=True)).abs().mean()) > PLAIN / GREY_LEVELS / 2:
        return "" if dark > 0.5 else "The picture has all three colours at every pixel: it is no Bayer mosaic."
    phases = F.pixel_unshuffle(
        photo.mean(1, keepdim=True)[..., : photo.shape[-2] // 2 * 2, : photo.shape[-1] // 2 * 2], 2
    )
    size = min(4, *phases.shape[-2:])
    spread = F.avg_pool2d(phases, size).std(1).mean() * GREY_LEVELS / 2
    return (
        "" if spread > PLAIN else "Neighbouring pixels are alike, as those of a Bayer mosaic are only in grey places."
    )
