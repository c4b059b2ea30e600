"""LatentDAPS: decoupled annealing posterior sampling, Zhang et al. 2024 (arXiv 2407.01521).

    z0_hat = the probability-flow ODE from z_t at sigma_t down to 0, in a few steps
    z0     ~ exp( - || z0 - z0_hat ||^2 / (2 r^2) - || y - A D(z0) ||^2 / (2 sigma_y^2) )      by Langevin dynamics
    z      = z0 noised to the next level

Consecutive z are coupled only through z0, so that early errors can be undone. Gradients run through the decoder alone.
The authors take r = sigma_t and a hand-tuned Langevin rate. Ours is r = sigma_t / sqrt(1 + sigma_t^2), with which the
chain is exact for a standard normal latent and one ODE step (z0_hat = E[z0 | z_t]), and a rate by the curvature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .data import noise_std
from .latent import Callback, LatentModel, NoiseSource, Step, ddim_step, diffuse, noise_levels, per_sample
from .linearised import Linearised, largest_gain

POWER_ITERATIONS = 2  # a level, each from where the one before stopped


@torch.no_grad()
def latent_daps(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    ode_steps: int = 5,
    langevin_steps: int = 20,
    step_size: float = 0.5,
    callback: Callback | None = None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1].

    ode_steps: network evaluations at each noise level.
    langevin_steps: each costs a decoding and its back-propagation.
    step_size: in units of the inverse of the largest curvature: unstable above 2, exact towards 0.
    """
    noise = NoiseSource(z)
    direction = noise.like(z)
    for i, sigma, sigma_next in noise_levels(sigmas):
        z0_hat = solve_ode(model, z, sigma, ode_steps)
        h = Linearised(model, measurement, z0_hat)
        gain, direction = largest_gain(h, direction, POWER_ITERATIONS)
        r = model.spread(sigma)
        step = per_sample(step_size / (1 / r**2 + (gain / noise_std(measurement)) ** 2), z)
        z0 = z0_hat
        for _ in range(langevin_steps):
            force = (z0_hat - z0) / r**2 + data_force(model, measurement, z0)
            z0 = z0 + step * force + (2 * step).sqrt() * noise.like(z)
        z = diffuse(model, z0, noise.like(z), sigma_next)
        if callback is not None:
            callback(Step(i, sigma, z, z0_hat, h.x0))
    return z


def solve_ode(model: LatentModel, z: Tensor, sigma: Tensor, steps: int) -> Tensor:
    """z at level sigma -> z0, by Euler steps whose levels close in on zero."""
    levels = sigma * torch.linspace(1, 0, steps + 1).to(sigma) ** 5
    for _, level, level_next in noise_levels(levels):
        z = ddim_step(z, model.denoise(z, level), level, level_next)
    return z


def data_force(model: LatentModel, measurement: Measurement, z0: Tensor) -> Tensor:
    """- grad_{z0} || y - A D(z0) ||^2 / (2 sigma_y^2)."""
    h = Linearised(model, measurement, z0)
    return h.transpose(measurement.residual(h.x0)) / per_sample(noise_std(measurement) ** 2, z0)
