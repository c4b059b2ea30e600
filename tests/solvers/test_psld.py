"""The closed-form linear-Gaussian case: a linear autoencoder, a standard normal latent, and its exact denoiser.

There the paper's theorem holds: PSLD recovers the true sample. The latents span singular vectors of A whose singular
values reach from 1 down to 0.03, so that the data term alone is too weak along many of them.
"""

from __future__ import annotations

import math

import pytest
import torch
from psld.operators import GaussianBlur, Identity
from psld.operators.measurement import Measurement
from psld.solvers import GradientError, LatentModel, gml_dps, ldps, psld, psld_reference

LATENTS = 30
A = GaussianBlur((1, 12, 12), sigma=1.0, kernel_size=9)
SIGMAS = torch.cat([torch.logspace(math.log10(14.6), math.log10(0.03), 1000), torch.zeros(1)]).double()


def autoencoder() -> LatentModel:
    """D maps latents onto right singular vectors of A, E = D^T, and E[z0 | z] = z / (1 + sigma^2)."""
    basis = torch.eye(144, dtype=torch.float64)
    matrix = A(basis.view(144, *A.image_shape)).flatten(1).T
    _, s, V = torch.linalg.svd(matrix)
    D = V[torch.linspace(0, int((s > 0.02).sum()) - 1, LATENTS).long()]
    return LatentModel(
        denoise=lambda z, sigma: z / (1 + sigma**2),
        encode=lambda x: (x.flatten(1) @ D.T)[..., None, None],
        decode=lambda z0: (z0.flatten(1) @ D).view(-1, *A.image_shape),
    )


MODEL = autoencoder()


def gaussian_latents(seed: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, LATENTS, 1, 1, generator=generator, dtype=torch.float64)


def relative_error(solve, **weights: float) -> float:
    truth = gaussian_latents(0)
    measurement = Measurement(A(MODEL.decode(truth)), A, sigma_y=0.0)
    z = solve(MODEL, measurement, gaussian_latents(1) * SIGMAS[0], SIGMAS, **weights)
    return float((z - truth).norm() / truth.norm())


def test_psld_recovers_the_true_sample():
    assert relative_error(psld, gamma=0.1, omega=0.1) < 0.05


@pytest.mark.parametrize(
    ("solve", "weights"),
    [
        (psld, dict(gamma=0.0, omega=0.1)),
        (psld, dict(gamma=-0.1, omega=0.1)),
        (gml_dps, dict(gamma=0.1, omega=0.1)),
        (ldps, dict(omega=0.1)),
    ],
)
def test_the_true_sample_is_missed_without_the_gluing(solve, weights):
    assert relative_error(solve, **weights) > 0.2


@pytest.mark.parametrize("steps", [20, 100])
@pytest.mark.parametrize("solve", [psld, gml_dps, ldps])
def test_few_steps_do_not_overshoot(solve, steps):
    """With weights times 1000 / steps alone the residual ends at 8 to 50 times the noise."""
    truth, sigma_y = gaussian_latents(0, batch=4), 0.05
    noise = sigma_y * torch.randn(4, *A.measurement_shape, generator=torch.Generator().manual_seed(2)).double()
    measurement = Measurement(A(MODEL.decode(truth)) + noise, A, sigma_y)
    sigmas = torch.cat([torch.logspace(1, -1, steps), torch.zeros(1)]).double()
    z = solve(MODEL, measurement, gaussian_latents(1, batch=4) * sigmas[0], sigmas, omega=1.0)
    ratio = measurement.rms_residual(MODEL.decode(z)) / sigma_y
    assert (0.8 < ratio).all() and (ratio < 1.2).all()


def test_a_batch_equals_its_single_runs():
    truth, noise = gaussian_latents(0, batch=4), gaussian_latents(1, batch=4) * SIGMAS[0]
    y = A(MODEL.decode(truth))

    def solve(y: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return psld(MODEL, Measurement(y, A, 0.01), noise, SIGMAS[::50], gamma=0.01, omega=0.01)

    torch.testing.assert_close(solve(y, noise), torch.cat([solve(y[i, None], noise[i, None]) for i in range(4)]))


def test_the_data_term_stops_at_the_noise_level():
    sigma_y = 0.1
    noise = sigma_y * torch.randn(1, *A.measurement_shape, generator=torch.Generator().manual_seed(2)).double()
    measurement = Measurement(A(MODEL.decode(gaussian_latents(0))) + noise, A, sigma_y)
    z = ldps(MODEL, measurement, gaussian_latents(1) * SIGMAS[0], SIGMAS, omega=0.5)
    assert 0.9 < float(measurement.rms_residual(MODEL.decode(z))) / sigma_y < 1.2


def test_ldps_on_a_pixel_space_model_is_dps():
    """Chung et al. 2023, algorithm 1 with a deterministic step, written out for one step."""
    pixel = LatentModel(denoise=lambda x, sigma: x / (1 + sigma**2), encode=lambda x: x, decode=lambda x: x)
    operator = GaussianBlur((1, 8, 8), sigma=1.0, kernel_size=5)
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.zeros_like(x)
    sigma, sigma_next, omega = torch.tensor([2.0, 1.0, 0.3], dtype=torch.float64)

    leaf = x.clone().requires_grad_()
    x0_hat = leaf / (1 + sigma**2)
    gradient = torch.autograd.grad(torch.linalg.vector_norm(y - operator(x0_hat)), leaf)[0]
    alpha, alpha_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
    step = alpha_next.sqrt() * x0_hat + (1 - alpha_next).sqrt() * (x - x0_hat) / sigma
    expected = step - omega * gradient / alpha.sqrt()  # x is the variance-exploding state: x / sqrt(alpha)'s gradient

    got = ldps(pixel, Measurement(y, operator, 0.0), x, torch.stack([sigma, sigma_next]), omega=float(omega) / 1000)
    torch.testing.assert_close(got * alpha_next.sqrt(), expected.detach())


def test_the_reference_adds_fresh_noise_and_couples_the_batch():
    y, start = A(MODEL.decode(gaussian_latents(0, batch=2))), gaussian_latents(1, batch=2) * SIGMAS[0]

    def solve(samples: int, sigma_y: float) -> torch.Tensor:
        return psld_reference(MODEL, Measurement(y[:samples], A, sigma_y), start[:samples], SIGMAS[::100])

    run = solve(2, 0.05)
    torch.testing.assert_close(solve(2, 0.05), run)
    assert not torch.allclose(solve(2, 0.0), run)
    assert not torch.allclose(solve(1, 0.05), run[:1])


def test_a_gradient_that_does_not_arrive_stops_the_run():
    deaf = LatentModel(lambda z, sigma: z.detach() + 0 * z, MODEL.encode, MODEL.decode)
    measurement = Measurement(A(MODEL.decode(gaussian_latents(0))), A, 0.0)
    with pytest.raises(GradientError, match="zero"):
        psld(deaf, measurement, gaussian_latents(1), SIGMAS)


def test_a_gradient_that_is_not_finite_stops_the_run():
    broken = LatentModel(lambda z, sigma: z * float("inf"), MODEL.encode, MODEL.decode)
    measurement = Measurement(torch.zeros(1, 1, 12, 12, dtype=torch.float64), Identity((1, 12, 12)), 0.0)
    with pytest.raises(GradientError, match="finite"):
        psld(broken, measurement, gaussian_latents(1), SIGMAS)
