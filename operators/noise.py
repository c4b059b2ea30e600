"""Noise models of a measurement, in [-1, 1] pixel units.

`sample(y, seed)` returns a noisy y (not clipped); image i of the batch draws from seed + i on the CPU, so that a batch
equals its single runs on every device. `sigma` is the standard deviation that the solver is told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class NoiseModel(ABC):
    """sigma: standard deviation in [-1, 1] pixel units; where it depends on the pixel's value, at mid grey."""

    sigma: float

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"The noise level sigma must be 0 or more (in [-1, 1] pixel units), but is {self.sigma}.")

    def sample(self, y: Tensor, seed: int) -> Tensor:
        """A noisy y, of the same shape (B, ...), dtype and device."""
        if self.sigma == 0:
            return y
        clean = y.detach().float().cpu()
        noisy = [self._sample(v, torch.Generator().manual_seed((seed + i) % 2**64)) for i, v in enumerate(clean)]
        return torch.stack(noisy).to(y)

    @abstractmethod
    def _sample(self, y: Tensor, generator: Generator) -> Tensor: ...


@dataclass(frozen=True)
class NoNoise(NoiseModel):
    """The measurement as it is."""

    sigma: float = 0.0

    def _sample(self, y: Tensor, generator: Generator) -> Tensor:
        return y


@dataclass(frozen=True)
class GaussianNoise(NoiseModel):
    """Additive white noise."""

    sigma: float = 0.05

    def _sample(self, y: Tensor, generator: Generator) -> Tensor:
        return y + self.sigma * torch.randn(y.shape, generator=generator)


@dataclass(frozen=True)
class PoissonNoise(NoiseModel):
    """Photon counts: a white pixel collects 2 / sigma^2 photons on average (the references' rate 1 is sigma 0.0886)."""

    sigma: float = 0.0886

    def _sample(self, y: Tensor, generator: Generator) -> Tensor:
        photons = 2 / self.sigma**2
        counts = torch.poisson((y + 1).clamp_min(0) / 2 * photons, generator=generator)
        return 2 * counts / photons - 1


@dataclass(frozen=True)
class SpeckleNoise(NoiseModel):
    """Multiplicative noise: each intensity in [0, 1] is scaled by 1 + sigma n."""

    sigma: float = 0.1

    def _sample(self, y: Tensor, generator: Generator) -> Tensor:
        return y + (y + 1) * self.sigma * torch.randn(y.shape, generator=generator)


@dataclass(frozen=True)
class SaltAndPepperNoise(NoiseModel):
    """The fraction sigma^2 (at most 1) of the values turns white or black, so that a mid-grey value is off by sigma."""

    sigma: float = 0.2

    def _sample(self, y: Tensor, generator: Generator) -> Tensor:
        u = torch.rand(y.shape, generator=generator)
        fraction = min(self.sigma**2, 1.0)
        return torch.where(u < fraction, torch.where(u < fraction / 2, -1.0, 1.0), y)
