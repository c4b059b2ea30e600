"""Several ways down from noise, of which the likeliest arrives."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from psld.operators import InpaintMask
from psld.operators.measurement import Measurement
from psld.solvers import LatentModel, NoiseSource, glued_map, local_map, proximal_gluing
from psld.solvers.candidates import Candidates, least, parting, thin_out
from psld.solvers.likeliest import telling_level, unlikelihood
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


def share_of_rare(solve, candidates: int, batch: int = 1500) -> float:
    z = solve(MODEL, measure(batch), start(batch, seed=5), SIGMAS, candidates=candidates, temperature=1.0)
    return float((z[..., 0] < 0).double().mean())


@pytest.mark.parametrize("solve", [glued_map, proximal_gluing, local_map])
def test_the_likelier_answer_is_found_more_often_among_several_candidates(solve):
    alone = share_of_rare(solve, 1)
    assert 0.1 < alone < 0.4
    assert share_of_rare(solve, 3) < 0.85 * alone


def cost(z0: Tensor, measurement: Measurement) -> Tensor:
    return unlikelihood(MODEL, measurement, z0, telling_level(MODEL, SIGMAS), randn(*z0.shape, seed=6))


def test_what_the_prior_knows_is_likelier_sample_by_sample():
    likely, strange = torch.ones(2, 4, 1, 1, 16).double()
    strange[..., 0] = torch.tensor([-0.2, 2.0, -3.0, 3.0])[:, None, None]
    assert (cost(likely, measure(4)) < cost(strange, measure(4))).all()


def test_what_fits_the_measurement_is_likelier_and_no_fit_beats_the_noise():
    """Half the residual is worth log 2 for each measured pixel, down to sigma_y."""
    ones = torch.ones(1, 1, 1, 16).double()
    m = measure(1)
    near, nearer = (replace(m, y=m.operator(ones + error)) for error in (0.4, 0.2))
    gain = cost(ones, near) - cost(ones, nearer)
    assert float(gain) == pytest.approx(15 * math.log(2))
    assert cost(ones, replace(m, y=m.operator(ones))) == cost(ones, replace(m, y=m.operator(ones + 0.05)))


def test_a_candidate_that_overflowed_does_not_go_on():
    likely = torch.ones(2, 1, 1, 16).double()
    spoilt = torch.full_like(likely, torch.nan)
    assert cost(spoilt, measure(2)).isinf().all() and cost(likely, measure(2)).isfinite().all()
    assert least(torch.tensor([[torch.nan], [3.0]]), 1).tolist() == [1]


def candidates(count: int, images: int = 2) -> Candidates:
    z = randn(count * images, 1, 1, 16, seed=0)
    return Candidates(NoiseSource(z), z, 1 + z / 10, torch.zeros(count * images).double())


def test_the_least_cost_goes_first_for_each_image():
    costs = torch.tensor([[3.0, 1.0], [1.0, 2.0], [2.0, 3.0]])
    running = candidates(3).take(least(costs, 2))
    first_of_second, second_of_first = candidates(3).z0[2], candidates(3).z0[1]
    assert torch.equal(running.z0[0], first_of_second) and torch.equal(running.z0[1], second_of_first)


def test_a_fork_keeps_the_first_and_gives_the_others_noise_of_their_own():
    one, three = candidates(1), candidates(1).fork(3)
    assert torch.equal(three.noise[:2], one.noise) and torch.equal(three.z0, one.z0.repeat(3, 1, 1, 1))
    drawn = three.source.like(three.z0)
    assert torch.corrcoef(drawn.flatten(1)).fill_diagonal_(0).abs().max() < 0.8


def test_one_stands_for_all_until_pictures_part():
    index = parting(MODEL, SIGMAS)
    assert SIGMAS[index - 1] > 3 > SIGMAS[index]
    assert parting(MODEL, SIGMAS[-5:]) == 0 and parting(MODEL, SIGMAS[:3]) == 1


@pytest.mark.parametrize(("sigma", "arrive", "left"), [(1.0, 1, 5), (0.7, 1, 2), (0.4, 1, 1), (0.2, 2, 2)])
def test_many_start_and_one_arrives_or_two_for_their_mean(sigma, arrive, left):
    running = thin_out(MODEL, measure(2), candidates(5), SIGMAS, torch.tensor(sigma).double(), arrive)
    assert len(running.z0) == 2 * left


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 200])
def test_they_are_told_apart_where_a_picture_has_its_shapes(steps):
    probe = telling_level(MODEL, levels(steps, high=10.0))
    assert probe > 0 and (steps < 20 or 0.5 < probe < 1)


def test_each_sample_takes_its_own_choice_and_a_batch_equals_its_single_runs():
    noise = start(6, seed=7)
    batch = glued_map(MODEL, measure(6), noise, SIGMAS, candidates=3)
    singles = [glued_map(MODEL, measure(1), one[None], SIGMAS, candidates=3) for one in noise]
    torch.testing.assert_close(batch, torch.cat(singles))


def test_a_run_that_ends_before_the_picture_has_settled_still_returns_one():
    sigmas = SIGMAS[:4]
    z = glued_map(MODEL, measure(2), start(2, seed=8), sigmas, candidates=3)
    assert z.shape == (2, 1, 1, 16) and torch.isfinite(z).all()
