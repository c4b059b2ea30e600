"""Glued MAP: the most likely latent at each noise level, sought from PSLD's glued image on.

PSLD (Rout et al. 2023) asks that z0_hat be the code of the glued image A^+ y + (I - A^+ A) D(z0_hat), and walks there
by gradients. Here that step is taken at once, and made as long, and then as good, as measurement and prior want it:

    x' = argmin_x  || A x - y ||^2 / sigma_y^2 + || x - D(z0_hat) ||^2 / r^2          closed form for most operators
    v  = E(x') - E(D(z0_hat))                                                         the VAE's own error cancels
    u  = argmin_u  || y - A D(z0_hat + u) ||^2 / sigma_y^2 + || u ||^2 / r^2          from the best multiple of v
    z  = z0_hat + u under fresh noise of the next level

Where A mixes pixels (blurs) the glued image is all but the answer. But its code follows the noise in y, for no encoder
was trained to ignore it: there the conjugate gradients of the last line help, which back-propagate through the decoder.
The U-Net keeps no activations. r is how far z0_hat may be from z0; docs/method.md says what each part gains.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .data import noise_std, start_at_pinv
from .latent import Callback, LatentModel, NoiseSource, Step, diffuse, mix_noise, noise_levels, predicted_noise
from .linearised import Linearised, most_likely_move


@torch.no_grad()
def glued_map(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    c: float = 1.0,
    eta: float = 1.0,
    iterations: int = 2,
    callback: Callback | None = None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1], starting around E(A^+ y) where A is linear.

    c: r in units of the spread of a standard normal latent; more fits the measurement closer.
    eta: share of fresh noise in each renoising, 0 to 1.
    iterations: of conjugate gradients; each costs a decoding and a back-propagation through the decoder. 0 takes the
        best multiple of the gluing move.
    """
    noise = NoiseSource(z)
    z = start_at_pinv(model, measurement, z, sigmas[0])
    for i, sigma, sigma_next in noise_levels(sigmas):
        z0_hat = model.denoise(z, sigma)
        h = Linearised(model, measurement, z0_hat)
        trust = (c * model.spread(sigma) / noise_std(measurement)) ** 2
        z0 = z0_hat + most_likely_move(h, gluing_move(model, measurement, h.x0, trust), trust, int(iterations))
        z = diffuse(model, z0, mix_noise(predicted_noise(model, z, z0, sigma), noise.like(z), eta), sigma_next)
        if callback is not None:
            callback(Step(i, sigma, z, z0_hat, h.x0))
    return z


def gluing_move(model: LatentModel, measurement: Measurement, x0: Tensor, trust: Tensor) -> Tensor | None:
    """E(x') - E(x0) for the image x' next to x0 (B, C, H, W) that fits y; None where A is not linear and has no x'.

    trust: variance of x0's error by that of the measurement's noise.
    """
    if not measurement.operator.linear:
        return None
    return model.encode(measurement.operator.prox(x0, measurement.y, trust)) - model.encode(x0)
