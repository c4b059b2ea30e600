"""The loop of the methods that correct z0_hat at each noise level and renoise what they made of it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..operators.measurement import Measurement
from .data import start_at_pinv
from .latent import Callback, LatentModel, NoiseSource, Step, diffuse, mix_noise, noise_levels, predicted_noise

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
    callback: Callback | None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1], starting around E(A^+ y) where A is linear.

    eta: share of fresh noise in each renoising, 0 to 1; the rest is what takes z0 to z_t.
    temperature: noise that is added by noise that the denoiser is told of, where z is all noise; to the power of
        1 / spread below. Under 1 the denoiser removes more than was added and takes the surer picture; but noise is
        also what lets go of a wrong one, and that is decided high up.
    """
    noise = NoiseSource(z)
    z = start_at_pinv(model, measurement, z, sigmas[0])
    for i, sigma, sigma_next in noise_levels(sigmas):
        z0_hat = model.denoise(z, sigma)
        z0, x0_hat = correct(z0_hat, sigma)
        added = mix_noise(predicted_noise(model, z, z0, sigma), noise.like(z), eta)
        z = diffuse(model, z0, temperature ** (1 / model.spread(sigma_next)) * added, sigma_next)
        if callback is not None:
            callback(Step(i, sigma, z, z0_hat, x0_hat))
    return z
