"""Whether a restored picture matches what was measured, in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from ..operators.discrepancy import ROUNDING
from ..operators.measurement import Measurement
from .types import GREY_LEVELS, pixels_from_image

FAR = 0.12
"""Root mean square beyond the noise, in [-1, 1] pixel units."""
EXACT, MATCHES = 1e-6, 1.1
"""Of the noise, up to which a residual is none, and up to which it is the noise's."""


def doubts(measurement: Measurement, residuals: Sequence[tuple[float, float]]) -> str:
    """A note where the model by itself came nowhere near the measurement, before known values were put back; or none.

    Photos of what a prior knows come within 0.04 beyond the noise, others of the embedded one's not within 0.1; weak
    autoencoders of Stable Diffusion miss 0.1 on textures alone. A flat photo is not known where its mean colour alone
    would come nearer.
    """
    off = residuals[-1][1] if residuals else 0.0
    if off**2 <= measurement.overall_sigma**2 + min(FAR, contrast(measurement)) ** 2:
        return ""
    return (
        f"By itself the model came only within {off * GREY_LEVELS / 2:.0f} of 255 grey levels of the photo: either it "
        "does not know what the photo shows, or the problem or its strength is another one."
    )


def contrast(measurement: Measurement) -> float:
    """Standard deviation of what was measured."""
    y = measurement.y
    return float(y[measurement.operator.restrict(torch.ones_like(y)) > 0].std())


def verdict(measurement: Measurement, image: Tensor) -> str:
    """One clause on the residual of an IMAGE; over a batch, of the worst."""
    return worst([(measurement, image)])


def farthest(pairs: Sequence[tuple[Measurement, Tensor]]) -> tuple[float, float]:
    """Of several measurements and their IMAGEs, the residual that is the largest beside its noise, and that noise."""
    residuals = [told.to().rms_residual(pixels_from_image(image)).tolist() for told, image in pairs]
    noises = [told.to().sigmas.expand(len(image)).clamp_min(ROUNDING).tolist() for told, image in pairs]
    return max(zip(chain(*residuals), chain(*noises), strict=True), key=lambda pair: pair[0] / pair[1])


def worst(pairs: Sequence[tuple[Measurement, Tensor]]) -> str:
    """One clause on the residual, of several measurements and their IMAGEs, that is the largest beside its noise."""
    residual, noise = farthest(pairs)
    if residual <= EXACT:
        return "matches the photo exactly"
    if residual <= MATCHES * noise:
        return "matches the photo up to its noise"
    levels = GREY_LEVELS / 2
    return (
        f"does not match the photo: it is off by {residual * levels:.1f} of 255 grey levels, "
        f"{residual / noise:.1f} times the noise"
    )
