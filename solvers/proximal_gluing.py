"""Proximal gluing: PSLD's gluing condition (Rout et al. 2023) as a fixed point, with no gradient at all.

PSLD asks that z0_hat be the code of the glued image A^+ y + (I - A^+ A) D(z0_hat), and walks there by back-propagation.
Here one goes there at each noise level, and renoises:

    x_hat = D(z0_hat)
    x'    = argmin_x || A x - y ||^2 / sigma_y^2 + || x - x_hat ||^2 / rho^2       rho = c * how far z0_hat may be off
    z0'   = z0_hat + E(x') - E(x_hat)                                             the VAE's own error cancels
    z     = z0' at the next level, under fresh noise and the noise that takes z0' to z_t

Without noise x' is the glued image itself and the proximal step a projection: hence the name. With E = D = I this is
DiffPIR (Zhu et al. 2023), which alternates the same two steps in pixel space.

For a standard normal latent and a decoder along singular vectors of A, z0' at c = 1 is E[z0 | z_t, y]. Then eta = 0 at
temperature 1 is the probability-flow ODE of the posterior, exact in the limit of many steps; eta = 1 and lower
temperatures keep the posterior's mean but not all its spread, and are the better restoration. One U-Net,
one decoder and two encoder passes a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .anneal import Corrected, anneal
from .data import reach
from .descent import Directions
from .gluing import Gluing
from .latent import Callback, LatentModel


@torch.no_grad()
def proximal_gluing(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    c: float = 1.0,
    eta: float = 1.0,
    temperature: float = 0.8,
    candidates: int = 4,
    chunk: int = 0,
    faithful: bool = False,
    callback: Callback | None = None,
) -> Tensor:
    """From noise z (B, c, h, w) at sigmas[0] down to sigmas[-1], starting around E(A^+ y).

    c: trust in the measurement against the denoiser; 1 is exact for a Gaussian prior, more fits closer.
    eta: share of fresh noise in each renoising, 0 to 1.
    temperature: noise added by noise told to the denoiser at high levels, less further down; see `anneal`.
    candidates: ways down, of which the likeliest arrives; see `candidates.py`.
    chunk: so many of them go through the networks together, 0: all; less memory, the same result.
    faithful: whether the mean of two arrives, not the likelier: nearer to the truth on average, and smoother.
    """

    gluing = Gluing(model, measurement)

    def correct(measurement: Measurement, z0_hat: Tensor, sigma: Tensor, unsure: Tensor, _: Directions) -> Corrected:
        x0_hat = model.decode(z0_hat)
        return Corrected(z0_hat + gluing.move(measurement, x0_hat, reach(model, sigma, c, unsure)), x0_hat)

    return anneal(model, measurement, z, sigmas, correct, eta, temperature, candidates, chunk, faithful, callback)
