"""How every solver sees a latent diffusion model, and the DDIM step between noise levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class LatentModel:
    """A diffusion prior on latents z (B, c, h, w) of images x (B, C, H, W) in [-1, 1], as callables.

    denoise(z, sigma): z0_hat = E[z0 | z], Tweedie's estimate; sigma is the 0-d noise level of the sampler.
    encode(x), decode(z0): the autoencoder E and D; E gives the mean of its posterior, D is not clamped.
    scale(sigma): standard deviation of a unit-variance latent at sigma, as the model holds it: sqrt(1 + sigma^2) for
        variance-exploding latents (ComfyUI's eps and v models), sqrt((1 - sigma)^2 + sigma^2) for flow models.
        z / scale(sigma) is the variance-preserving latent in which the paper writes its gradients.

    A pixel-space model is the case encode = decode = identity.
    """

    denoise: Callable[[Tensor, Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    scale: Callable[[Tensor], Tensor] = lambda sigma: (1 + sigma**2).sqrt()


@dataclass(frozen=True)
class Step:
    """What a solver reports after each noise level."""

    index: int
    sigma: Tensor
    z: Tensor
    z0_hat: Tensor
    x0_hat: Tensor


Callback = Callable[[Step], None]


def noise_levels(sigmas: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(i, sigma_t, sigma_{t-1}) from the highest noise level down."""
    return ((i, *pair) for i, pair in enumerate(pairwise(sigmas)))


def ddim_step(z: Tensor, z0_hat: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One deterministic DDIM step (Song et al. 2021, eq. 12 with eta = 0), which in the sigma form is Euler's."""
    return z0_hat + (sigma_next / sigma) * (z - z0_hat)


def norms(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, shape (B,); its gradient at zero is zero."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1)
