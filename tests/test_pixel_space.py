"""Pixel-space models in ComfyUI's sense, whose VAE hands pixels through: LDPS is DPS there, and DDRM applies."""

from __future__ import annotations

import comfy.sample
import comfy.sd
import pytest
import torch
from psld.runtime.ldm.architecture import UNetArchitecture
from psld.runtime.ldm.config import LDMConfig
from psld.runtime.ldm.model import LDMLatentFormat, LDMModelConfig, load_unet
from psld.solvers import METHODS
from psld.tests.prompts import call
from psld.training import networks

SIZES = networks.Sizes(
    image_size=32, channels=3, model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,)
)
SIDE = 32


@pytest.fixture(scope="module")
def pixel_model() -> dict:
    """MODEL with random weights, whose predictions are small but not nothing, and ComfyUI's pixel VAE."""
    torch.manual_seed(0)
    weights = networks.unet(SIZES).state_dict()
    weights["out.2.weight"] = 0.02 * torch.randn_like(weights["out.2.weight"])
    architecture = UNetArchitecture(
        in_channels=3, out_channels=3, model_channels=32, num_res_blocks=1, channel_mult=(1, 2),
        attention_resolutions=(2,), use_scale_shift_norm=False, resblock_updown=False,
    )  # fmt: skip
    heads = LDMConfig(num_head_channels=SIZES.num_head_channels)
    config = LDMModelConfig(architecture, heads, LDMLatentFormat(1.0, 3, 1))
    with torch.inference_mode():
        return {"model": load_unet(weights, config), "vae": comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})}


def measure(sigma: float):
    x = torch.linspace(0.2, 0.8, SIDE)
    image = torch.stack([x.expand(SIDE, SIDE), x.expand(SIDE, SIDE).T, 1 - x.expand(SIDE, SIDE)], dim=-1)[None]
    (operator,) = call("InpaintRandom", low=0.5, high=0.5, seed=0)
    return call("Measure", image=image, operator=operator, noise="gaussian", sigma=sigma, seed=0)[0]


def latent(prior: dict, measurement, method: str, **settings) -> torch.Tensor:
    """Its latent, which is the picture in [-1, 1], untouched by the final data consistency."""
    defaults = dict(seed=0, steps=30, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0)
    return call("KSampler", **prior, measurement=measurement, method=method, **(defaults | settings))[0]["samples"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["LDPS", "DDRM", "Glued MAP", "Proximal gluing", "MMPS"])
def test_methods_fit_pixels_down_to_their_noise(pixel_model, method):
    measurement = measure(sigma=0.05)
    x = latent(pixel_model, measurement, method, steps=100 if method == "LDPS" else 30)
    assert x.shape == (1, 3, SIDE, SIDE)
    assert float(measurement.rms_residual(x)) < 0.06


def test_ddrm_keeps_pixels_that_were_measured_without_noise(pixel_model):
    measurement = measure(sigma=0.0)
    x = latent(pixel_model, measurement, "DDRM")
    assert measurement.residual(x).abs().max() < 1e-3


def test_dps_is_ldps_on_a_pixel_space_model(pixel_model):
    """One step by hand: the gradient of the residual's norm through the denoiser alone (Chung et al. 2023)."""
    measurement, omega, sigma = measure(sigma=0.05), 0.01, 2.0
    model, noise = pixel_model["model"], torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    settings = dict(method="LDPS", gamma=-1.0, omega=omega)
    (sampler,) = call("Sampler", vae=pixel_model["vae"], measurement=measurement, **settings)
    text, sigmas = [[torch.zeros(1, 1, 1), {}]], torch.tensor([sigma, 0.0])
    with torch.inference_mode():
        x = comfy.sample.sample_custom(
            model, noise, 1.0, sampler, sigmas, text, text, torch.zeros_like(noise), disable_pbar=True
        )

    network = networks.unet(SIZES).requires_grad_(False).eval()
    network.load_state_dict({name: weight.clone() for name, weight in model.model.diffusion_model.state_dict().items()})
    t = model.get_model_object("model_sampling").timestep(torch.tensor([sigma])).clone()
    z, scale = (sigma * noise).requires_grad_(), (1 + sigma**2) ** 0.5
    x0 = z - sigma * network(z / scale, t)
    (gradient,) = torch.autograd.grad(torch.relu(measurement.residual(x0).norm() - measurement.noise_level), z)
    tolerance = 1e-3 if model.model.get_dtype() == torch.float32 else 2e-2  # a GPU's in half precision
    expected = x0.detach() - omega * 1000 * scale * gradient
    torch.testing.assert_close(x, expected, atol=tolerance, rtol=tolerance)


def test_every_method_runs(pixel_model):
    measurement = measure(sigma=0.05)
    for method in METHODS:
        assert torch.isfinite(latent(pixel_model, measurement, method, steps=2)).all(), method
