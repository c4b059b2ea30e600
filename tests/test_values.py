"""Bit depth, range, colour and precision of photos: what is known comes out as it came in."""

from __future__ import annotations

import logging

import pytest
import torch
from psld.tests.prompts import call


def hole(height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, 4:12, 6:20] = 1
    return mask


def repaired(photo: torch.Tensor, mask: torch.Tensor, restored: torch.Tensor) -> torch.Tensor:
    """What Data Consistency makes of a restored image, given the photo's known pixels."""
    (operator,) = call("InpaintMask", mask=mask)
    measurement = call("MeasurementFromImage", image=photo, operator=operator, sigma=0.02)[0]
    (image,) = call("DataConsistency", image=restored, measurement=measurement, method="exact", rcond=0.1, error=0.1)
    return image


def test_known_pixels_of_16_bits_come_out_exactly():
    levels = torch.randperm(65536, generator=torch.Generator().manual_seed(0)).view(1, 128, 512, 1)
    photo = (levels.double() / 65535).float().expand(-1, -1, -1, 3)
    image, known = repaired(photo, hole(128, 512), torch.rand(1, 128, 512, 3)), hole(128, 512) == 0
    assert torch.equal(image[known], photo[known])
    assert torch.equal((image[known].double() * 65535).round(), levels.double().expand_as(photo)[known])


def test_values_beyond_black_and_white_survive_where_they_are_known():
    photo = torch.linspace(-0.2, 1.8, 24 * 32 * 3).view(1, 24, 32, 3)
    image, known = repaired(photo, hole(24, 32), torch.rand(1, 24, 32, 3)), hole(24, 32) == 0
    torch.testing.assert_close(image[known], photo[known], atol=0, rtol=0)
    assert image[~known].min() >= 0 and image[~known].max() <= 1


def test_undo_fit_keeps_the_range_of_the_photo_when_it_enlarges():
    from psld.operators.fit import enlarge

    assert float(enlarge(torch.full((1, 3, 8, 8), 1.8), 2).min()) == pytest.approx(1.8)
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1
    assert float(enlarge(edge, 4).max()) == 1 and float(enlarge(edge, 4).min()) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grey_photo_stays_grey_in_its_hole(channels):
    photo = torch.rand(1, 24, 32, 1).expand(-1, -1, -1, channels)
    colourful = torch.rand(1, 24, 32, 3)
    image, known = repaired(photo, hole(24, 32), colourful), hole(24, 32) == 0
    assert torch.equal(image[known], photo.expand(-1, -1, -1, 3)[known])
    assert torch.equal(image[..., 0], image[..., 1]) and torch.equal(image[..., 0], image[..., 2])
    assert not torch.equal(repaired(colourful, hole(24, 32), colourful)[..., 0], image[..., 0])


def test_a_greyscale_measurement_is_still_coloured():
    (operator,) = call("Greyscale", red=0.3, green=0.6, blue=0.1)
    grey = torch.rand(1, 24, 32, 1).expand(-1, -1, -1, 3)
    measurement = call("MeasurementFromImage", image=grey, operator=operator, sigma=0.0)[0]
    settings = dict(method="exact", rcond=0.1, error=0.1)
    (image,) = call("DataConsistency", image=torch.rand(1, 24, 32, 3), measurement=measurement, **settings)
    assert (image[..., 0] - image[..., 1]).abs().mean() > 0.1


def test_half_precision_images_and_masks_lose_nothing():
    """ComfyUI's --fp16-intermediates: an IMAGE of half precision holds 8-bit levels to a quarter of a level."""
    photo = (torch.randint(0, 256, (1, 24, 32, 3), generator=torch.Generator().manual_seed(0)) / 255).half()
    restored = torch.rand(1, 24, 32, 3)
    image, known = repaired(photo, hole(24, 32).half(), restored.half()), hole(24, 32) == 0
    assert image.dtype == torch.float32 and torch.equal(image[known].half(), photo[known])
    vae = call("LoadLDM", ckpt_name="[embedded] hands64.safetensors")[1]
    fitted, _, windows = call("FitToModel", image=photo, vae=vae, method="around mask", factor=1.0, size=16, margin=2,
                              mask=hole(24, 32).half())  # fmt: skip
    inside = torch.full_like(fitted[0].float(), 1 / 3)
    (whole,) = call("UndoFit", image=[inside], photo=[photo], fit=windows)
    assert whole[0].dtype == torch.float32 and (whole[0] == inside.flatten()[0]).any()


def test_a_line_at_the_threshold_is_found_in_every_precision():
    photo = torch.full((1, 40, 40, 3), 0.5)
    photo[:, :, 20], photo[:, 7] = 0.08, 0.92
    lines = dict(tone="both", threshold=0.08, max_width=3, min_length=15, grow=0)
    single, half = (call("FindLines", image=image, **lines)[0] for image in (photo, photo.half()))
    assert int(single.sum()) == 79 and torch.equal(single, half)


def test_a_photo_that_a_loader_made_white_is_warned_of(caplog):
    (operator,) = call("Denoise")
    with caplog.at_level(logging.WARNING):
        call("MeasurementFromImage", image=torch.rand(1, 32, 32, 3), operator=operator, sigma=0.02)
        assert not caplog.records
        white = torch.ones(1, 64, 64, 3)
        white[:, 0, :16] = 0
        call("MeasurementFromImage", image=white, operator=operator, sigma=0.02)
    assert "99.6 % of it is pure white" in caplog.text and "16-bit grey" in caplog.text
