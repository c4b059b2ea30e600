"""How sure a denoiser is of a picture, from the noise that it was given."""

from __future__ import annotations

import pytest
import torch
from psld.solvers import LatentModel
from psld.solvers.certainty import uncertainty
from psld.solvers.latent import diffuse
from psld.tests.solvers.gaussian import randn


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
