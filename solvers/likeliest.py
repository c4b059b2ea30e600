"""Which of several latents the prior finds most likely.

A diffusion model bounds the likelihood of what it was trained on by how well it denoises it (Kingma et al. 2021,
Variational Diffusion Models, the loss in continuous time): evenly over log sigma,

    -log p(z0) <= sum over sigma of || z0 - E[z0 | z0 + sigma n] ||^2 / sigma^2, up to a factor and a constant.

Diffusion classifiers (Li et al. 2023, arXiv 2303.16203) tell with it which text fits an image; here it tells which
restoration is one that the prior knows: five fingers, not six. All candidates meet the same noise n.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .latent import LatentModel, NoiseSource, diffuse, rms

TELLING = (0.28, 0.84)
"""Spreads, of sigma 0.3 to 1.5, between which latents that a measurement leaves open are told apart."""

PROBES = 4


@torch.no_grad()
def likeliest(model: LatentModel, candidates: Sequence[Tensor], levels: Tensor, noise: NoiseSource) -> Tensor:
    """Index (B,) of the likeliest among candidates, each (B, c, h, w), sample by sample; never one that is not a number
    where another is.

    levels: noise levels to probe at, each costing a denoiser pass for each candidate.
    """
    surprise = torch.zeros(len(candidates), len(candidates[0]), device=candidates[0].device)
    for sigma in levels:
        n = noise.like(candidates[0])
        for total, z0 in zip(surprise, candidates, strict=True):
            error = model.denoise(diffuse(model, z0, n, sigma), sigma) - z0
            total += (rms(error) * model.signal(sigma) / sigma) ** 2
    return surprise.nan_to_num(nan=torch.inf).argmin(0)


def telling_levels(model: LatentModel, sigmas: Tensor) -> Tensor:
    """At most PROBES of sigmas, evenly from the telling ones; from all above zero where none is."""
    low, high = TELLING
    spread = model.spread(sigmas)
    telling = sigmas[(spread > low) & (spread < high)]
    pool = telling if len(telling) else sigmas[sigmas > 0]
    return pool[torch.linspace(0, len(pool) - 1, min(PROBES, len(pool))).round().long()]
