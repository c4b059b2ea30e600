"""Second stage: a U-Net that predicts the noise in latents (Ho et al. 2020; Rombach et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..runtime.ldm.unet import UNet
from .loop import mixed_precision
from .networks import alphas_cumprod

BATCH = 64
LEARNING_RATE, DECAY = 4e-4, 0.9995
MAX_SNR = 5.0


class DiffusionLoss:
    """Squared error of the noise, at evenly spread noise levels.

    Low noise levels count less, by the square root of the weight of Hang et al. (ICCV 2023): what a picture shows is
    decided at high noise, where errors in the noise are small and errors in the picture large.
    """

    def __init__(self, network: UNet, posteriors: Tensor, scale_factor: float, device: torch.device,
                 seed: int) -> None:
        """posteriors: as `autoencoder.posteriors` gives them."""
        self.network, self.posteriors, self.scale_factor, self.device = network, posteriors, scale_factor, device
        self.generator = torch.Generator().manual_seed(seed)
        self.alphas = alphas_cumprod()
        snr = self.alphas / (1 - self.alphas)
        self.weights = (snr.clamp_max(MAX_SNR) / snr).sqrt()
        self.weights /= self.weights.mean()

    def __call__(self) -> dict[str, Tensor]:
        z = self.scale_factor * self.draw()
        t = ((torch.arange(BATCH) + torch.rand(BATCH, generator=self.generator)) / BATCH * len(self.alphas)).long()
        alpha = self.alphas[t][:, None, None, None]
        noise = self.randn(z.shape)
        noisy = (alpha.sqrt() * z + (1 - alpha).sqrt() * noise).to(self.device)
        with mixed_precision(self.device):
            predicted = self.network(noisy, t.to(self.device)).float()
        error = (predicted - noise.to(self.device)).square().mean(dim=(1, 2, 3))
        return {"noise": (self.weights[t].to(self.device) * error).mean()}

    def draw(self) -> Tensor:
        """Latents of a random batch, drawn from their posteriors."""
        chosen = torch.randint(len(self.posteriors), (BATCH,), generator=self.generator)
        mean, log_variance = self.posteriors[chosen].float().chunk(2, dim=1)
        return mean + (log_variance / 2).exp() * self.randn(mean.shape)

    def randn(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def scale_factor(posteriors: Tensor) -> float:
    """What makes latents of unit variance: CompVis's `scale_factor`."""
    mean, log_variance = posteriors.float().chunk(2, dim=1)
    return float((mean.var() + log_variance.exp().mean()).rsqrt())
