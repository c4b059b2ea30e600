"""Nodes around the measurement, in the executor's own classes: noise, real photos, operators and data consistency."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from psld import operators as ops
from psld.devkit import ROOT
from psld.tests.prompts import call

SAMPLES = ROOT / "workflows" / "samples"


def hand(name: str = "hand_five.png") -> torch.Tensor:
    """A sample photo as an IMAGE, (1, 64, 64, 3)."""
    return torch.from_numpy(np.array(Image.open(SAMPLES / name).convert("RGB")))[None] / 255


def all_levels() -> torch.Tensor:
    """An IMAGE (1, 32, 64, 3) with every 8-bit level and the darkest 16-bit ones."""
    levels = torch.cat([torch.arange(256) / 255, torch.arange(32 * 64 * 3 - 256) / 65535])
    return levels.view(1, 32, 64, 3)


def measure(image: torch.Tensor, operator: str = "Denoise", noise: str = "none", level: float = 0.0, **parameters):
    (A,) = call(operator, **parameters)
    return call("Measure", image=image, operator=A, noise=noise, sigma=level, seed=7)[0]


def consistent(image: torch.Tensor, measurement, method: str = "exact", rcond: float = 1e-3, error: float = 0.1):
    return call("DataConsistency", image=image, measurement=measurement, method=method, rcond=rcond, error=error)[0]


def from_photo(image: torch.Tensor, operator, sigma: float = 0.02, **more) -> list:
    return call("MeasurementFromImage", image=image, operator=operator, sigma=sigma, **more)


BLUR = {"sigma": 1.5, "kernel_size": 13, "boundary": "reflect"}
HOLE = torch.zeros(1, 64, 64)
HOLE[:, 10:30, 20:50] = 1


@pytest.mark.parametrize("noise", ["gaussian", "poisson", "none", "speckle", "salt-and-pepper"])
def test_measured_noise_is_that_of_its_model_at_the_sigma_the_solver_is_told(noise):
    grey = torch.full((1, 200, 200, 3), 0.5)
    measurement = measure(grey, noise=noise, level=0.3)
    assert measurement.sigma_y == (0.0 if noise == "none" else 0.3)
    assert float(measurement.y.square().mean().sqrt()) == pytest.approx(measurement.sigma_y, rel=0.02)
    hit = float((measurement.y.abs() == 1).float().mean())
    assert hit == pytest.approx(0.3**2 if noise == "salt-and-pepper" else 0, abs=0.01)


def test_speckle_leaves_black_alone_and_doubles_at_white():
    image = torch.cat([torch.zeros(1, 100, 100, 3), torch.ones(1, 100, 100, 3)], dim=2)
    y = measure(image, noise="speckle", level=0.1).y
    assert (y[..., :100] == -1).all() and float(y[..., 100:].std()) == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_sigma_is_estimated_from_the_known_pixels_of_a_photo(sigma):
    """The hand's own texture counts as noise of about 0.02."""
    noisy = hand() + sigma / 2 * torch.randn(1, 64, 64, 3)
    damaged = torch.where(HOLE[..., None] > 0, torch.rand(1, 64, 64, 3), noisy)
    for operator, photo in ((call("Denoise"), noisy), (call("InpaintMask", mask=HOLE), damaged)):
        measurement, _, told, _ = from_photo(photo, operator[0], -1.0)
        assert measurement.sigma_y == told == pytest.approx((sigma**2 + 0.02**2) ** 0.5, rel=0.1)


def test_the_estimate_does_not_see_the_edges_of_many_holes():
    noisy = 0.5 + 0.05 * torch.randn(1, 64, 64, 3)
    stripes = torch.zeros(1, 64, 64)
    stripes[..., ::4] = 1  # leaves 3 of 4 columns
    (operator,) = call("InpaintMask", mask=stripes)
    assert from_photo(noisy, operator, -1.0)[2] == pytest.approx(0.1, rel=0.06)
    (lost,) = call("InpaintRandom", low=0.9, high=0.9, seed=0)
    with pytest.raises(ValueError, match="sigma: it cannot be estimated, because too few of the known pixels"):
        from_photo(noisy, lost, -1.0)


def test_each_photo_of_a_batch_has_its_own_noise():
    noisy = hand() + torch.tensor([0.02, 0.08]).view(2, 1, 1, 1) * torch.randn(2, 64, 64, 3)
    (operator,) = call("Denoise")
    together, _, sigma, words = from_photo(noisy, operator, -1.0)
    singles = [from_photo(photo[None], operator, -1.0)[0].sigma_y for photo in noisy]
    assert together.sigma_y.tolist() == singles and singles[1] > 3 * singles[0]
    assert sigma == pytest.approx((sum(s**2 for s in singles) / 2) ** 0.5)
    assert words.splitlines()[1] == f"photo 2: noise of {singles[1] * 127.5:.1f} of 255 grey levels " + (
        f"(sigma {singles[1]:.3g}), estimated."
    )
    both = consistent(hand().expand(2, -1, -1, -1), together, "noise-aware")
    for i in range(2):
        alone = from_photo(noisy[i, None], operator, -1.0)[0]
        torch.testing.assert_close(both[i, None], consistent(hand(), alone, "noise-aware"))


def test_photon_noise_weighs_each_pixel_by_its_light():
    shaded = torch.linspace(0.05, 0.8, 64).view(1, 1, 64, 1).expand(1, 64, -1, 3)
    noisy = measure(shaded, noise="poisson", level=0.15)
    photo = (noisy.y.movedim(1, -1).float() + 1) / 2
    (operator,) = call("Denoise")
    for sigma in (0.15, -1.0):
        measurement, picture, told, words = from_photo(photo, operator, sigma, noise="poisson")
        torch.testing.assert_close(picture, photo.clamp(0, 1))
        assert told == measurement.sigma_y == pytest.approx(0.15, rel=0.2) and "at mid grey" in words
        residual = measurement.residual(shaded.movedim(-1, 1).double() * 2 - 1) / measurement.sigma_y
        dark, bright = (float(part.square().mean()) for part in (residual[..., :16], residual[..., 48:]))
        assert dark == pytest.approx(1, abs=0.25) and bright == pytest.approx(1, abs=0.15)
    view = dict(view="pseudo-inverse", rcond=0.0)
    shown = [call("ViewMeasurement", measurement=m, **view)[0] for m in (measurement, noisy)]
    torch.testing.assert_close(*shown, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="operator: JPEG is not linear"):
        from_photo(photo, call("JPEG", quality=10, subsample=True)[0], noise="poisson")


def test_noise_that_was_enlarged_is_told():
    coarse = torch.nn.functional.interpolate(0.1 * torch.randn(1, 3, 32, 32), scale_factor=2, mode="bilinear")
    (operator,) = call("Denoise")
    assert "neighbouring pixels are off together" in from_photo(hand() + coarse.movedim(1, -1), operator, -1.0)[3]
    assert "neighbouring" not in from_photo(hand() + 0.1 * torch.randn(1, 64, 64, 3), operator, -1.0)[3]


def test_a_given_sigma_must_be_a_level():
    (operator,) = call("Denoise")
    with pytest.raises(ValueError, match="sigma: it is -0.5; give 0 or more, or -1"):
        from_photo(hand(), operator, -0.5)
    with pytest.raises(ValueError, match="sigma: it cannot be estimated, because the image is"):
        from_photo(hand()[:, :2], operator, -1.0)


def test_a_grey_photo_becomes_a_measurement_of_a_colour_image():
    (operator,) = call("Greyscale", red=0.299, green=0.587, blue=0.114)
    grey = hand().mean(-1, keepdim=True)
    for photo in (grey, grey.expand(-1, -1, -1, 3)):
        measurement, picture = from_photo(photo, operator)[:2]
        assert measurement.operator.image_shape == (3, 64, 64) and measurement.y.shape == (1, 1, 64, 64)
        torch.testing.assert_close(picture, grey.expand(-1, -1, -1, 3))
    sepia = grey * torch.tensor([1.0, 0.8, 0.6])
    luma = (sepia * torch.tensor([0.299, 0.587, 0.114])).sum(-1, keepdim=True)
    torch.testing.assert_close(from_photo(sepia, operator)[1], luma.expand(-1, -1, -1, 3))


def test_a_small_grey_photo_becomes_a_measurement_of_a_large_colour_image():
    (grey,) = call("Greyscale", red=0.3, green=0.6, blue=0.1)
    (small,) = call("SuperResolution", factor=2.5, kernel="box")
    for first, second in ((grey, small), (small, grey)):
        (operator,) = call("Compose", first=first, second=second)
        measurement = from_photo(hand()[:, :20, :31], operator)[0]
        assert measurement.operator.image_shape == (3, 50, 77) and measurement.y.shape == (1, 1, 20, 31)


def test_a_photo_that_the_operator_cannot_have_made_is_refused():
    (operator,) = call("CompressedSensing", ratio=0.5, seed=0)
    with pytest.raises(ValueError, match=r"image: its size is 64 x 64, .* \(CompressedSensing\) gives no pict"):
        from_photo(hand(), operator)


def test_apply_operator_degrades_and_goes_back():
    (blur,) = call("GaussianBlur", **BLUR)
    A = ops.GaussianBlur((3, 64, 64), **BLUR)
    x = hand().movedim(-1, 1) * 2 - 1
    wanted = {"forward": A(x), "adjoint": A.adjoint(x), "pseudo-inverse": A.pinv(x, rcond=0.2)}
    for name, pixels in wanted.items():
        (picture,) = call("ApplyOperator", image=hand(), operator=blur, call=name, rcond=0.2)
        torch.testing.assert_close(picture, ((pixels.movedim(1, -1) + 1) / 2).clamp(0, 1), atol=1e-5, rtol=0)


def test_apply_operator_changes_the_size_as_the_operator_does():
    (operator,) = call("SuperResolution", factor=4.0, kernel="bicubic")
    apply = dict(operator=operator, rcond=0.01)
    (small,) = call("ApplyOperator", image=hand(), call="forward", **apply)
    (large,) = call("ApplyOperator", image=small, call="pseudo-inverse", **apply)
    (again,) = call("ApplyOperator", image=large, call="forward", **apply)
    assert small.shape == (1, 16, 16, 3) and large.shape == (1, 64, 64, 3)
    torch.testing.assert_close(again, small, atol=0.02, rtol=0)  # the large picture is clipped to black and white


def test_apply_operator_shows_what_is_no_picture_and_refuses_what_there_is_not():
    (sensing,) = call("CompressedSensing", ratio=0.5, seed=0)
    (picture,) = call("ApplyOperator", image=hand(), operator=sensing, call="forward", rcond=0.1)
    assert picture.shape == (1, 64, 64, 3) and picture.std() > 0.05
    (jpeg,) = call("JPEG", quality=10, subsample=True)
    (picture,) = call("ApplyOperator", image=hand(), operator=jpeg, call="forward", rcond=0.1)
    assert 0.01 < float((picture - hand()).abs().mean()) < 0.1
    with pytest.raises(ValueError, match="operator: JPEG is not linear, so it has no adjoint"):
        call("ApplyOperator", image=hand(), operator=jpeg, call="adjoint", rcond=0.1)
    with pytest.raises(ValueError, match="call: 'inverse' is not one of forward, adjoint, pseudo-inverse"):
        call("ApplyOperator", image=hand(), operator=jpeg, call="inverse", rcond=0.1)


def test_known_pixels_come_out_of_data_consistency_to_the_bit():
    """Float32 pixels in [-1, 1] would lose the last bits of dark values, and Save Image rounds down."""
    photo = all_levels()
    restored = torch.rand(3, 32, 64, 3) ** 4
    mask = torch.rand(1, 32, 64).round()
    (operator,) = call("InpaintMask", mask=mask)
    for measurement in (from_photo(photo, operator)[0], measure(photo, "InpaintMask", mask=mask)):
        merged = consistent(restored, measurement)
        known = mask[..., None].expand(3, -1, -1, 3) < 0.5
        assert torch.equal(merged[known], photo.expand_as(merged)[known])
        torch.testing.assert_close(merged[~known], restored[~known], atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("operator", "parameters"),
    [
        ("SuperResolution", {"factor": 4.0, "kernel": "bicubic"}),
        ("SuperResolution", {"factor": 2.5, "kernel": "lanczos"}),
        ("GaussianBlur", BLUR),
        ("MotionBlur", {"kernel_size": 9, "intensity": 0.5, "seed": 0, "boundary": "reflect"}),
        ("Greyscale", {"red": 0.299, "green": 0.587, "blue": 0.114}),
        ("CompressedSensing", {"ratio": 0.5, "seed": 0}),
    ],
)
def test_a_consistent_image_fits_the_measurement_and_is_no_farther_from_the_truth(operator, parameters):
    truth = 0.2 + 0.6 * hand()  # leaves room on both sides: clipping would not fit
    measurement = measure(truth, operator, **parameters)
    image = (truth + 0.05 * torch.randn(truth.shape)).clamp(0, 1)
    merged = consistent(image, measurement)

    def misfit(x: torch.Tensor) -> float:
        return float(measurement.to().rms_residual(x.movedim(-1, 1) * 2 - 1))

    assert misfit(merged) < 0.03 * misfit(image)
    assert (merged - truth).norm() < (image - truth).norm()


def test_noise_aware_consistency_lets_less_noise_in_than_the_exact_one():
    truth = hand()
    measurement = measure(truth, "GaussianBlur", noise="gaussian", level=0.1, **BLUR)
    image = (truth + 0.02 * torch.randn(truth.shape)).clamp(0, 1)
    errors = [
        float((consistent(image, measurement, method, rcond=0.01, error=0.04) - truth).norm())
        for method in ("exact", "noise-aware")
    ]
    assert errors[1] < float((image - truth).norm()) < errors[0]


def test_noise_aware_consistency_is_the_proximal_step_and_nears_the_exact_one_without_noise():
    photo, restored = all_levels(), torch.rand(1, 32, 64, 3)
    noisy = from_photo(photo, call("Denoise")[0], sigma=0.1)[0]
    weighed = consistent(restored, noisy, "noise-aware", error=0.3)
    torch.testing.assert_close(weighed, 0.9 * photo + 0.1 * restored, atol=1e-6, rtol=0)
    clean = from_photo(photo, call("Denoise")[0], sigma=0.0)[0]
    torch.testing.assert_close(consistent(restored, clean, "noise-aware", error=1.0), photo, atol=1e-5, rtol=0)


def test_data_consistency_of_a_batch_equals_its_single_runs():
    images = torch.rand(3, 64, 64, 3)
    measurement = measure(hand(), "GaussianBlur", **BLUR)
    together = consistent(images, measurement)
    torch.testing.assert_close(together, torch.cat([consistent(one[None], measurement) for one in images]))


def test_data_consistency_refuses_what_it_cannot_do():
    measurement = measure(hand(), "GaussianBlur", **BLUR)
    with pytest.raises(ValueError, match=r"image: it is 64 x 60 pixels, but the measurement is of 64 x 64"):
        consistent(hand()[:, :60], measurement)
    with pytest.raises(ValueError, match="method: 'soft' is not one of exact, noise-aware"):
        consistent(hand(), measurement, "soft")
    jpeg = from_photo(hand(), call("JPEG", quality=10, subsample=True)[0])[0]
    with pytest.raises(ValueError, match="measurement: JPEG is not linear"):
        call("ViewMeasurement", measurement=jpeg, view="adjoint", rcond=0.1)


def test_a_kernel_from_an_image_file_reaches_the_blur():
    """A point in the photo comes out as the kernel."""
    kernel = torch.zeros(1, 7, 7, 3)
    kernel[0, 3, 1:6] = 1
    (operator,) = call("KernelBlur", kernel=kernel, threshold=0.0, boundary="circular")
    point = torch.zeros(1, 16, 16, 3)
    point[0, 8, 8] = 1
    (picture,) = call("ApplyOperator", image=point, operator=operator, call="forward", rcond=0.1)
    wanted = torch.zeros(1, 16, 16, 3)
    wanted[0, 8, 6:11] = 0.2
    torch.testing.assert_close(picture, wanted, atol=1e-5, rtol=0)
