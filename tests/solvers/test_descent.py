"""The most likely move: against the closed form, where a decoder is linear, and downhill, where it bends."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from psld.solvers.descent import Descent, Directions, most_likely_move
from psld.solvers.gradients import GradientError
from psld.solvers.linearised import Linearised
from psld.tests.solvers.gaussian import randn
from psld.tests.solvers.test_methods import MODEL, SHAPE, SMOOTH, measure, start
from torch import Tensor

TRUST = torch.tensor([400.0, 25.0, 1.0]).double()


def closed_form(h: Linearised, trust: Tensor) -> Tensor:
    """(J^T J + I / trust)^-1 J^T residual, J = A."""
    size = h.z0[0].numel()
    J = SMOOTH(torch.eye(size).double().view(size, *SHAPE)).flatten(1).T
    system = J.T @ J + torch.eye(size).double() / trust.view(-1, 1, 1)
    return torch.linalg.solve(system, (h.measurement.residual(h.x0).flatten(1) @ J)).view_as(h.z0)


def test_the_move_is_the_closed_form_where_the_decoder_is_linear():
    h = Linearised(MODEL, measure(SMOOTH), start() / 5)
    move, residual, _ = most_likely_move(h, TRUST, 64)
    torch.testing.assert_close(move, closed_form(h, TRUST), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(residual, h.measurement.residual(h.x0 + move), atol=1e-6, rtol=1e-6)


def test_directions_of_another_level_take_the_place_of_gradients():
    """Nearly the same z0, another trust, the same J: with one gradient what is known does more than four without."""
    z0 = randn(3, *SHAPE, seed=4)
    above, h = (Linearised(MODEL, measure(SMOOTH), z0 + off * randn(3, *SHAPE, seed=5)) for off in (0, 0.1))
    _, _, known = most_likely_move(above, TRUST / 3, 8)

    def error(iterations: int, known: Directions | None = None) -> float:
        return float((most_likely_move(h, TRUST, iterations, known=known)[0] - closed_form(h, TRUST)).norm())

    assert error(0, known) < 0.5 * error(0)
    assert error(1, known) < error(4)
    assert error(64, known) < 1e-5


def test_a_direction_that_is_known_already_leads_nowhere():
    """Of a multiple of what it was led along, and of nothing, no direction is left."""
    descent = Descent(Linearised(MODEL, measure(SMOOTH), start() / 5), TRUST)
    move = randn(3, *SHAPE, seed=6)
    descent.along(move)
    u = descent.u
    descent.along(2 * move)
    descent.along(torch.zeros_like(move), torch.zeros_like(move))
    assert torch.equal(descent.u, u)
    assert not any(left.any() for left in descent.found.moves[1:])


def test_a_gradient_that_is_not_finite_is_no_small_one():
    broken = replace(MODEL, decode=lambda z0: z0 + (z0 - z0.detach()).abs().sqrt())  # of infinite slope
    with pytest.raises(GradientError, match="not finite"):
        most_likely_move(Linearised(broken, measure(SMOOTH), start() / 5), TRUST, 1)


def test_directions_follow_their_samples():
    known = Directions((randn(3, 2, seed=1), randn(3, 2, seed=2)), (randn(3, 5, seed=3), randn(3, 5, seed=4)))
    again = Directions.cat([known.each(lambda of: of[:1]), known.each(lambda of: of[1:])])
    assert all(map(torch.equal, (*known.moves, *known.images), (*again.moves, *again.images)))
    assert len(Directions.cat([Directions(), Directions()])) == 0


def test_conjugate_gradients_never_lead_away_where_a_decoder_bends():
    """J is a difference over a stretch, J^T the slope at its start: no transposes, where that stretch is no line."""
    bending = replace(MODEL, decode=lambda z0: z0 + 0.1 * torch.sin(15 * z0))
    h, trust = Linearised(bending, measure(SMOOTH), start() / 5), torch.full((3,), 400.0).double()

    def cost(u: Tensor, residual: Tensor) -> Tensor:
        return trust * residual.flatten(1).square().sum(1) + u.flatten(1).square().sum(1)

    costs = [cost(*most_likely_move(h, trust, iterations)[:2]) for iterations in range(13)]
    assert all((after <= before).all() for before, after in pairwise(costs))
    assert (costs[-1] < 0.1 * costs[0]).all()
