"""How unlikely a latent is, given the measurement: -log p(z0 | y) in nats, up to a constant.

A diffusion model bounds the likelihood of what it was trained on by how well it denoises it (Kingma et al. 2021,
Variational Diffusion Models, the loss in continuous time),

    -log p(z0) <= integral over log sigma of || z0 - E[z0 | z0 + sigma n] ||^2 / sigma^2, up to a constant.

Diffusion classifiers (Li et al. 2023, arXiv 2303.16203) tell with it which text fits an image; here it tells which
restoration is one that the prior knows: five fingers, not six. One noise level, at which pictures have their shapes,
stands for all. What the measurement says of z0 is

    -log p(y | z0) = m/2 log || y - A D(z0) ||^2

for m values with noise of one unknown level: sigma_y with what the autoencoder cannot show. A residual below what is
known of it is as good as one that equals it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .data import effective_std
from .latent import LatentModel, diffuse, rms

TELLING = 0.57
"""Spread, of sigma 0.7, at which latents that a measurement leaves open are told apart."""

WIDTH = 1.67
"""Of the noise levels around it, in log sigma, at which they are."""


def surprise(model: LatentModel, z0: Tensor, z0_hat: Tensor, sigma: Tensor) -> Tensor:
    """|| z0 - z0_hat ||^2 / sigma^2 by sample, (B,): nats per unit of log sigma that z0 costs where the denoiser
    expected z0_hat."""
    return (rms(z0 - z0_hat) * model.signal(sigma) / sigma) ** 2 * z0[0].numel()


@torch.no_grad()
def unlikelihood(model: LatentModel, measurement: Measurement, z0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """-log p(z0 | y) of each sample (B,), in nats up to a constant; inf for one that is not a number.

    sigma: noise level to probe at, by one pass of the denoiser.
    noise: (B, c, h, w), the same for all that are compared.
    """
    prior = WIDTH * surprise(model, z0, model.denoise(diffuse(model, z0, noise, sigma), sigma), sigma)
    residual = torch.maximum(measurement.rms_residual(model.decode(z0)), effective_std(measurement))
    return (prior + measurement.count * residual.log()).nan_to_num(nan=torch.inf)


def telling_level(model: LatentModel, sigmas: Tensor) -> Tensor:
    """That of sigmas, above zero, which tells most."""
    levels = sigmas[sigmas > 0]
    return levels[(model.spread(levels) - TELLING).abs().argmin()]
