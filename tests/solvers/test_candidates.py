"""Several ways down from noise, of which the one that the prior finds likeliest goes on."""

from __future__ import annotations

import pytest
import torch
from psld.operators import InpaintMask
from psld.operators.measurement import Measurement
from psld.solvers import LatentModel, NoiseSource, glued_map, local_map, proximal_gluing
from psld.solvers.likeliest import likeliest, telling_levels
from psld.tests.solvers.gaussian import levels, randn
from torch import Tensor

RARE, SCATTER = 0.25, 0.2
MEANS = torch.ones(2, 16).double()
MEANS[1, 0] = -1
SIGMAS = levels(20, high=10.0)


def denoise(z: Tensor, sigma: Tensor) -> Tensor:
    """Exact for pixels of 1, the first of which is -1 in a quarter of the pictures, give or take SCATTER."""
    x, variance = z.flatten(1)[:, None], SCATTER**2
    odds = torch.tensor([1 - RARE, RARE]).log() - (x - MEANS).square().sum(2) / (2 * (variance + sigma**2))
    posterior_means = (variance * x + sigma**2 * MEANS) / (variance + sigma**2)
    return (odds.softmax(1)[..., None] * posterior_means).sum(1).view_as(z)


MODEL = LatentModel(denoise, encode=lambda x: x, decode=lambda x: x)


def measure(batch: int) -> Measurement:
    """All pixels but the first, of which they tell nothing."""
    known = torch.ones(1, 16)
    known[0, 0] = 0
    return Measurement(known.expand(batch, 1, 1, 16), InpaintMask((1, 1, 16), mask=known), 0.1)


def start(batch: int, seed: int) -> Tensor:
    return randn(batch, 1, 1, 16, seed=seed) * SIGMAS[0]


def share_of_rare(solve, candidates: int, batch: int = 400) -> float:
    z = solve(MODEL, measure(batch), start(batch, seed=5), SIGMAS, candidates=candidates, temperature=1.0)
    return float((z[..., 0] < 0).double().mean())


@pytest.mark.parametrize("solve", [glued_map, proximal_gluing, local_map])
def test_the_likelier_answer_is_found_more_often_among_several_candidates(solve):
    alone = share_of_rare(solve, 1)
    assert 0.1 < alone < 0.4
    assert share_of_rare(solve, 3) < 0.6 * alone


def test_the_likeliest_is_found_sample_by_sample():
    likely, strange = torch.ones(2, 4, 1, 1, 16).double()
    strange[..., 0] = torch.tensor([-0.2, 2.0, -3.0, 3.0])[:, None, None]
    first, second = torch.cat([likely[:2], strange[:2]]), torch.cat([strange[:2], likely[:2]])
    best = likeliest(MODEL, [first, second], telling_levels(MODEL, SIGMAS), NoiseSource(start(4, seed=6)))
    assert best.tolist() == [0, 0, 1, 1]


def test_a_candidate_that_overflowed_is_never_the_likeliest():
    likely = torch.ones(2, 1, 1, 16).double()
    spoilt = torch.full_like(likely, torch.nan)
    best = likeliest(MODEL, [spoilt, likely + 3], telling_levels(MODEL, SIGMAS), NoiseSource(start(2, seed=6)))
    assert best.tolist() == [1, 1]


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 200])
def test_probes_are_few_and_below_the_noise_that_hides_everything(steps):
    sigmas = levels(steps, high=10.0)
    probes = telling_levels(MODEL, sigmas)
    assert 1 <= len(probes) <= 4 and (probes > 0).all()
    if steps >= 20:
        assert len(probes) == 4 and 0.25 < probes.min() and probes.max() < 1.6


def test_each_sample_takes_its_own_choice_and_a_batch_equals_its_single_runs():
    noise = start(6, seed=7)
    batch = glued_map(MODEL, measure(6), noise, SIGMAS, candidates=3)
    singles = [glued_map(MODEL, measure(1), one[None], SIGMAS, candidates=3) for one in noise]
    torch.testing.assert_close(batch, torch.cat(singles))


def test_a_run_that_ends_before_the_picture_has_settled_still_returns_one():
    sigmas = SIGMAS[:4]
    z = glued_map(MODEL, measure(2), start(2, seed=8), sigmas, candidates=3)
    assert z.shape == (2, 1, 1, 16) and torch.isfinite(z).all()
