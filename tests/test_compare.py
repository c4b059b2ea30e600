"""Compare and Explain, and the notes of Restore Photo on what is suspicious though not wrong."""

from __future__ import annotations

import pytest
import torch
from psld import operators as o
from psld.nodes.suspicion import suspicions
from psld.tests.ldm import photo
from psld.tests.prompts import call


@pytest.fixture(scope="module")
def prior() -> dict:
    with torch.inference_mode():
        model, vae, _ = call("LoadLDM", ckpt_name="[embedded] hands64.safetensors")
    return {"model": model, "vae": vae}


def test_the_sheet_and_the_curve_show_a_run(prior):
    (operator,) = call("SuperResolution", factor=4.0, kernel="bicubic")
    measurement = call("Measure", image=photo(), operator=operator, noise="gaussian", sigma=0.05, seed=7)[0]
    settings = dict(seed=1, steps=8, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, method="PSLD")
    _, restored, report = call("KSampler", **prior, measurement=measurement, **settings)
    levels, residuals = zip(*report.residuals, strict=True)
    assert len(levels) == 8 and list(levels) == sorted(levels, reverse=True) and residuals[-1] < residuals[0] / 2
    sheet, curve, text = call("Compare", image=restored, measurement=measurement, report=report)
    assert sheet.shape[3] == curve.shape[3] == 3 and sheet.shape[2] > 4 * 320
    assert "matches the photo up to its noise" in text and "PSLD: 8 passes" in text
    assert torch.equal(sheet[0, 24 + 2, 2], restored[0, 0, 0].mul(255).round() / 255)  # restored comes first


@pytest.mark.parametrize(("problem", "known", "note"), [
    ("remove noise", True, None),
    ("remove noise", False, "By itself the model came only within"),
    ("add colour", True, "The photo has colours already"),
])  # fmt: skip
def test_what_is_suspicious_is_noted(prior, problem, known, note):
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    image = photo() if known else torch.stack([x, y, ((x + y) > 0.7).float()], -1)[None]
    settings = dict(problem=problem, strength=0.0, quality="fast", seed=0, prompt="")
    report = call("RestorePhoto", image=image, **prior, **settings)[2]
    assert (note in report) if note else ("Note" not in report)


HAND = (photo().movedim(-1, 1) * 2 - 1).double()
NOISY = HAND + 0.05 * torch.randn(HAND.shape, generator=torch.Generator().manual_seed(0))
MOSAIC = o.BayerMosaic((3, 64, 64))


def dented() -> torch.Tensor:
    """A photo with a hole."""
    dented = NOISY.clone()
    dented[..., 20:40, 10:30] = -1
    return dented


@pytest.mark.parametrize(("picture", "operator", "sigma", "note"), [
    (NOISY, o.Denoise((3, 64, 64)), 0.05, None),
    (NOISY, o.Denoise((3, 64, 64)), 0.4, "far more than"),
    (NOISY, o.GaussianBlur((3, 64, 64), 1.0, 7), 0.01, "far less than"),
    (dented(), o.Denoise((3, 64, 64)), 0.05, "as a hole is"),
    (dented(), o.InpaintMask((3, 64, 64), (dented() > -1).all(1).float()), 0.05, None),
    (MOSAIC(NOISY).sum(1, keepdim=True).expand(-1, 3, -1, -1), MOSAIC, 0.05, None),
    (MOSAIC(NOISY + 1) - 1, MOSAIC, 0.05, None),
    (NOISY, MOSAIC, 0.05, "no Bayer mosaic"),
    (NOISY.mean(1, keepdim=True).expand(-1, 3, -1, -1), MOSAIC, 0.05, "only in grey places"),
])  # fmt: skip
def test_what_an_operator_cannot_have_measured_is_noted(picture, operator, sigma, note):
    said = " ".join(suspicions(picture, operator, sigma))
    assert (note in said) if note else not said


def test_restore_photo_notes_noise_that_is_far_from_what_it_sees(prior):
    settings = dict(problem="remove noise", strength=60.0, quality="fast", seed=0, prompt="")
    report = call("RestorePhoto", image=photo(), **prior, **settings)[2]
    assert "Note: The noise is said to be 60.0 of 255 grey levels, which is far more than" in report
