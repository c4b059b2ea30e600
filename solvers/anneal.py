"""The loop of the methods that correct z0_hat at each noise level and renoise what they made of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .candidates import Candidate, starts, thin_out
from .data import start_at_pinv
from .latent import Callback, LatentModel, Step, diffuse, mix_noise, noise_levels, predicted_noise
from .likeliest import surprise

Correct = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(z0_hat, sigma) -> the latent z0 to renoise, and D(z0_hat)."""


def anneal(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    correct: Correct,
    eta: float,
    temperature: float,
    candidates: int,
    callback: Callback | None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1], starting around E(A^+ y) where A is linear.

    eta: share of fresh noise in each renoising, 0 to 1; the rest is what takes z0 to z_t.
    temperature: noise that is added by noise that the denoiser is told of, where z is all noise; to the power of
        1 / spread below. Under 1 the denoiser removes more than was added and takes the surer picture; but noise is
        also what lets go of a wrong one, and that is decided high up.
    candidates: ways down, each from other noise; see `thin_out`.
    """
    centre = start_at_pinv(model, measurement, torch.zeros_like(z), sigmas[0])
    running = [Candidate.at(centre, start) for start in starts(z, sigmas[0], candidates)]

    def descend(candidate: Candidate, i: int, sigma: Tensor, sigma_next: Tensor) -> Step:
        z0_hat = model.denoise(candidate.z, sigma)
        candidate.z0, x0_hat = correct(z0_hat, sigma)
        candidate.surprise = candidate.surprise + surprise(model, candidate.z0, z0_hat, sigma)
        old = predicted_noise(model, candidate.z, candidate.z0, sigma)
        added = temperature ** (1 / model.spread(sigma_next)) * mix_noise(old, candidate.noise.like(z), eta)
        candidate.z = diffuse(model, candidate.z0, added, sigma_next)
        return Step(i, sigma, candidate.z, z0_hat, x0_hat)

    for i, sigma, sigma_next in noise_levels(sigmas):
        steps = [descend(candidate, i, sigma, sigma_next) for candidate in running]
        running = thin_out(model, measurement, running, sigmas, sigma_next)
        if callback is not None:
            callback(steps[0])
    return running[0].z
