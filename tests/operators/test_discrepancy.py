"""The nearest image that meets a measurement up to its noise."""

from __future__ import annotations

import pytest
import torch
from psld.operators import Denoise, GaussianBlur, InpaintBox, MotionBlur, SuperResolution
from psld.operators.discrepancy import ROUNDING, fit_to_noise_level
from psld.operators.measurement import Measurement

SHAPE = (3, 32, 32)
OPERATORS = {
    "mask": InpaintBox(SHAPE, 16, (8, 8)),
    "identity": Denoise(SHAPE),
    "blur": GaussianBlur(SHAPE, sigma=1.0, kernel_size=7),
    "down-sampling": SuperResolution(SHAPE, factor=4.0),
    "by conjugate gradients": MotionBlur(SHAPE, kernel_size=7, intensity=0.5, seed=0, boundary="reflect"),
}


def case(operator, sigma_y: float, batch: int = 3) -> tuple[Measurement, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(batch, *SHAPE, generator=generator, dtype=torch.float64) * 2 - 1
    y = operator(truth)
    y = operator.restrict(y + sigma_y * torch.randn(y.shape, generator=generator, dtype=torch.float64))
    return Measurement(y, operator, sigma_y), truth + 0.3 * torch.randn(truth.shape, generator=generator).double()


@pytest.mark.parametrize("sigma_y", [0.05, 0.2])
@pytest.mark.parametrize("name", OPERATORS)
def test_the_residual_comes_down_to_the_noise_and_no_further(name, sigma_y):
    measurement, x = case(OPERATORS[name], sigma_y)
    fitted = fit_to_noise_level(measurement, x)
    before, after = measurement.rms_residual(x), measurement.rms_residual(fitted)
    expected = torch.minimum(before, torch.full_like(before, sigma_y))
    torch.testing.assert_close(after, expected, rtol=1e-3, atol=0)


def test_no_image_that_fits_as_well_is_nearer():
    """The optimum of a projection onto a convex set: every point of the set lies beyond its tangent plane."""
    measurement, x = case(OPERATORS["blur"], 0.05, batch=1)
    fitted = fit_to_noise_level(measurement, x)
    for seed in range(20):
        other = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
        other = fit_to_noise_level(measurement, other)
        assert torch.sum((x - fitted) * (other - fitted)) < 1e-6


def test_an_image_that_fits_is_returned_and_one_that_does_not_leaves_it_alone():
    measurement, x = case(OPERATORS["mask"], 0.05, batch=2)
    fits = measurement.operator.adjoint(measurement.y[:1])
    fitted = fit_to_noise_level(measurement, torch.cat([fits, x[1:]]))
    assert torch.equal(fitted[:1], fits) and not torch.equal(fitted[1:], x[1:])
    single = Measurement(measurement.y[1:], measurement.operator, measurement.sigma_y)
    torch.testing.assert_close(fitted[1:], fit_to_noise_level(single, x[1:]))


def test_known_pixels_of_a_measurement_without_noise_are_kept_to_the_rounding_of_a_picture():
    measurement, x = case(OPERATORS["mask"], 0.0)
    fitted = fit_to_noise_level(measurement, x)
    assert (measurement.rms_residual(fitted) <= ROUNDING).all()
    unknown = measurement.operator.restrict(torch.ones_like(x)) == 0
    assert torch.equal(fitted[unknown], x[unknown])


def test_an_exact_measurement_of_an_invertible_operator_gives_the_photo():
    """From a guess 0.3 off, of which a fit up to the rounding of a picture alone would keep a part."""
    blur = MotionBlur(SHAPE, kernel_size=7, intensity=0.5, seed=0, boundary="circular")
    measurement, x = case(blur, 0.0)
    fitted = fit_to_noise_level(measurement, x)
    torch.testing.assert_close(fitted, blur.pinv(measurement.y), atol=1e-3, rtol=0)
    assert (fitted - x).square().mean().sqrt() > 0.25


def test_a_rounded_measurement_that_is_told_to_be_exact_is_met_up_to_its_rounding():
    measurement, x = case(OPERATORS["blur"], 0.0)
    rounded = Measurement((measurement.y * 127.5 + 127.5).round() / 127.5 - 1, measurement.operator, 0.0)
    fitted = fit_to_noise_level(rounded, x)
    torch.testing.assert_close(rounded.rms_residual(fitted), torch.full((3,), ROUNDING).double(), rtol=1e-2, atol=0)
    assert (fitted - x).square().mean().sqrt() < 0.3


def test_each_image_is_fitted_to_its_own_noise():
    measurement, x = case(OPERATORS[next(iter(OPERATORS))], 0.1)
    levels = torch.tensor([0.05, 0.0, 0.2], dtype=x.dtype)
    together = fit_to_noise_level(Measurement(measurement.y, measurement.operator, levels), x)
    for i in range(3):
        single = Measurement(measurement.y[i, None], measurement.operator, float(levels[i]))
        torch.testing.assert_close(together[i, None], fit_to_noise_level(single, x[i, None]))
