"""First stage: a KL autoencoder (Rombach et al., CVPR 2022, section 3.1), without an adversary."""

from __future__ import annotations

import random

import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from torch import Tensor

from ..devkit.perceptual import LPIPS
from .data import pixels
from .loop import mixed_precision
from .networks import encode

BATCH = 16
LEARNING_RATE, DECAY = 5e-4, 0.998
PERCEPTUAL, SQUARED, KL = 0.15, 2.0, 1e-3
"""Weights beside the mean absolute error, pixels in [-1, 1]; all terms are means over pixels or latents."""


class AutoencoderLoss:
    """Reconstruction, in pixels and perceptually, and distance of the posterior to a unit Gaussian."""

    def __init__(self, network: AutoencoderKL, images: Tensor, device: torch.device, seed: int) -> None:
        """images: (N, 3, H, W) uint8."""
        self.network, self.images, self.device = network, images.to(device), device
        self.lpips = LPIPS().to(device)
        self.generator, self.offsets = torch.Generator(device).manual_seed(seed), random.Random(seed)

    def __call__(self) -> dict[str, Tensor]:
        chosen = torch.randint(len(self.images), (BATCH,), generator=self.generator, device=self.device)
        x = pixels(self.images[chosen]).contiguous(memory_format=torch.channels_last)
        with mixed_precision(self.device):
            mean, log_variance = encode(self.network, x)
            noise = torch.randn(mean.shape, generator=self.generator, device=self.device)
            z = mean + (log_variance / 2).exp() * noise
            reconstruction = self.network.decode(z).float()
            perceptual = self.perceptual(x, reconstruction)
        kl = (mean**2 + log_variance.exp() - 1 - log_variance) / 2
        error = reconstruction - x
        return {"absolute": error.abs().mean(), "squared": SQUARED * error.square().mean(),
                "perceptual": PERCEPTUAL * perceptual.float().mean(), "kl": KL * kl.mean()}

    def perceptual(self, x: Tensor, y: Tensor) -> Tensor:
        """LPIPS at a random offset: its network looks at every fourth pixel, and would leave a grid."""
        i, j = self.offsets.randrange(4), self.offsets.randrange(4)
        return self.lpips(x[..., i:, j:], y[..., i:, j:])


@torch.no_grad()
def reconstruct(network: AutoencoderKL, images: Tensor, device: torch.device) -> Tensor:
    """Decoded posterior means of (N, 3, H, W) uint8 images, in [-1, 1] on the CPU."""
    parts = (network.decode(encode(network, pixels(part, device))[0]) for part in images.split(BATCH))
    return torch.cat([part.clamp(-1, 1).cpu() for part in parts])


@torch.no_grad()
def posteriors(network: AutoencoderKL, x: Tensor) -> Tensor:
    """Means and log-variances of pictures (B, 3, H, W) in [-1, 1]: (B, 2 c, h, w)."""
    return torch.cat(encode(network, x), dim=1)
