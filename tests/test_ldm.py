"""The embedded prior: what it says of itself, stock ComfyUI with it, and the nodes that load it."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from psld.nodes.loading import PRIORS, EmptyLatent, LoadLDM, checkpoint_names
from psld.runtime.ldm import load_ldm
from psld.runtime.ldm.unet import AttentionBlock
from psld.tests.checkpoints import write_ldm
from psld.tests.ldm import (
    HAND,
    SMALL,
    device_of,
    photo,
    psnr,
    run,
    sample,
)

EMBEDDED = "[embedded] hands64.safetensors"


pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture(scope="module")
def prior():
    return load_ldm(PRIORS / "hands64.safetensors")


def test_embedded_prior_describes_itself(prior):
    model, vae = prior
    assert (vae.latent_channels, vae.spacial_compression_encode(), vae.spacial_compression_decode()) == (4, 4, 4)
    assert vae.vae_dtype == torch.float32
    with safetensors.safe_open(PRIORS / "hands64.safetensors", "pt") as file:
        scale_factor = float(file.metadata()["scale_factor"])
    assert model.get_model_object("latent_format").scale_factor == pytest.approx(scale_factor)
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    torch.testing.assert_close(model.get_model_object("model_sampling").sigmas, ((1 - alphas) / alphas).sqrt().float())


def test_embedded_vae_reconstructs_a_photo(prior):
    _, vae = prior
    image = photo()
    latent = vae.encode(image)
    assert latent.shape == (1, 4, 16, 16)
    assert psnr(vae.decode(latent), image) > 27


def denoising_errors(prior) -> torch.Tensor:
    """Mean square error of z0_hat at three noise levels, of two noisy latents of a photo."""
    model, vae = prior
    device = device_of(model.model.diffusion_model)
    z0 = model.model.process_latent_in(vae.encode(photo())).to(device)
    noise = torch.randn(2, *z0.shape[1:], generator=torch.Generator().manual_seed(0)).to(device)
    with torch.inference_mode():
        return torch.stack([
            (model.model.apply_model(z0 + sigma * noise, torch.full((2,), sigma, device=device)) - z0).square().mean()
            for sigma in (0.3, 1.0, 3.0)
        ]).cpu()  # fmt: skip


def test_embedded_unet_denoises_a_photo(prior):
    assert (denoising_errors(prior) < torch.tensor([0.025, 0.09, 0.42])).all()  # of a variance of 1.1


@pytest.mark.parametrize("slip", ["attention order", "heads", "time embedding", "schedule"])
def test_embedded_unet_denoises_worse_by_other_conventions(prior, slip, monkeypatch):
    from comfy.ldm.modules.diffusionmodules import openaimodel

    right = denoising_errors(prior)
    model = prior[0].model
    if slip == "time embedding":  # sin before cos
        embed, half = openaimodel.timestep_embedding, 32
        monkeypatch.setattr(openaimodel, "timestep_embedding", lambda *a, **k: embed(*a, **k).roll(half, 1))
    elif slip == "schedule":
        sampling = type(model.model_sampling)
        timestep = sampling.timestep
        monkeypatch.setattr(sampling, "timestep", lambda self, sigma: timestep(self, sigma * 1.3))
    for block in model.diffusion_model.modules():
        if isinstance(block, AttentionBlock):
            monkeypatch.setattr(block, "new_order", slip == "attention order")
            monkeypatch.setattr(block, "num_heads", 1 if slip == "heads" else block.num_heads)
    assert denoising_errors(prior).sum() > 1.03 * right.sum()


def test_stock_workflow_draws_hands(executor, comfy_base):
    prompt = {
        "load": {"class_type": "PSLD_LoadLDM", "inputs": {"ckpt_name": EMBEDDED}},
        "empty": {
            "class_type": "PSLD_EmptyLatent",
            "inputs": {"vae": ["load", 1], "width": 64, "height": 64, "batch_size": 4},
        },
        "sample": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["load", 0], "positive": ["load", 2], "negative": ["load", 2], "latent_image": ["empty", 0],
                "seed": 3, "steps": 12, "cfg": 1.0, "sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0,
            },
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["load", 1]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "ldm_draws"}},
    }  # fmt: skip
    images = run(executor, prompt, comfy_base, "ldm_draws")
    assert images.shape == (4, 64, 64, 3)
    assert 0.45 < float(images.mean()) < 0.75 and 0.08 < float(images.std()) < 0.3
    hand, wall = images[:, 40:56, 24:40].mean((0, 1, 2)), images[:, :8, :8].mean((0, 1, 2))
    assert hand[0] - hand[2] > 0.1 > abs(wall[0] - wall[2])  # skin is redder than blue, the wall is grey


def test_stock_image_to_image(executor, comfy_base):
    Image.open(HAND).save(comfy_base / "input" / "ldm_hand.png")
    prompt = {
        "load": {"class_type": "PSLD_LoadLDM", "inputs": {"ckpt_name": EMBEDDED}},
        "photo": {"class_type": "LoadImage", "inputs": {"image": "ldm_hand.png"}},
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["photo", 0], "vae": ["load", 1]}},
        "sample": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["load", 0], "positive": ["load", 2], "negative": ["load", 2], "latent_image": ["encode", 0],
                "seed": 3, "steps": 6, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.2,
            },
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["load", 1]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "ldm_again"}},
    }  # fmt: skip
    assert psnr(run(executor, prompt, comfy_base, "ldm_again"), photo()) > 22


def test_live_preview_shows_the_photo(prior, monkeypatch):
    import latent_preview

    model, vae = prior
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)
    previewer = latent_preview.get_previewer("cpu", model.get_model_object("latent_format"))
    preview = previewer.decode_latent_to_preview(model.model.process_latent_in(vae.encode(photo())).detach())
    small = torch.nn.functional.avg_pool2d(photo().movedim(-1, 1), 4).movedim(1, -1)
    error = (torch.from_numpy(np.asarray(preview) / 255) - small).square().mean()
    assert preview.size == (16, 16) and error < 0.4 * small.var()


def test_conditioning_makes_no_difference(prior):
    model, _ = prior
    text = [[torch.randn(1, 77, 768), {"pooled_output": torch.randn(1, 768)}]]
    empty = torch.zeros(1, 4, 16, 16)
    assert torch.equal(sample(model, empty, steps=2), sample(model, empty, text, steps=2))


def test_gradient_reaches_the_input(prior):
    model, device = prior[0].model, device_of(prior[0].model.diffusion_model)
    z = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    (gradient,) = torch.autograd.grad(model.apply_model(z, torch.ones(1, device=device)).square().sum(), z)
    assert gradient.isfinite().all() and float(gradient.norm()) > 0.1


def test_lora_patches_apply(prior):
    import comfy.lora

    model, _ = prior
    key = comfy.lora.model_lora_keys_unet(model.model, {})["lora_unet_middle_block_1_qkv"]
    patched = model.clone()
    assert patched.add_patches({key: (torch.full((576, 192, 1), 0.1),)}, 1.0) == [key]
    empty = torch.zeros(1, 4, 16, 16)
    plain = sample(model, empty)
    assert not torch.allclose(sample(patched, empty), plain, atol=1e-3)
    assert torch.equal(sample(model, empty), plain)


def test_embedded_prior_is_the_default():
    assert checkpoint_names()[0] == EMBEDDED
    assert LoadLDM.define_schema().inputs[0].default == EMBEDDED


@pytest.mark.parametrize("name", ["nothing.ckpt", "[embedded] ../README.md", "../../secret.safetensors"])
def test_loader_checks_the_name(name):
    with pytest.raises(ValueError, match="ckpt_name: there is no checkpoint"):
        LoadLDM.execute(name)


def test_loader_finds_files_of_the_checkpoints_folder(comfy_base):
    file = write_ldm(comfy_base / "models" / "checkpoints" / "small_ldm.safetensors", SMALL)
    try:
        assert "small_ldm.safetensors" in checkpoint_names()
        model, vae, conditioning = LoadLDM.execute("small_ldm.safetensors").args
        assert sample(model, torch.zeros(1, 4, 8, 8), conditioning).isfinite().all()
        assert vae.downscale_ratio == 2
    finally:
        file.unlink()


def test_empty_latent_fits_the_vae(prior):
    _, vae = prior
    assert EmptyLatent.execute(vae, 96, 64, 2).args[0]["samples"].shape == (2, 4, 16, 24)
    with pytest.raises(ValueError, match="width: 66 is not divisible by the 4 pixels of a latent; choose 64 or 68"):
        EmptyLatent.execute(vae, 66, 64, 1)
