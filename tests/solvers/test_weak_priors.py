"""A denoiser that is mistaken about the picture at hand: what no measurement corrects adds up over the levels."""

from __future__ import annotations

import pytest
import torch
from psld.solvers import LatentModel, glued_map, local_map, proximal_gluing
from psld.solvers.certainty import uncertainty
from psld.solvers.latent import diffuse
from psld.tests.solvers.gaussian import half_seen_case, levels, randn

SOLVERS = [glued_map, proximal_gluing, local_map]


def drift(solve, steps: int, mistake: float) -> float:
    """Root mean square by which the mean of 50 runs is off in the unseen pixels, in posterior standard deviations."""
    case, sigmas = half_seen_case(mistake), levels(steps, high=10.0, low=0.1)
    start = randn(50, 64, 1, 1, seed=0) * sigmas[0]
    z = solve(case.model(), case.measurement(50), start, sigmas, candidates=1)
    deviations = case.posterior_covariance.diagonal().sqrt()
    unseen = case.H.square().sum(0) == 0
    return float(((z.flatten(1).mean(0) - case.mean) / deviations)[unseen].square().mean().sqrt())


@pytest.mark.parametrize("solve", SOLVERS)
def test_more_steps_do_not_repeat_a_mistake_more_often(solve):
    assert drift(solve, 60, mistake=0.3) < 1.05 * drift(solve, 20, mistake=0.3)


@pytest.mark.parametrize("solve", SOLVERS)
def test_without_a_mistake_there_is_no_drift(solve):
    assert drift(solve, 20, mistake=0.0) < 0.1


@pytest.mark.parametrize(("deviation", "unsure"), [(1.0, 1.0), (0.5, 0.4), (0.1, 0.02)])
@pytest.mark.parametrize("signal", [1.0, 0.6])
def test_a_denoiser_says_how_sure_it_is(deviation, unsure, signal):
    """One of pixels that are N(0, deviation^2), of which sigma 1 by signal leaves deviation^2 / (1 + deviation^2)."""
    sigma = torch.tensor(signal).double()  # noise by signal is 1
    model = LatentModel(lambda z, s: z, lambda x: x, lambda z: z, lambda s: torch.full_like(s, signal))
    z0 = deviation * randn(3, 4, 40, 40, seed=1)
    z = diffuse(model, z0, randn(3, 4, 40, 40, seed=2), sigma)
    z0_hat = deviation**2 / (1 + deviation**2) * z / signal
    assert (uncertainty(model, z, z0, z0_hat, sigma) - unsure).abs().max() < 0.05
