"""How sure a denoiser is of a picture: by its own word, and at no cost.

Tweedie's second order says how far z0_hat is expected to be from z0, sigma^2 tr J with J = d z0_hat / d z, and Stein's
lemma says tr J of noise n that was added to z0: E[n . z0_hat(z0 + n)] = sigma^2 tr J. A standard normal prior, which
knows nothing of pictures, has J = spread^2 / sigma^2 in each direction.
"""

from __future__ import annotations

from torch import Tensor

from .latent import LatentModel


def uncertainty(model: LatentModel, z: Tensor, z0: Tensor, z0_hat: Tensor, sigma: Tensor) -> Tensor:
    """Expected square of z0_hat's error by that of a standard normal prior, of each sample (B,), 0 to 1.

    z: z0 at noise level sigma, under noise that was drawn independently of it. One draw stands for the expectation, as
        a latent has a thousand directions or more.
    """
    noise = (z - model.signal(sigma) * z0).flatten(1)
    kept = (noise * (z0_hat - z0).flatten(1)).sum(1) / noise.square().sum(1)  # the mean of J over directions
    return (kept * model.scale(sigma) ** 2 / model.signal(sigma)).nan_to_num(nan=1.0).clamp(0, 1)
