"""The update of the authors' code, mistakes included, for comparison only.

Source: LituRout/PSLD, stable-diffusion/ldm/models/diffusion/psld.py, p_sample_ddim. It differs from `psld` in that
its transpose is the identity, or a nearest up-sampling where sizes differ; fresh noise is added to A D(z0_hat) at
every step; norms are taken over the whole batch; the data term goes on below the noise level; gamma and omega count
for each step however many there are, and nothing bounds it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..operators.measurement import Measurement
from .latent import Callback, LatentModel, NoiseSource, per_sample
from .psld import guided_ddim


def psld_reference(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    gamma: float = 0.1,
    omega: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """The original update, from noise z (B, c, h, w) at sigmas[0] down."""
    A, y = measurement.operator, measurement.y
    noise = NoiseSource(z)
    per_step = (len(sigmas) - 1) / 1000  # undoes the scaling by the number of steps

    def transpose(y: Tensor) -> Tensor:
        return y if A.measurement_shape == A.image_shape else interpolate(y, size=A.image_shape[1:], mode="nearest")

    def loss(z0_hat: Tensor, x0_hat: Tensor) -> Tensor:
        y_hat = A(x0_hat)
        data = torch.linalg.vector_norm(y_hat + per_sample(measurement.sigmas, y_hat) * noise.like(y_hat) - y)
        glued = transpose(y) + x0_hat - transpose(y_hat)
        gluing = torch.linalg.vector_norm(model.encode(glued) - z0_hat)
        return per_step * (gamma * gluing + omega * data)[None]

    return guided_ddim(model, z, sigmas, loss, callback, polyak=False)
