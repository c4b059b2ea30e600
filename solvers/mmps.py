"""Moment matching posterior sampling, Rozet et al. 2024 (arXiv 2405.13712), with H = A D.

    p(z0 | z_t)       is matched by N(z0_hat, V),  V = sigma^2 * d z0_hat / d z_t            second-order Tweedie
    E[z0 | z_t, y]  = z0_hat + V J^T (sigma_y^2 I + J V J^T)^-1 (y - A D(z0_hat))            J: Jacobian of A D

The system is solved by a few conjugate gradients on products with V and J; V is symmetric, so its products are
back-propagations through the denoiser. The estimate takes the place of z0_hat in the DDIM step.

A learned denoiser's V is no covariance, neither symmetric nor positive. Where it is all but singular along a gradient,
at high noise, one iteration once led a hundred standard deviations away, never to return. So no estimate may be
further from z0_hat than two standard deviations of z0 given z_t, for a normal latent: a standard one, or as large as
z0_hat where that is larger.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .data import noise_std
from .latent import Callback, LatentModel, Step, ddim_step, noise_levels, per_sample, rms
from .linearised import Linearised, posterior_shift

SMALLEST_SIGNAL = 1e-3
FURTHEST = 2.0


def mmps(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    iterations: int = 1,
    callback: Callback | None = None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1].

    iterations: of conjugate gradients; each costs a back-propagation through U-Net and decoder and a decoding.
    """
    for i, sigma, sigma_next in noise_levels(sigmas):
        z = z.detach().requires_grad_()
        z0_hat = model.denoise(z, sigma)
        factor = sigma**2 / model.signal(sigma).clamp(min=SMALLEST_SIGNAL)  # pure noise (flow models) tells nothing

        def covariance(v: Tensor, z: Tensor = z, z0_hat: Tensor = z0_hat, factor: Tensor = factor) -> Tensor:
            return factor * torch.autograd.grad(z0_hat, z, v, retain_graph=True)[0]

        h = Linearised(model, measurement, z0_hat)
        move = posterior_shift(h, covariance, noise_std(measurement), iterations)
        z0 = z0_hat.detach() + shortened(move, FURTHEST * model.spread(sigma) * rms(z0_hat.detach()).clamp(min=1))
        z = ddim_step(z.detach(), z0, sigma, sigma_next)
        if callback is not None:
            callback(Step(i, sigma, z, z0_hat.detach(), h.x0))
    return z


def shortened(u: Tensor, longest: Tensor) -> Tensor:
    """u (B, ...) with each sample's root mean square brought down to `longest` (B,) where it is above."""
    return u * per_sample(longest / torch.maximum(rms(u), longest), u)
