"""LMAP-RPS: the most likely latent, Zhang, Liu, Yan, Xiao and Gu 2026 (arXiv 2605.28711).

    z0 = argmin_z  || y - A D(z) ||^2 / (2 sigma_eff^2) - log p_sigma(z)           by Adam from E(A^+ y)

The gradient of log p at a low noise level is -E[eps_hat(z + sigma n)] / sigma; each step takes it from one pass of the
U-Net under fresh noise. All steps are at one level (`auto`: the authors' 0.23), or at those of a scheduler, from the
highest on. Gradients run through the decoder alone. This is the authors' first stage, t0 = 0: no sample, but near the
truth on average. Their second, noise up to t0 and a sampler from there on, is a denoise below 1 on its latent.

The authors weigh the prior by hand for each task, 0.1 to 0.6. Here y is off by noise of one unknown level, sigma_y or
more (what the decoder cannot draw is in it), whose likelihood is || y - A D(z) ||^-m: sigma_eff is what the residual
says. With the floors of their decoders that is about their weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .data import noise_std, start_at_pinv
from .latent import Callback, LatentModel, NoiseSource, Step, diffuse, noise_levels, norms, per_sample, predicted_noise
from .linearised import Linearised

ANCHOR = 0.23
"""Noise level of the authors' step 50 of 1,000 of Stable Diffusion."""


@torch.no_grad()
def lmap_rps(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    rate: float = 0.3,
    weight: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """One step at each of sigmas but the last, from the latent that was given or E(A^+ y); z only seeds the noise.

    rate: of Adam, in standard deviations of the latent; it falls to zero by a cosine.
    weight: of the prior; 1 is Bayes' rule.
    """
    noise, steps = NoiseSource(z), len(sigmas) - 1
    z0 = start(model, measurement, z)
    adam = torch.optim.Adam([z0], lr=rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for i, sigma, _ in noise_levels(sigmas):
        z = diffuse(model, z0, noise.like(z), sigma)
        z0_hat = model.denoise(z, sigma)
        h = Linearised(model, measurement, z0)
        residual = measurement.residual(h.x0)
        variance = torch.clamp(norms(residual).square() / measurement.count, min=noise_std(measurement) ** 2)
        data = h.transpose(residual) / per_sample(variance, z)
        prior = model.signal(sigma) / sigma * predicted_noise(model, z, z0_hat, sigma)
        z0.grad = weight * prior - data
        adam.step()
        falling.step()
        if callback is not None:
            callback(Step(i, sigma, z, z0_hat, h.x0))
    return diffuse(model, z0, noise.like(z0), sigmas[-1])


def start(model: LatentModel, measurement: Measurement, z: Tensor) -> Tensor:
    """The latent that was given, or E(A^+ y); zero where A has no A^+. A copy."""
    if model.start is not None:
        return model.start.clone()
    return start_at_pinv(model, measurement, torch.zeros_like(z), z.new_zeros(())).clone()
