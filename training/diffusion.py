"""Second stage: a U-Net that denoises latents (Ho et al. 2020; Rombach et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .loop import mixed_precision
from .networks import alphas_cumprod

LEARNING_RATE, DECAY = 4e-4, 0.9995
MEDIAN_SIGMA, SPREAD = 1.4, 1.5
"""Of the noise levels that a network sees: log-normal, sigma by that of unit-variance latents (Karras et al. 2022,
table 1). Of the schedule's own steps half are above 2.8 and a quarter above 11, where little is left to learn."""
PARAMETERIZATION = "v"
"""What a fresh U-Net predicts; one to go on with keeps its own."""


class Latents:
    """Latents of all pictures, on the device: (N, c, h, w) as they are, or (N, 2 c, h, w) of posteriors to draw from.
    """

    def __init__(self, moments: Tensor, channels: int, device: torch.device) -> None:
        self.moments, self.channels = moments.half().to(device), channels

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """A random batch, float32."""
        chosen = torch.randint(len(self.moments), (count,), generator=generator, device=self.moments.device)
        moments = self.moments[chosen].float()
        mean, log_variance = moments[:, : self.channels], moments[:, self.channels :]
        return mean + (log_variance / 2).exp() * randn(mean, generator) if log_variance.numel() else mean

    def scale_factor(self) -> float:
        """What makes them of unit variance: CompVis's `scale_factor`."""
        variance = self.moments[:, : self.channels].float().var()
        if (log_variance := self.moments[:, self.channels :]).numel():
            variance = variance + log_variance.float().exp().mean()
        return float(variance.rsqrt())


class DiffusionLoss:
    """Squared error of the prediction at log-normal noise levels, all of it on the device."""

    def __init__(self, network: Callable[..., Tensor], latents: Latents, scale_factor: float, parameterization: str,
                 batch: int, device: torch.device, seed: int) -> None:
        """parameterization: "v" or "eps"."""
        self.network, self.latents, self.scale_factor = network, latents, scale_factor
        self.parameterization, self.batch, self.device = parameterization, batch, device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.alphas = alphas_cumprod().to(device)
        self.log_sigmas = ((1 - self.alphas) / self.alphas).log() / 2

    def __call__(self) -> dict[str, Tensor]:
        z = self.scale_factor * self.latents.draw(self.batch, self.generator)
        t = self.steps()
        alpha = self.alphas[t][:, None, None, None]
        noise = randn(z, self.generator)
        noisy = alpha.sqrt() * z + (1 - alpha).sqrt() * noise
        target = noise if self.parameterization == "eps" else alpha.sqrt() * noise - (1 - alpha).sqrt() * z
        with mixed_precision(self.device):
            predicted = self.network(noisy.contiguous(memory_format=torch.channels_last), t).float()
        return {self.parameterization: (predicted - target).square().mean()}

    def steps(self) -> Tensor:
        """(B,) steps of the schedule; one of every part of the log-normal distribution."""
        evenly = torch.arange(self.batch, device=self.device)
        jitter = torch.rand(self.batch, generator=self.generator, device=self.device)
        log_sigma = math.log(MEDIAN_SIGMA) + SPREAD * torch.special.ndtri((evenly + jitter) / self.batch)
        return torch.searchsorted(self.log_sigmas, log_sigma).clamp_max(len(self.alphas) - 1)


def randn(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device)


def batch_size(device: torch.device) -> int:
    """Pictures in a step: 32 on a CPU, which has few steps to spend; 32 for each free GiB of a GPU, up to 256."""
    if device.type != "cuda":
        return 32
    free, _ = torch.cuda.mem_get_info(device)
    return min(256, 32 * max(1, free >> 30))
