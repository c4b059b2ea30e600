"""Morozov's discrepancy principle: what was measured with noise is to be met up to that noise, and no closer."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from .measurement import Measurement
from .polling import poll

RANGE, ITERATIONS = (1e-4, 1e9), 20
"""Of the prox parameter t, halved in its logarithm: its last interval is 3e-5 of t."""
ROUNDING = 2 / 255 / math.sqrt(12)
"""Noise of an 8-bit picture, which most measurements have that are told to be free of noise."""


@torch.no_grad()
def fit_to_noise_level(measurement: Measurement, x: Tensor) -> Tensor:
    """The image nearest to x (B, C, H, W) whose residual ||y - A x|| is at most sigma_y sqrt(m), each for itself.

    An image that fits so well already is returned as it is. The nearest image is prox(x, y, t) for the right t, which
    is sought by bisection. sigma_y 0 is taken at its word where y may be exact, else as ROUNDING. The operator must be
    linear.
    """
    operator, y = measurement.operator.given(x, measurement.y)
    measurement = replace(measurement, operator=operator, y=y)
    fitted, noisy = _fit(measurement, x), (measurement.sigmas > 0).view(-1, 1, 1, 1)
    if noisy.all():
        return fitted
    exact = _prox(measurement, x, torch.full((len(x), 1, 1, 1), math.log(RANGE[1])).to(x))
    surely = ~noisy & (_rms(exact - x) <= 2 * (_rms(fitted - x) + ROUNDING))
    return torch.where(surely, exact, fitted)


def _fit(measurement: Measurement, x: Tensor) -> Tensor:
    low, high = (torch.full((len(x), 1, 1, 1), math.log(t), dtype=x.dtype, device=x.device) for t in RANGE)
    fits = _fits(measurement, x)
    if fits.all():
        return x
    for _ in range(ITERATIONS):
        poll()
        middle = (low + high) / 2
        closer = _fits(measurement, _prox(measurement, x, middle))
        low, high = torch.where(closer, low, middle), torch.where(closer, middle, high)
    return torch.where(fits, x, _prox(measurement, x, high))


def _rms(x: Tensor) -> Tensor:
    return x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def _prox(measurement: Measurement, x: Tensor, log_t: Tensor) -> Tensor:
    return measurement.operator.prox(x, measurement.y, log_t.exp())


def _fits(measurement: Measurement, x: Tensor) -> Tensor:
    """(B, 1, 1, 1): whether the residual is down to the noise."""
    return (measurement.rms_residual(x) <= measurement.sigmas.clamp_min(ROUNDING)).view(-1, 1, 1, 1)
