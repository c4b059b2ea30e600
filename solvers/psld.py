"""PSLD and the two simpler methods it is built on, as in Rout et al., NeurIPS 2023 (Algorithm 2 and section 3).

    LDPS      z_{t-1} = ddim(z_t) - grad_{z_t} omega * || y - A D(z0_hat) ||
    GML-DPS   adds    - grad_{z_t} gamma * || z0_hat - E(D(z0_hat)) ||
    PSLD      adds    - grad_{z_t} gamma * || z0_hat - E(A^+ y + (I - A^+ A) D(z0_hat)) ||      (gluing)

Where the paper writes A^T, for an A whose A^T A is a projector, we use the pseudo-inverse, which makes A^+ A one for
every A. Norms are per sample, and data terms stop at the noise level, so that no method fits the noise.
gamma and omega are given per step of 1,000, as in the paper's tables, whatever the number of steps; but no step is
longer than Polyak's, at whose end the linearised loss vanishes. A norm's gradient does not shrink towards the minimum,
so that longer steps overshoot, the more the fewer there are: without this bound 20 of them diverge.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .data import excess, noise_cutoff
from .gradients import check_gradient
from .latent import Callback, LatentModel, Step, ddim_step, noise_levels, norms, per_sample

Loss = Callable[[Tensor, Tensor], Tensor]
"""(z0_hat, D(z0_hat)) -> one value per sample."""


def psld(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    gamma: float = 0.1,
    omega: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """Posterior sampling with latent diffusion: from noise z (B, c, h, w) at sigmas[0] down to sigmas[-1]."""

    def loss(z0_hat: Tensor, x0_hat: Tensor) -> Tensor:
        residual = measurement.residual(x0_hat)
        glued = x0_hat + measurement.operator.pinv(residual, rcond=noise_cutoff(measurement))
        return omega * excess(residual, measurement) + gamma * norms(z0_hat - model.encode(glued))

    return guided_ddim(model, z, sigmas, loss, callback)


def gml_dps(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    gamma: float = 0.1,
    omega: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """Goodness modified latent DPS: z0_hat is drawn to the fixed points of the autoencoder."""

    def loss(z0_hat: Tensor, x0_hat: Tensor) -> Tensor:
        residual = measurement.residual(x0_hat)
        return omega * excess(residual, measurement) + gamma * norms(z0_hat - model.encode(x0_hat))

    return guided_ddim(model, z, sigmas, loss, callback)


def ldps(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    omega: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """Latent DPS: the data term alone. On a pixel-space model (E = D = identity) this is DPS (Chung et al. 2023)."""

    def loss(z0_hat: Tensor, x0_hat: Tensor) -> Tensor:
        return omega * excess(measurement.residual(x0_hat), measurement)

    return guided_ddim(model, z, sigmas, loss, callback)


def guided_ddim(
    model: LatentModel,
    z: Tensor,
    sigmas: Tensor,
    loss: Loss,
    callback: Callback | None,
    polyak: bool = True,
) -> Tensor:
    """DDIM with the gradient of a loss on z0_hat subtracted after each step, none longer than Polyak's if `polyak`."""
    steps = len(sigmas) - 1
    for i, sigma, sigma_next in noise_levels(sigmas):
        z = z.detach().requires_grad_()
        z0_hat = model.denoise(z, sigma)
        x0_hat = model.decode(z0_hat)
        value = loss(z0_hat, x0_hat)
        (gradient,) = torch.autograd.grad(value.sum(), z)
        check_gradient(gradient, value, i)
        with torch.no_grad():
            # The paper's latents are variance preserving, z / scale, and so is the gradient by them.
            gradient = model.scale(sigma) * gradient
            length = polyak_length(value, gradient).clamp(max=1000 / steps) if polyak else 1000 / steps
            z = ddim_step(z, z0_hat, sigma, sigma_next) - model.scale(sigma_next) * length * gradient
        if callback is not None:
            callback(Step(i, sigma, z.detach(), z0_hat.detach(), x0_hat.detach()))
    return z.detach()


def polyak_length(value: Tensor, gradient: Tensor) -> Tensor:
    """How far to go along -gradient (B, c, h, w) until each linearised loss (B,) is zero: (B, 1, 1, 1).

    Polyak 1987, Introduction to Optimization, section 5.3, for a loss whose least value is zero.
    """
    squared = norms(gradient).square()
    return per_sample(torch.where(squared > 0, value / squared, 0), gradient)
