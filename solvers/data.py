"""What solvers know of a measurement beyond its residual: how far to trust it, and where to start from."""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .latent import LatentModel, norms

SIGMA_FLOOR = 1e-3
"""Below the rounding of 8-bit images (2 / 255 / sqrt(12) = 2e-3) a closer fit gains nothing and costs conditioning."""

CONCENTRATED = 1.5
"""How much further z0_hat may be off in what is measured than a latent's spread says, where the denoiser is all but
sure: pictures differ along few directions of the latent and by more in each, and few conjugate gradients stop short."""


def noise_std(measurement: Measurement) -> Tensor:
    """sigma_y for quotients, (B,), above zero also where the measurement is free of noise."""
    return measurement.sigmas.clamp_min(SIGMA_FLOOR)


def effective_std(measurement: Measurement) -> Tensor:
    """What y is off from the best picture that can be drawn: its noise and the floor, (B,)."""
    noise = noise_std(measurement)
    return noise if measurement.floor is None else torch.hypot(noise, measurement.floor)


def missed(measurement: Measurement, residual: Tensor) -> Tensor:
    """The floor (B,) that the residual (B, *measurement_shape) of the best picture says: what noise does not explain.

    The picture follows y, noise and floor, where it is free to. So this is less than all that a decoder misses of a
    photo, and least where A averages pixels: there it shows little of what a decoder misses, and z0 can fit that too.
    """
    squared = norms(residual).square() / measurement.count
    return torch.relu(squared - measurement.sigmas**2).sqrt()


def noise_cutoff(measurement: Measurement) -> Tensor:
    """Relative singular value below which a measured component drowns in noise and is left to the prior.

    (B, 1, 1, 1), as `pinv` takes it.
    """
    return (2 * measurement.sigmas).clamp_min(1e-3).view(-1, 1, 1, 1)


def reach(model: LatentModel, sigma: Tensor, c: float, unsure: Tensor) -> Tensor:
    """How far z0_hat may be from z0 in what is measured, times c: (B,), in latents.

    The spread of z0 given z of a denoiser that is sure of nothing, for which that is exact; more the surer it is
    (`certainty.py`), as what it is not sure of then lies in few directions.
    """
    return c * model.spread(sigma) * CONCENTRATED ** (1 - unsure)


def trust(measurement: Measurement, r: Tensor) -> Tensor:
    """How far to trust y against what may be off by r, (B,): the variance of that by that of what y is off, (B,)."""
    return (r / effective_std(measurement)) ** 2


def excess(residual: Tensor, measurement: Measurement) -> Tensor:
    """By how much the norm of each sample's residual is above the noise level, shape (B,)."""
    return torch.relu(norms(residual) - measurement.noise_level)


def pinv_image(measurement: Measurement) -> Tensor:
    """A^+ y without the components that drown in noise, in [-1, 1]."""
    return measurement.operator.pinv(measurement.y, rcond=noise_cutoff(measurement)).clamp(-1, 1)


def start_at_pinv(model: LatentModel, measurement: Measurement, z: Tensor, sigma: Tensor) -> Tensor:
    """Noise z at level sigma -> E(A^+ y) under that noise; z itself where A is not linear and has no A^+."""
    if not measurement.operator.proximal:
        return z
    return z + model.signal(sigma) * model.encode(pinv_image(measurement))
