"""Samples against the exact posterior of linear-Gaussian cases: who is exact is exact, who is biased is so as stated.

Deviations are in units in which the posterior is N(0, I): its mean has length 0, its covariance eigenvalues 1.
"""

from __future__ import annotations

import math

import pytest
import torch
from psld.operators import InpaintMask
from psld.operators.measurement import Measurement
from psld.solvers import LatentModel, ddrm, glued_map, latent_daps, lmap_rps, local_map, mmps, proximal_gluing, resample
from psld.tests.solvers.gaussian import (
    BLUR,
    GaussianCase,
    correlated_case,
    dense,
    levels,
    randn,
    standard_case,
    undrawable_case,
)
from torch import Tensor

pytestmark = pytest.mark.slow
BATCH = 1000  # sampling error: the mean within 0.2, eigenvalues within 0.25


def deviation(case: GaussianCase, solve, sigmas: Tensor, **parameters) -> tuple[float, Tensor]:
    start = randn(BATCH, len(case.mean), 1, 1, seed=0) * sigmas[0]
    return case.deviation(solve(case.model(), case.measurement(BATCH), start, sigmas, **parameters))


def assert_exact(mean: float, spread: Tensor, tolerance: float) -> None:
    assert mean < tolerance and (spread - 1).abs().max() < tolerance


def test_mmps_samples_the_posterior_of_correlated_latents():
    assert_exact(*deviation(correlated_case(), mmps, levels(40), iterations=8), tolerance=0.35)


def test_mmps_with_too_few_iterations_does_not():
    _, spread = deviation(correlated_case(sigma_y=0.1), mmps, levels(40), iterations=1)
    assert (spread - 1).abs().max() > 0.5


@pytest.mark.parametrize("solve", [glued_map, proximal_gluing, local_map])
def test_without_fresh_noise_the_fixed_point_is_the_posterior_ode(solve):
    as_ode = dict(c=1.0, eta=0.0, temperature=1.0, candidates=1)
    assert_exact(*deviation(standard_case(), solve, levels(40), **as_ode), tolerance=0.35)


@pytest.mark.parametrize("solve", [glued_map, proximal_gluing, local_map])
def test_with_fresh_noise_it_keeps_the_mean_and_loses_spread(solve):
    mean, spread = deviation(standard_case(), solve, levels(40), c=1.0, eta=1.0, temperature=1.0, candidates=1)
    assert mean < 0.2
    assert 0.2 < spread.min() and spread.max() < 0.7


FRESH = dict(c=1.0, eta=1.0, temperature=1.0, candidates=1)


@pytest.mark.parametrize("solve", [glued_map, local_map])
def test_what_the_decoder_cannot_draw_is_taken_for_noise(solve):
    mean, spread = deviation(undrawable_case(), solve, levels(40), **FRESH)
    assert mean < 0.35
    assert 0.2 < spread.min() and 0.6 < spread.max() < 1.2


def test_a_solver_that_takes_it_for_the_picture_is_wrong_and_sure_of_it():
    """Proximal gluing asks for no residual and so learns of no floor."""
    mean, spread = deviation(undrawable_case(), proximal_gluing, levels(40), **FRESH)
    assert mean > 0.5 and spread.max() < 0.3


def test_a_latent_may_be_worth_few_pixels():
    """The glued image needs r as a length in pixels, which the encoder tells; were it r, the mean were 11 off."""
    mean, spread = deviation(standard_case(0.05, gain=0.1), proximal_gluing, levels(40), **FRESH)
    assert mean < 0.2
    assert 0.2 < spread.min() and spread.max() < 0.7


@pytest.mark.parametrize("solve", [glued_map, proximal_gluing, local_map])
def test_more_trust_in_the_measurement_fits_closer(solve):
    case, sigmas = standard_case(), levels(20)
    start = randn(200, 12, 1, 1, seed=0) * sigmas[0]
    model, measurement = case.model(), case.measurement(200)
    fits = [
        float(measurement.rms_residual(model.decode(solve(model, measurement, start, sigmas, c=c))).mean())
        for c in (0.3, 1.0, 3.0)
    ]
    assert fits[0] > fits[1] > fits[2]


@pytest.mark.parametrize("case", [standard_case(), correlated_case(), undrawable_case()])
def test_lmap_rps_is_the_posterior_mean_whatever_the_noise(case):
    """The most likely latent of a Gaussian posterior is its mean; each of 20 noises leads there."""
    at_one_level = torch.tensor([0.05] * 100 + [0.0]).double()
    start = randn(20, len(case.mean), 1, 1, seed=0)
    z = lmap_rps(case.model(), case.measurement(20), start, at_one_level)
    posterior = torch.linalg.cholesky(case.posterior_covariance)
    away = torch.linalg.solve_triangular(posterior, (z.flatten(1) - case.mean).T, upper=False)
    assert away.norm(dim=0).max() < 0.2


def test_latent_daps_samples_the_posterior():
    settings = dict(ode_steps=1, langevin_steps=15, step_size=0.2)
    assert_exact(*deviation(standard_case(), latent_daps, levels(20), **settings), tolerance=0.45)


def test_latent_daps_with_the_ode_is_too_wide():
    """The end of the ODE is already a sample, not a mean; Langevin noise comes on top of its spread."""
    mean, spread = deviation(standard_case(), latent_daps, levels(20), ode_steps=5, langevin_steps=15, step_size=0.2)
    assert mean < 0.4 and 1.4 < spread.max() < 2.2


def test_resample_fits_down_to_the_noise_level():
    case, sigmas = standard_case(sigma_y=0.1), levels(20)
    model, measurement = case.model(), case.measurement(20)
    z = resample(model, measurement, randn(20, 12, 1, 1, seed=0) * sigmas[0], sigmas, latent_iterations=100)
    assert ((measurement.rms_residual(model.decode(z)) / 0.1 - 1).abs() < 0.05).all()
    error = (z.flatten(1) - case.mean).norm(dim=1).mean()
    assert error < 0.6 * case.mean.norm()


@pytest.mark.parametrize("eta", [0.0, 0.85, 1.0])
def test_ddrm_draws_what_the_paper_says(eta):
    """Components in the basis V do not mix under a standard normal prior: mean and variance follow by hand."""
    sigma_y, sigmas = 0.3, levels(12)
    _, s, V = torch.linalg.svd(dense(BLUR))
    y = randn(1, *BLUR.measurement_shape, seed=5)
    measurement = Measurement(y.expand(BATCH, -1, -1, -1), BLUR, sigma_y)
    x = ddrm(pixel_model(), measurement, randn(BATCH, 1, 8, 8, seed=0) * sigmas[0], sigmas, eta=eta)
    got = x.flatten(1) @ V.T

    y_bar = (torch.linalg.pinv(dense(BLUR)) @ y.flatten()) @ V.T
    for i, (si, yi) in enumerate(zip(s.tolist(), y_bar.tolist(), strict=True)):
        mean, variance = ddrm_by_hand(sigmas.tolist(), sigma_y / si, yi, eta)
        deviation = math.sqrt(variance)
        assert abs(float(got[:, i].mean()) - mean) < 0.15 * deviation + 1e-4 * abs(mean)
        assert abs(float(got[:, i].std()) - deviation) < 0.12 * deviation


def ddrm_by_hand(sigmas: list[float], tau: float, y: float, eta: float) -> tuple[float, float]:
    """Mean and variance of one measured component: Kawar et al. 2022, equations 4 to 8 with eta_b = 1."""
    mean, variance = (y, sigmas[0] ** 2 - tau**2) if sigmas[0] >= tau else (0.0, sigmas[0] ** 2)
    for sigma, sigma_next in zip(sigmas, sigmas[1:], strict=False):
        shrink = 1 / (1 + sigma**2)
        if sigma_next >= tau:
            mean, variance = y, sigma_next**2 - tau**2
        else:
            pull = math.sqrt(1 - eta**2) * sigma_next / tau
            mean = (1 - pull) * shrink * mean + pull * y
            variance = ((1 - pull) * shrink) ** 2 * variance + (eta * sigma_next) ** 2
    return mean, variance


def test_ddrm_fills_what_was_not_measured_with_the_prior():
    mask = torch.arange(64).view(8, 8) % 2
    operator = InpaintMask((1, 8, 8), mask)
    measurement = Measurement(operator(randn(1, 1, 8, 8, seed=5)).expand(BATCH, -1, -1, -1), operator, 0.0)
    sigmas = levels(60)
    x = ddrm(pixel_model(), measurement, randn(BATCH, 1, 8, 8, seed=0) * sigmas[0], sigmas, eta=0.0)
    unknown = x[:, 0, mask == 0]
    assert unknown.mean(0).abs().max() < 0.15 and 0.9 < float(unknown.std()) < 1.1


def pixel_model() -> LatentModel:
    """A standard normal prior on pixels: E = D = identity."""
    return LatentModel(lambda x, sigma: x / (1 + sigma**2), lambda x: x, lambda x: x)


def test_mmps_in_pixel_space_agrees_with_azula():
    """One guided estimate of Rozet's own package, for the same prior, measurement and number of iterations."""
    azula_denoise, azula_mmps = pytest.importorskip("azula.denoise"), pytest.importorskip("azula.guidance.mmps")
    from azula.linalg.covariance import IsotropicCovariance
    from azula.noise import VESchedule

    class Prior(azula_denoise.Denoiser):
        schedule = VESchedule()

        def forward(self, x_t, t):
            _, sigma = self.schedule(t)
            return azula_denoise.DiracPosterior(smooth_denoiser(x_t, sigma))

    sigma_y, t = 0.2, torch.tensor(0.5, dtype=torch.float64)
    _, sigma = Prior.schedule(t)
    x_t, y = randn(2, 1, 8, 8, seed=1) * sigma, randn(2, *BLUR.measurement_shape, seed=2)
    noise = IsotropicCovariance(torch.tensor(sigma_y**2, dtype=torch.float64))
    guided = azula_mmps.MMPSDenoiser(Prior(), y.flatten(1), lambda x: BLUR(x).flatten(1), noise, "cg", iterations=3)
    model = LatentModel(smooth_denoiser, lambda x: x, lambda x: x)
    got = mmps(model, Measurement(y, BLUR, sigma_y), x_t, torch.stack([sigma, torch.zeros_like(sigma)]), iterations=3)
    torch.testing.assert_close(got, guided(x_t, t).mean)


def smooth_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """Exact for pixels that are N(0, A A): neighbours are alike."""
    return BLUR.filter(x, lambda s: s**2 / (s**2 + sigma**2))
