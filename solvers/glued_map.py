"""Glued MAP: the most likely latent at each noise level, sought from PSLD's glued image on.

PSLD (Rout et al. 2023) asks that z0_hat be the code of the glued image A^+ y + (I - A^+ A) D(z0_hat), and walks there
by gradients. Here that step is taken at once, and made as long, and then as good, as measurement and prior want it:

    v  = E(x') - E(D(z0_hat))       x' is D(z0_hat) glued, as far as y's noise lets it be: see `gluing.py`
    u  = argmin_u  || y - A D(z0_hat + u) ||^2 / sigma_y^2 + || u ||^2 / r^2      from the best multiple of v
    z  = z0_hat + u under fresh noise of the next level

Where A mixes pixels (blurs) the glued image is all but the answer. But its code follows the noise in y, for no encoder
was trained to ignore that: there the conjugate gradients of the second line help, which back-propagate through the
decoder. They run only once the picture has settled. Above, z0_hat may be off by as much as latents differ, a tangent
of the decoder reaches less far, and u is v. What directions they find serves the levels below, where few more are
needed: see `descent.py`. The U-Net keeps no activations. r is how far z0_hat may be from z0; docs/method.md says what
each part gains.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .anneal import Corrected, anneal
from .candidates import SETTLED
from .data import missed, reach, trust
from .descent import Directions, most_likely_move
from .gluing import Gluing
from .latent import Callback, LatentModel
from .linearised import Linearised


@torch.no_grad()
def glued_map(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    c: float = 1.0,
    eta: float = 1.0,
    temperature: float = 0.8,
    candidates: int = 4,
    iterations: int = 4,
    chunk: int = 0,
    faithful: bool = False,
    callback: Callback | None = None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1], starting around E(A^+ y) where A is linear.

    c: r by what `reach` says; more fits the measurement closer.
    eta: share of fresh noise in each renoising, 0 to 1.
    temperature: noise added by noise told to the denoiser at high levels, less further down; see `anneal`.
    candidates: ways down, of which the likeliest arrives; see `candidates.py`.
    chunk: so many of them go through the networks together, 0: all; less memory, the same result.
    faithful: whether the mean of two arrives, not the likelier: nearer to the truth on average, and smoother.
    iterations: of conjugate gradients, where they begin, and half as many at each level below; each costs a
        decoding and a back-propagation through the decoder. 0 takes the best multiple of the gluing move.
    """

    gluing = Gluing(model, measurement)

    def correct(
        measurement: Measurement, z0_hat: Tensor, sigma: Tensor, unsure: Tensor, known: Directions
    ) -> Corrected:
        r = reach(model, sigma, c, unsure)
        if gluing.possible and model.spread(sigma) >= SETTLED:
            x0_hat = model.guide.decode(z0_hat)
            return Corrected(z0_hat + gluing.move(measurement, x0_hat, r), x0_hat)
        h = Linearised(model, measurement, z0_hat)
        start, fewer = gluing.move(measurement, h.x0, r), -(-iterations // 2) if known else iterations
        move, residual, found = most_likely_move(h, trust(measurement, r), fewer, start, known)
        return Corrected(z0_hat + move, h.x0, missed(measurement, residual), found)

    return anneal(model, measurement, z, sigmas, correct, eta, temperature, candidates, chunk, faithful, callback)
