"""Noise models: level, reproducibility, and the estimate of the level."""

from __future__ import annotations

import pytest
import torch
from psld import operators as ops
from psld.operators.noise_level import coarse_noise, noise_at

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


def shaded() -> torch.Tensor:
    """(1, 3, 128, 128) from black to white."""
    ramp = torch.linspace(-1, 1, 128)
    return torch.stack((ramp.expand(128, 128), ramp[:, None].expand(128, 128), -ramp.expand(128, 128)))[None]


@pytest.mark.parametrize(("gain", "offset"), [(0.02, 0.0), (0.01, 0.002), (0.0, 0.0025)])
def test_gain_and_offset_of_photon_noise_are_estimated(gain, offset):
    light = (shaded() + 1) / 2
    deviation = (gain * light + offset).sqrt()
    noisy = shaded() + deviation * torch.randn(2, 3, 128, 128)
    for found in zip(*ops.estimate_photon_noise(noisy), strict=True):
        middle = gain / 2 + offset
        assert float(found[0] / 2 + found[1]) == pytest.approx(middle, rel=0.1)
        assert [float(v) for v in found] == pytest.approx([gain, offset], abs=0.25 * middle)
    sigma, by_pixel = noise_at(noisy, torch.ones_like(noisy), *ops.estimate_photon_noise(noisy))
    told = sigma.view(-1, 1, 1, 1) * by_pixel
    assert float((told / deviation.clamp_min(0.3 * middle**0.5)).log().abs().mean()) < 0.1


def test_photon_noise_of_a_flat_image_is_zero_and_weighs_nothing():
    flat = torch.zeros(1, 3, 16, 16)
    gain, offset = ops.estimate_photon_noise(flat)
    assert gain == offset == 0 and (noise_at(flat, torch.ones_like(flat), gain, offset)[1] == 1).all()


def test_noise_that_neighbours_share_is_told_from_white_noise():
    white = 0.1 * torch.randn(1, 3, 128, 128)
    coarse = torch.nn.functional.interpolate(0.1 * torch.randn(1, 3, 64, 64), scale_factor=2, mode="bilinear")
    known = torch.ones_like(white)
    for noise, least, most in ((white, 0, 0), (coarse, 0.4, 1.1)):
        image = shaded() + noise
        found = coarse_noise(image, known, ops.estimate_sigma(image))
        assert least <= float(found / noise.std()) <= most


def test_estimate_sigma_of_a_flat_image_is_zero():
    assert ops.estimate_sigma(torch.zeros(1, 3, 16, 16)) == 0
