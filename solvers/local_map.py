"""Local MAP sampling, Zhang, Brekelmans and Ver Steeg 2025 (arXiv 2510.07343), in latent space.

At each noise level z0_hat is replaced by the most likely latent given both it and the measurement, and renoised:

    z0' = argmin_z  || y - A D(z) ||^2 / sigma_y^2 + || z - z0_hat ||^2 / r^2         r: how far z0_hat may be off
    z   = z0' noised to the next level

The minimum is sought by a Gauss-Newton step with conjugate gradients, so that no step size has to be tuned. Gradients
run through the decoder alone, as in FlowDPS (Kim et al. 2025): the U-Net keeps no activations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .anneal import Corrected, anneal
from .data import missed, reach, trust
from .descent import Directions, most_likely_move
from .latent import Callback, LatentModel
from .linearised import Linearised


@torch.no_grad()
def local_map(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    c: float = 1.0,
    eta: float = 1.0,
    temperature: float = 0.8,
    candidates: int = 1,
    iterations: int = 5,
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
    iterations: of conjugate gradients at the first level, and half as many below, where the directions of the level
        above are known (`descent.py`); each costs a decoding and a back-propagation through the decoder.
    """

    def correct(
        measurement: Measurement, z0_hat: Tensor, sigma: Tensor, unsure: Tensor, known: Directions
    ) -> Corrected:
        h = Linearised(model, measurement, z0_hat)
        trusted = trust(measurement, reach(model, sigma, c, unsure))
        fewer = -(-iterations // 2) if known else iterations
        move, residual, found = most_likely_move(h, trusted, fewer, known=known)
        return Corrected(z0_hat + move, h.x0, missed(measurement, residual), found)

    return anneal(model, measurement, z, sigmas, correct, eta, temperature, candidates, chunk, faithful, callback)
