"""The nodes in the real executor: custom sampling, batches, photos that are degraded already, and errors for users."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from psld.nodes.types import pixels_from_image
from psld.tests.prompts import Failed, call, node

import nodes

PHOTO = "photo.png"


def photo(height: int = 64, width: int = 64, batch: int = 1) -> torch.Tensor:
    """A smooth picture with an edge, BHWC in [0, 1]; each of the batch differs."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    frames = [torch.stack([x, y, ((x + y) > 0.7 + 0.1 * i).float()], dim=-1) for i in range(batch)]
    return torch.stack(frames)


@pytest.fixture(scope="module")
def prior():
    with torch.inference_mode():
        model, vae, *_ = nodes.NODE_CLASS_MAPPINGS["PSLD_LoadLDM"].execute("[embedded] hands64.safetensors").args
    return {"model": model, "vae": vae}


def measure(image: torch.Tensor, operator: str = "Denoise", noise: str = "gaussian", **parameters):
    (A,) = call(operator, **parameters)
    return call("Measure", image=image, operator=A, noise=noise, sigma=0.05, seed=7)[0]


def restore(prior: dict, measurement, **settings) -> torch.Tensor:
    defaults = dict(seed=1, steps=2, cfg=1.0, scheduler="karras", gamma=0.1, omega=0.1, method="PSLD")
    return call("KSampler", **prior, measurement=measurement, **(defaults | settings))[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["PSLD", "GML-DPS", "LDPS"])
def test_a_batch_equals_its_single_runs(prior, method):
    pictures = photo(batch=4)
    (operator,) = call("InpaintBox", width=16, height=24, left=8, top=8, margin=0, seed=0)
    batch = call("Measure", image=pictures, operator=operator, noise="gaussian", sigma=0.05, seed=7)[0]
    together = sample_custom(prior, batch, method, range(4))
    for i in range(4):
        one = call("Measure", image=pictures[i, None], operator=operator, noise="gaussian", sigma=0.05, seed=7 + i)[0]
        torch.testing.assert_close(sample_custom(prior, one, method, [i]), together[i, None], atol=2e-3, rtol=1e-3)


def sample_custom(prior: dict, measurement, method: str, noise_of: list[int]) -> torch.Tensor:
    """Latents by the PSLD Sampler in ComfyUI's custom sampling, with the noise of the named images of a batch."""
    import comfy.sample
    import comfy.samplers

    (sampler,) = call("Sampler", vae=prior["vae"], measurement=measurement, method=method, gamma=0.1, omega=0.1)
    sigmas = torch.tensor([5.0, 2.0, 0.5, 0.0])
    with torch.inference_mode():
        empty = torch.zeros(len(noise_of), 4, 16, 16)
        noise = comfy.sample.prepare_noise(empty, 3, list(noise_of))
        text = [[torch.zeros(1, 1, 1), {}]]
        return comfy.sample.sample_custom(prior["model"], noise, 1.0, sampler, sigmas, text, text, empty)


def test_the_sampler_works_in_sampler_custom_advanced(run_prompt, comfy_base):
    Image.fromarray((photo()[0] * 255).byte().numpy()).save(comfy_base / "input" / PHOTO)
    outputs = run_prompt(
        {
            "load": node("PSLD_LoadLDM", ckpt_name="[embedded] hands64.safetensors"),
            "photo": node("LoadImage", image=PHOTO),
            "operator": node("PSLD_SuperResolution", factor=4.0, kernel="bicubic"),
            "measure": node(
                "PSLD_Measure", image=["photo", 0], operator=["operator", 0], noise="poisson", sigma=0.05, seed=0
            ),
            "empty": node("PSLD_EmptyLatent", vae=["load", 1], width=64, height=64, batch_size=1),
            "noise": node("RandomNoise", noise_seed=0),
            "guider": node("CFGGuider", model=["load", 0], positive=["load", 2], negative=["load", 2], cfg=1.5),
            "sigmas": node("BasicScheduler", model=["load", 0], scheduler="simple", steps=3, denoise=1.0),
            "sampler": node(
                "PSLD_Sampler", vae=["load", 1], measurement=["measure", 0], method="PSLD", gamma=0.1, omega=0.1
            ),
            "sample": node(
                "SamplerCustomAdvanced",
                noise=["noise", 0],
                guider=["guider", 0],
                sampler=["sampler", 0],
                sigmas=["sigmas", 0],
                latent_image=["empty", 0],
            ),
            "decode": node("VAEDecode", samples=["sample", 1], vae=["load", 1]),
            "picture": node("PreviewImage", images=["decode", 0]),
        }
    )
    picture = outputs["decode"][0]
    assert picture.shape == (1, 64, 64, 3) and torch.isfinite(picture).all() and picture.std() > 0.01


def test_a_degraded_photo_becomes_a_measurement_of_a_larger_image():
    (operator,) = call("SuperResolution", factor=4.0, kernel="box")
    measurement, picture, *_ = call("MeasurementFromImage", image=photo(16, 24), operator=operator, sigma=0.02)
    assert measurement.operator.image_shape == (3, 64, 96)
    torch.testing.assert_close(picture, photo(16, 24))


def test_measured_pixels_keep_the_photos_values_and_unknown_ones_count_for_nothing():
    mask = torch.zeros(1, 64, 64)
    mask[:, 10:20, 30:50] = 1
    (operator,) = call("InpaintMask", mask=mask)
    spoilt = photo()
    spoilt[:, 10:20, 30:50] = 0.123
    measurement = call("MeasurementFromImage", image=spoilt, operator=operator, sigma=0.0)[0]
    clean = call("MeasurementFromImage", image=photo(), operator=operator, sigma=0.0)[0]
    assert torch.equal(measurement.y, clean.y) and measurement.operator.num_measurements == 3 * (64 * 64 - 200)


@pytest.mark.parametrize("noise", ["gaussian", "poisson", "none"])
def test_measurement_noise_is_seeded_and_has_the_stated_level(noise):
    grey = torch.full((2, 64, 64, 3), 0.5)
    one, two = measure(grey, noise=noise), measure(grey, noise=noise)
    assert torch.equal(one.y, two.y)
    assert float(one.y.std()) == pytest.approx(one.sigma_y, rel=0.05, abs=1e-6)
    assert one.sigma_y == (0.0 if noise == "none" else 0.05)


def test_metrics_of_a_perfect_restoration(prior):
    measurement = measure(photo())
    psnr, ssim, residual, text = call("ImageMetrics", image=photo(), reference=photo(), measurement=measurement)
    assert psnr > 100 and ssim == pytest.approx(1) and residual == pytest.approx(0.05, rel=0.05)
    psnr, ssim, *_ = call("ImageMetrics", image=photo() * 0.9, reference=photo())
    assert psnr == pytest.approx(float(10 * torch.log10(1 / ((0.1 * photo()) ** 2).mean())), abs=1e-3) and ssim < 1


def nan_photo() -> torch.Tensor:
    spoilt = photo()
    spoilt[0, 0, 0, 0] = float("nan")
    return spoilt


MASK = torch.zeros(1, 64, 64)


def test_a_restoration_keeps_what_was_measured(prior):
    """No VAE reproduces a photo, so the picture is moved onto the measurement, and the latent is not."""
    measurement = measure(photo(), "InpaintBox", width=16, height=16, left=8, top=8, margin=0, seed=0)
    settings = dict(**prior, measurement=measurement, seed=1, steps=2, cfg=1.0, scheduler="auto", method="Glued MAP")
    weights = dict(gamma=-1.0, omega=-1.0)
    kept, free = (call("KSampler", **settings, **weights, keep_measured=keep) for keep in (True, False))
    assert torch.equal(kept[0]["samples"], free[0]["samples"])
    residuals = [float(measurement.rms_residual(pixels_from_image(output[1]))) for output in (kept, free)]
    assert residuals[0] == pytest.approx(0.05, rel=0.06)  # not quite, for pictures are clamped
    assert residuals[1] > 0.06


@pytest.mark.parametrize("method", ["PSLD", "LDPS"])
def test_a_weight_of_minus_one_is_the_methods_own(prior, method):
    measurement = measure(photo(), "SuperResolution", factor=4.0, kernel="bicubic")
    chosen = dict(method=method, scheduler="auto", steps=4)
    named = restore(prior, measurement, **chosen, gamma=0.1, omega=1.0)
    assert torch.equal(restore(prior, measurement, **chosen, gamma=-1.0, omega=-1.0), named)
    assert not torch.equal(restore(prior, measurement, **chosen, gamma=0.1, omega=1e-4), named)


OWN_CANDIDATES = {"Glued MAP": 4, "Proximal gluing": 4, "Local MAP": 1, "LDPS": None}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "own"), OWN_CANDIDATES.items())
def test_no_candidates_are_as_many_as_the_method_wants(prior, method, own):
    settings = dict(measurement=measure(photo()), method=method, scheduler="auto", steps=3)
    named = restore(prior, **settings, candidates=own or 7)
    assert torch.equal(restore(prior, **settings, candidates=0), named)
    other = 8 if own == 1 else 2  # the first may be the likeliest of a few
    assert torch.equal(restore(prior, **settings, candidates=other), named) == (own is None)


def test_a_faithful_result_is_another_where_there_are_candidates(prior):
    settings = dict(measurement=measure(photo()), scheduler="auto", steps=3)
    for method, alike in (("Proximal gluing", False), ("LDPS", True)):
        faithful = restore(prior, **settings, method=method, result="faithful")
        assert torch.equal(restore(prior, **settings, method=method, result="perceptual"), faithful) == alike


@pytest.mark.parametrize(
    ("message", "break_it"),
    [
        (
            "multiple of the VAE's 4 pixels; crop the image to 64 x 60 or pad it",
            lambda p: restore(p, measure(photo(62, 66))),
        ),
        ("mask: Inpaint Mask has", lambda p: measure(photo(), "InpaintMask", mask=torch.ones(1, 32, 32))),
        ("mask: it is all zero", lambda p: measure(photo(), "InpaintMask", mask=MASK)),
        ("no known pixel", lambda p: measure(photo(), "InpaintMask", mask=MASK + 1)),
        ("kernel", lambda p: measure(photo(), "GaussianBlur", sigma=3.0, kernel_size=201, boundary="reflect")),
        ("NaN", lambda p: measure(nan_photo())),
        ("4 channels, the last one alpha", lambda p: measure(torch.rand(1, 64, 64, 4))),
        ("channel", lambda p: restore(p, measure(photo()[..., :1]))),
        ("steps: 0 is out of range", lambda p: restore(p, measure(photo()), steps=0)),
        ("candidates: -1 is out of range", lambda p: restore(p, measure(photo()), candidates=-1)),
        ("result: 'magic' is not one of", lambda p: restore(p, measure(photo()), result="magic")),
        ("method: 'magic' is not one of", lambda p: restore(p, measure(photo()), method="magic")),
        ("scheduler: 'magic' is not one of", lambda p: restore(p, measure(photo()), scheduler="magic")),
        ("negative: nothing is connected", lambda p: restore(p, measure(photo()), cfg=4.0)),
        ("noise: 'pink' is not one of", lambda p: measure(photo(), noise="pink")),
        ("box", lambda p: measure(photo(), "InpaintBox", width=99, height=9, left=0, top=0, margin=0, seed=0)),
        ("has one of 32 x 32 pixels, but the image is 64 x 64", lambda p: measure_photo(operator=other_size())),
        ("reference: it is 32 x 32 pixels", lambda p: call("ImageMetrics", image=photo(), reference=photo(32, 32))),
    ],
)
def test_bad_input_is_refused_with_a_sentence(prior, message, break_it):
    with pytest.raises(ValueError, match=message):
        break_it(prior)


def measure_photo(operator):
    return call("MeasurementFromImage", image=photo(), sigma=0.1, operator=operator)[0]


def other_size():
    (operator,) = call("InpaintMask", mask=torch.ones(1, 32, 32))
    return operator


def test_a_vae_of_films_and_a_foreign_vae_are_refused(prior):
    import copy

    for attribute, value, message in (("latent_dim", 3, "a frame axis"), ("latent_channels", 16, "16 channels")):
        foreign = copy.copy(prior["vae"])
        setattr(foreign, attribute, value)
        with pytest.raises(ValueError, match=message):
            restore(prior | {"vae": foreign}, measure(photo()))


def test_a_latent_of_another_size_is_refused(prior):
    measurement = measure(photo(128, 128))
    with pytest.raises(ValueError, match="latent_image: it is for 1 picture.* of 64 x 64 pixels, .* of 1 of 128 x 128"):
        sample_custom(prior, measurement, "PSLD", [0])


def test_an_error_reaches_the_user_through_the_executor(run_prompt, comfy_base):
    rgba = np.dstack([(photo()[0] * 255).byte().numpy(), np.full((64, 64), 255, np.uint8)])
    Image.fromarray(rgba).save(comfy_base / "input" / "small.png")
    with pytest.raises(Failed, match="does not fit|kernel"):
        run_prompt(
            {
                "photo": node("LoadImage", image="small.png"),
                "operator": node("PSLD_GaussianBlur", sigma=3.0, kernel_size=301, boundary="reflect"),
                "measure": node(
                    "PSLD_Measure", image=["photo", 0], operator=["operator", 0], noise="none", sigma=0.0, seed=0
                ),
                "picture": node("PreviewImage", images=["measure", 1]),
            }
        )
