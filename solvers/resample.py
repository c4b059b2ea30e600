"""ReSample: hard data consistency and stochastic resampling, Song et al. 2024 (arXiv 2307.08123, algorithm 1).

    z'     = ddim(z_t)
    z0(y)  = argmin || y - A D(z0) ||^2 from z0_hat, down to the noise level              hard data consistency
    z      ~ N( w z0(y) + (1 - w) z', w sigma_next^2 ),   w = k / (1 + k),   k = strength * (sigma^2 - sigma_next^2)

which is their proposition 1 in the sigma form. As in the authors' code the first third of the steps goes without, the
second third minimises over pixels and encodes, and the last minimises over latents. Gradients run through the decoder
alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .data import excess
from .latent import Callback, LatentModel, NoiseSource, Step, ddim_step, diffuse, noise_levels, norms, per_sample


@torch.no_grad()
def resample(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    strength: float = 40.0,
    pixel_iterations: int = 200,
    latent_iterations: int = 20,
    callback: Callback | None = None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1].

    strength: the paper's gamma; more takes more of z0(y), less keeps to the trajectory.
    pixel_iterations, latent_iterations: at most so many of the optimiser at each noise level.
    """
    noise = NoiseSource(z)
    steps = len(sigmas) - 1
    for i, sigma, sigma_next in noise_levels(sigmas):
        z0_hat = model.denoise(z, sigma)
        x0_hat = model.decode(z0_hat)
        ddim = ddim_step(z, z0_hat, sigma, sigma_next)
        if i < steps // 3:
            z = ddim
        else:
            if i < 2 * steps // 3:
                z0 = model.encode(fit(measurement, x0_hat, lambda x: x, pixel_iterations, rate=1e-2))
            else:
                z0 = fit(measurement, z0_hat, model.decode, latent_iterations, rate=2e-2)
            w = resampling_weight(model, sigma, sigma_next, strength)
            z = (1 - w) * ddim + diffuse(model, w * z0, w.sqrt() * noise.like(z), sigma_next)
        if callback is not None:
            callback(Step(i, sigma, z, z0_hat, x0_hat))
    return z


def resampling_weight(model: LatentModel, sigma: Tensor, sigma_next: Tensor, strength: float) -> Tensor:
    """Share of the measurement-consistent latent; all of it at the end."""
    if sigma_next == 0:
        return torch.ones_like(sigma)
    variance = (sigma / model.signal(sigma)) ** 2 - (sigma_next / model.signal(sigma_next)) ** 2
    return 1 - 1 / (1 + strength * variance)


def fit(measurement: Measurement, start: Tensor, decode: Callable[[Tensor], Tensor], limit: int, rate: float) -> Tensor:
    """argmin_v || y - A decode(v) ||^2 by Adam; each sample (B, ...) stops at the noise level."""
    v = start.clone().requires_grad_()
    adam = torch.optim.Adam([v], lr=rate)
    for _ in range(limit):
        with torch.enable_grad():
            residual = measurement.residual(decode(v))
            (v.grad,) = torch.autograd.grad(norms(residual).square().sum(), v)
        unfinished = per_sample(excess(residual.detach(), measurement) > 0, v)
        if not unfinished.any():
            break
        before = v.detach().clone()
        adam.step()
        v.copy_(torch.where(unfinished, v, before))
    return v.detach()
