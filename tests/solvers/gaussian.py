"""Priors for which everything is known: z0 ~ N(0, C), x = D z0, y = A x + n, all linear, so the posterior is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from psld.operators import GaussianBlur, InpaintMask, LinearOperator
from psld.operators.measurement import Measurement
from psld.solvers import LatentModel
from torch import Tensor


def levels(steps: int, high: float = 20.0, low: float = 0.02) -> Tensor:
    """Log-spaced noise levels that end in 0."""
    return torch.cat([torch.logspace(math.log10(high), math.log10(low), steps), torch.zeros(1)]).double()


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass
class GaussianCase:
    """A measurement of one draw from the prior, and the posterior N(mean, covariance) of its latent.

    decoder: (pixels, latents) with orthogonal columns of one length, so that E = D^T / length^2 is exact.
    floor: standard deviation of what the image has in each direction that the decoder cannot draw.
    """

    operator: LinearOperator
    decoder: Tensor
    covariance: Tensor
    sigma_y: float
    floor: float = 0.0

    def __post_init__(self) -> None:
        d = len(self.covariance)
        images = self.decoder.T.reshape(d, *self.operator.image_shape)
        self.H = self.operator.restrict(self.operator(images)).flatten(1).T
        truth = torch.linalg.cholesky(self.covariance) @ randn(d, seed=3)
        self.encoder = torch.linalg.pinv(self.decoder)
        complement = torch.eye(len(self.decoder)).double() - self.decoder @ self.encoder
        undrawn = self.floor * dense(self.operator) @ complement
        self.y = self.H @ truth + undrawn @ randn(len(self.decoder), seed=5) + self.sigma_y * randn(len(self.H), seed=4)
        gain = self.covariance @ self.H.T
        noise = self.sigma_y**2 * torch.eye(len(self.H), dtype=gain.dtype) + undrawn @ undrawn.T
        gain = torch.linalg.solve(self.H @ gain + noise, gain.T).T
        self.mean = gain @ self.y
        self.posterior_covariance = self.covariance - gain @ self.H @ self.covariance

    def model(self) -> LatentModel:
        d = len(self.covariance)

        def denoise(z: Tensor, sigma: Tensor) -> Tensor:
            shrink = torch.linalg.solve(self.covariance + sigma**2 * torch.eye(d, dtype=z.dtype), self.covariance)
            return (z.flatten(1) @ shrink).view_as(z)

        return LatentModel(
            denoise,
            encode=lambda x: (x.flatten(1) @ self.encoder.T)[..., None, None],
            decode=lambda z0: (z0.flatten(1) @ self.decoder.T).view(-1, *self.operator.image_shape),
        )

    def measurement(self, batch: int) -> Measurement:
        y = self.operator.restrict(self.y.reshape(1, *self.operator.measurement_shape))
        return Measurement(y.expand(batch, *y.shape[1:]).contiguous(), self.operator, self.sigma_y)

    def deviation(self, z: Tensor) -> tuple[float, Tensor]:
        """Sample mean and covariance of z (B, d, 1, 1) in units in which the posterior is N(0, I).

        Returns the length of the one and the eigenvalues of the other, both without a unit.
        """
        L = torch.linalg.cholesky(self.posterior_covariance)
        white = torch.linalg.solve_triangular(L, (z.flatten(1) - self.mean).T, upper=False)
        return float(white.mean(1).norm()), torch.linalg.eigvalsh(white.cov())


BLUR = GaussianBlur((1, 8, 8), sigma=0.8, kernel_size=5)


def standard_case(sigma_y: float = 0.5, gain: float = 1.0) -> GaussianCase:
    """A standard normal latent, decoded onto twelve right singular vectors of the blur, from the strongest on."""
    _, _, V = torch.linalg.svd(dense(BLUR))
    return GaussianCase(BLUR, gain * V[:48:4].T, torch.eye(12, dtype=torch.float64), sigma_y)


def correlated_case(sigma_y: float = 0.5) -> GaussianCase:
    """Correlated latents, decoded in arbitrary directions."""
    decoder, _ = torch.linalg.qr(randn(64, 12, seed=1))
    factor = randn(12, 12, seed=2) / 3
    return GaussianCase(BLUR, decoder, factor @ factor.T + 0.3 * torch.eye(12, dtype=factor.dtype), sigma_y)


def undrawable_case() -> GaussianCase:
    """A third of the pixels of an image, of whose 64 directions the decoder draws six: the others are there too."""
    decoder, _ = torch.linalg.qr(randn(64, 6, seed=1))
    kept = (randn(1, 8, 8, seed=2) < -0.5).double()
    return GaussianCase(InpaintMask((1, 8, 8), kept), decoder, torch.eye(6, dtype=torch.float64), 0.1, floor=0.3)


def dense(operator: LinearOperator) -> Tensor:
    """The matrix of an operator, (measurements, pixels)."""
    n = torch.Size(operator.image_shape).numel()
    return operator(torch.eye(n, dtype=torch.float64).view(n, *operator.image_shape)).flatten(1).T
