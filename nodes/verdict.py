"""Whether a restored picture matches what was measured, in words."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..operators.discrepancy import ROUNDING
from ..operators.measurement import Measurement
from .types import pixels_from_image

GREY_LEVELS = 255
EXACT, MATCHES = 1e-6, 1.1
"""Of the noise, up to which a residual is none, and up to which it is the noise's."""


def verdict(measurement: Measurement, image: Tensor) -> str:
    """One clause on the residual of an IMAGE; over a batch, of the worst."""
    return worst([(measurement, image)])


def worst(pairs: Sequence[tuple[Measurement, Tensor]]) -> str:
    """One clause on the residual, of several measurements and their IMAGEs, that is the largest beside its noise."""
    residuals = [float(told.to().rms_residual(pixels_from_image(image)).max()) for told, image in pairs]
    noises = [max(told.sigma_y, ROUNDING) for told, _ in pairs]
    residual, noise = max(zip(residuals, noises, strict=True), key=lambda pair: pair[0] / pair[1])
    if residual <= EXACT:
        return "matches the photo exactly"
    if residual <= MATCHES * noise:
        return "matches the photo up to its noise"
    levels = GREY_LEVELS / 2
    return (
        f"does not match the photo: it is off by {residual * levels:.1f} of 255 grey levels, "
        f"{residual / noise:.1f} times the noise"
    )
