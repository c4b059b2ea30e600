"""Glued MAP: the most likely latent at each noise level, sought from PSLD's glued image on.

PSLD (Rout et al. 2023) asks that z0_hat be the code of the glued image A^+ y + (I - A^+ A) D(z0_hat), and walks there
by gradients. Here that step is taken at once, and made as long, and then as good, as measurement and prior want it:

    x' = argmin_x  || A x - y ||^2 / sigma_y^2 + || x - D(z0_hat) ||^2 / r^2          closed form for most operators
    v  = E(x') - E(D(z0_hat))                                                         the VAE's own error cancels
    u  = argmin_u  || y - A D(z0_hat + u) ||^2 / sigma_y^2 + || u ||^2 / r^2          from the best multiple of v
    z  = z0_hat + u under fresh noise of the next level

Where A mixes pixels (blurs) the glued image is all but the answer. But its code follows the noise in y, for no encoder
was trained to ignore that: there the conjugate gradients of the third line help, which back-propagate through the
decoder. They run only once the picture has settled. Above, z0_hat may be off by as much as latents differ, a tangent
of the decoder reaches less far, and u is v. The U-Net keeps no activations. r is how far z0_hat may be from z0;
docs/method.md says what each part gains.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .anneal import Corrected, anneal
from .candidates import SETTLED
from .data import missed, trust
from .latent import Callback, LatentModel, per_sample
from .linearised import Linearised, most_likely_move


@torch.no_grad()
def glued_map(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    c: float = 1.5,
    eta: float = 1.0,
    temperature: float = 0.8,
    candidates: int = 4,
    iterations: int = 4,
    chunk: int = 0,
    faithful: bool = False,
    callback: Callback | None = None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1], starting around E(A^+ y) where A is linear.

    c: r in units of the spread of a standard normal latent; more fits the measurement closer.
    eta: share of fresh noise in each renoising, 0 to 1.
    temperature: noise added by noise told to the denoiser at high levels, less further down; see `anneal`.
    candidates: ways down, of which the likeliest arrives; see `candidates.py`.
    chunk: so many of them go through the networks together, 0: all; less memory, the same result.
    faithful: whether the mean of two arrives, not the likelier: nearer to the truth on average, and smoother.
    iterations: of conjugate gradients, where they run; each costs a decoding and a back-propagation through the
        decoder. 0 takes the best multiple of the gluing move.
    """

    def correct(measurement: Measurement, z0_hat: Tensor, sigma: Tensor) -> Corrected:
        t = trust(model, measurement, sigma, c)
        if measurement.operator.proximal and model.spread(sigma) >= SETTLED:
            x0_hat = model.guide.decode(z0_hat)
            return z0_hat + gluing_move(model, measurement, x0_hat, t), x0_hat, None
        h = Linearised(model, measurement, z0_hat)
        move, residual = most_likely_move(h, gluing_move(model, measurement, h.x0, t), t, iterations)
        return z0_hat + move, h.x0, missed(measurement, residual)

    return anneal(model, measurement, z, sigmas, correct, eta, temperature, candidates, chunk, faithful, callback)


def gluing_move(model: LatentModel, measurement: Measurement, x0: Tensor, t: Tensor) -> Tensor | None:
    """E(x') - E(x0) for the image x' next to x0 (B, C, H, W) that fits y; None where A is not linear and has no x'.

    x' is no further outside [-1, 1] than x0: no encoder has seen the overshoot of an inverse.
    t: variance of x0's error by that of the measurement's noise, (B,).
    """
    if not measurement.operator.proximal:
        return None
    encode = model.guide.encode
    glued = measurement.operator.prox(x0, measurement.y, per_sample(t, x0))
    return encode(glued.clamp(x0.clamp_max(-1), x0.clamp_min(1))) - encode(x0)
