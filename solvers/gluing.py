"""The gluing move: from a latent towards the code of its image with what was measured put in.

    x' = argmin_x  || A x - y ||^2 / sigma_y^2 + || x - x0 ||^2 / r_x^2          closed form for most operators
    v  = E(x') - E(x0)                                                          the VAE's own error cancels

r is a length of latents and r_x one of pixels. With y its noise comes into x', by up to r_x / 2 along each singular
vector of A, and an encoder may answer noise by far more than pictures: one of 32 whitened channels by ten times its
strength. So r_x is r by what E makes of noise: then the code of x' holds about r / 2 of it at most, no more than the
noise of the next level hides, and the denoiser can tell it from a picture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .data import noise_std, pinv_image, trust
from .latent import LatentModel, per_sample, rms

AUDIBLE = 0.02
"""Noise, in pixels, that an encoder in half precision does not round away."""
RANGE = 2.0
"""Of pixels: what an encoder may at most be deaf to."""


class Gluing:
    """The gluing moves of a run for B images; none where A has no x' of its own (it is neither linear nor proximal)."""

    def __init__(self, model: LatentModel, measurement: Measurement) -> None:
        self.encode, self.possible = model.guide.encode, measurement.operator.proximal
        self.pixels = pixels_per_code(self.encode, measurement) if self.possible else None

    def move(self, measurement: Measurement, x0: Tensor, r: Tensor) -> Tensor | None:
        """E(x') - E(x0) for the image x' next to x0 (n B, C, H, W) that fits y; (n B, c, h, w) or None.

        x' is no further outside [-1, 1] than x0: no encoder has seen the overshoot of an inverse.
        r: (n B,), how far x0's latent may be off.
        """
        if not self.possible:
            return None
        t = trust(measurement, r * self.pixels.repeat(len(x0) // len(self.pixels)))
        glued = measurement.operator.prox(x0, measurement.y, per_sample(t, x0))
        return self.encode(glued.clamp(x0.clamp_max(-1), x0.clamp_min(1))) - self.encode(x0)


def pixels_per_code(encode: Callable[[Tensor], Tensor], measurement: Measurement) -> Tensor:
    """How much noise in an image moves its code by 1, (B,), both root mean squares: on A^+ y, under noise as y's."""
    x = pinv_image(measurement)
    noise = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(0)).to(x)
    noise = per_sample(noise_std(measurement).clamp_min(AUDIBLE), x) * noise
    return (rms(noise) / rms(encode(x + noise) - encode(x))).clamp_max(RANGE)
