"""Denoising diffusion restoration models, Kawar et al. 2022 (arXiv 2201.11793), for pixel-space models.

With A = U S V^T, x is seen in the basis V, where component i is measured as y_i = (S^+ U^T y)_i with noise of standard
deviation tau_i = sigma_y / s_i. From the denoised estimate x0_hat the next level draws

    not measured           x0_hat + sqrt(1 - eta^2) sigma_next (x - x0_hat) / sigma     + eta sigma_next noise
    sigma_next < tau_i     x0_hat + sqrt(1 - eta^2) sigma_next (y_i - x0_hat) / tau_i   + eta sigma_next noise
    sigma_next >= tau_i    (1 - eta_b) x0_hat + eta_b y_i   + sqrt(sigma_next^2 - tau_i^2 eta_b^2) noise

The singular vectors are never formed: `SpectralOperator` applies functions of S between V and U^T or V^T.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators.base import LinearOperator, SpectralOperator
from ..operators.measurement import Measurement
from .latent import Callback, LatentModel, NoiseSource, Step, noise_levels, per_sample, predicted_noise

RCOND = 1e-3
"""Singular values below this part of the largest count as not measured."""

Value = Tensor | float
Case = Callable[[Tensor, Tensor], Value]
"""(s, tau) -> the factor of a component with singular value s, measured with noise tau."""


@torch.no_grad()
def ddrm(
    model: LatentModel,
    measurement: Measurement,
    z: Tensor,
    sigmas: Tensor,
    *,
    eta: float = 0.85,
    eta_b: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:
    """From noise z (B, C, H, W), the image's shape, at sigmas[0] down to sigmas[-1].

    eta: share of fresh noise, 0 to 1; eta_b: share of the measurement where it is cleaner than the level, 0 to 1.
    ValueError for a latent model or an operator whose singular value decomposition is not known.
    """
    check_supported(measurement.operator, z)
    noise = NoiseSource(z)
    nothing = torch.zeros_like(z)
    z = draw(model, measurement, sigmas[0], nothing, nothing, z / sigmas[0], eta=1.0, eta_b=1.0)
    for i, sigma, sigma_next in noise_levels(sigmas):
        x0_hat = model.denoise(z, sigma)
        predicted = predicted_noise(model, z, x0_hat, sigma)
        z = draw(model, measurement, sigma_next, x0_hat, predicted, noise.like(z), eta, eta_b)
        if callback is not None:
            callback(Step(i, sigma, z, x0_hat, x0_hat))
    return z


def draw(
    model: LatentModel,
    measurement: Measurement,
    sigma: Tensor,
    x0_hat: Tensor,
    predicted: Tensor,
    fresh: Tensor,
    eta: float,
    eta_b: float,
) -> Tensor:
    """z at level sigma from the estimate x0_hat, the noise predicted with it, and fresh noise."""
    A, signal = measurement.operator, model.signal(sigma)
    old, sigma_y = (1 - eta**2) ** 0.5 * sigma, per_sample(measurement.sigmas, x0_hat)

    def gain(unmeasured: Value, noisy: Case, clean: Case) -> Callable[[Tensor], Tensor]:
        def of(s: Tensor) -> Tensor:
            measured = s > RCOND * s.max()
            s = torch.where(measured, s, 1)
            tau = signal * sigma_y / s
            return torch.where(measured, torch.where(tau > sigma, noisy(s, tau), clean(s, tau)), unmeasured)

        return of

    return (
        A.filter(x0_hat, gain(signal, lambda s, tau: signal * (1 - old / tau), lambda s, tau: signal * (1 - eta_b)))
        + A.filter(predicted, gain(old, lambda s, tau: 0.0, lambda s, tau: 0.0))
        + A.spectral(measurement.y, gain(0.0, lambda s, tau: signal * old / tau / s, lambda s, tau: signal * eta_b / s))
        + A.filter(fresh, gain(eta * sigma, lambda s, tau: eta * sigma, lambda s, tau: clean_noise(sigma, eta_b * tau)))
    )


def clean_noise(sigma: Tensor, tau: Tensor) -> Tensor:
    """What is missing to noise of standard deviation sigma where tau is there already."""
    return (sigma**2 - tau**2).clamp(min=0).sqrt()


def check_supported(operator: LinearOperator, z: Tensor) -> None:
    """ValueError, in a sentence for the user, where DDRM does not apply."""
    if tuple(z.shape[1:]) != operator.image_shape:
        raise ValueError(
            f"method: DDRM restores pixels, but this model works on latents of shape {tuple(z.shape[1:])} for images "
            f"of shape {operator.image_shape}; choose a pixel-space model or another method."
        )
    if not isinstance(operator, SpectralOperator):
        raise ValueError(
            f"method: DDRM needs the singular value decomposition of the operator, and {type(operator).__name__} has "
            "none in closed form; choose another operator (a circular boundary, for blurs) or another method."
        )
