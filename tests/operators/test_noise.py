"""Noise models: level, reproducibility, and the estimate of the level."""

from __future__ import annotations

import pytest
import torch
from psld import operators as ops

MODELS = [
    ops.GaussianNoise(0.1),
    ops.PoissonNoise(0.1),
    ops.SpeckleNoise(0.1),
    ops.SaltAndPepperNoise(0.1),
]
models = pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)


@models
def test_sigma_is_the_deviation_at_mid_grey(model):
    grey = torch.zeros(1, 3, 200, 200)
    noise = model.sample(grey, 0) - grey
    assert noise.square().mean().sqrt() == pytest.approx(model.sigma, rel=0.03)
    assert abs(noise.mean()) < 0.002


@models
def test_batch_equals_single_runs_with_seed_plus_index(model):
    y = torch.rand(3, 1, 8, 8) * 2 - 1
    singles = torch.cat([model.sample(y[i : i + 1], 7 + i) for i in range(3)])
    assert torch.equal(model.sample(y, 7), singles)
    assert not torch.equal(model.sample(y, 7), model.sample(y, 8))


def test_poisson_deviation_grows_with_the_square_root_of_the_light():
    model = ops.PoissonNoise(0.1)
    dark, bright = (model.sample(torch.full((1, 1, 200, 200), v), 0).std() for v in (-0.5, 1.0))
    assert bright / dark == pytest.approx(2, rel=0.03)


def test_no_noise_and_largest_seed():
    y = torch.rand(2, 3, 4, 4)
    assert torch.equal(ops.NoNoise().sample(y, 0), y) and ops.NoNoise().sigma == 0
    assert ops.GaussianNoise().sample(y, 2**64 - 1).isfinite().all()


def test_negative_sigma_is_refused():
    with pytest.raises(ValueError, match="sigma"):
        ops.GaussianNoise(-0.1)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.2])
def test_estimate_sigma_on_shading_edges_and_a_hole(sigma):
    ramp = torch.linspace(-0.8, 0.8, 256)
    clean = torch.stack((ramp.expand(256, 256), 0.4 * ramp[:, None] + 0.5 * (ramp > 0.1), ramp[:, None] * ramp))[None]
    noisy = ops.GaussianNoise(sigma).sample(clean.expand(2, -1, -1, -1), 0)
    noisy[..., 60:140, 60:140] = 1
    torch.testing.assert_close(ops.estimate_sigma(noisy), torch.full((2,), sigma), rtol=0.06, atol=0)


def test_estimate_sigma_of_a_flat_image_is_zero():
    assert ops.estimate_sigma(torch.zeros(1, 3, 16, 16)) == 0
