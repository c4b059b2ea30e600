"""Loading CompVis latent-diffusion checkpoints: the embedded prior, FFHQ-256's architecture, small random ones."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from psld.nodes.loading import PRIORS, EmptyLatent, LoadLDM, checkpoint_names
from psld.runtime.ldm import load_ldm
from psld.runtime.ldm.architecture import unet_architecture
from psld.runtime.ldm.config import LDMConfig
from psld.runtime.ldm.first_stage import VectorQuantizer
from psld.runtime.ldm.unet import AttentionBlock, UNet
from psld.tests.checkpoints import FFHQ256, ldm_shapes, random_weights, write_ldm, write_sd15

HAND = PRIORS.parent / "workflows" / "samples" / "hand_five.png"
EMBEDDED = "[embedded] hands64.safetensors"
UNCONDITIONAL = [[torch.zeros(1, 1, 1), {}]]
SMALL = {
    "linear_start": "15e-4", "linear_end": 0.0195, "timesteps": 1000, "scale_factor": 0.5,
    "unet_config": {"params": {
        "in_channels": 4, "out_channels": 4, "model_channels": 32, "attention_resolutions": [2], "num_res_blocks": 1,
        "channel_mult": [1, 2], "num_head_channels": 16,
    }},
    "first_stage_config": {"params": {"embed_dim": 4, "ddconfig": {
        "double_z": True, "z_channels": 4, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2],
        "num_res_blocks": 1, "attn_resolutions": [16], "dropout": 0.0,
    }}},
}  # fmt: skip
UNET, STAGE = "model.diffusion_model.", "first_stage_model."


@pytest.fixture(scope="module", autouse=True)
def single_thread():
    """Small tensors: threads cost more than they give, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def prior():
    return load_ldm(PRIORS / "hands64.safetensors")


def photo(file: Path = HAND) -> torch.Tensor:
    """IMAGE (1, H, W, 3) in [0, 1]."""
    return torch.from_numpy(np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 255)[None]


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean().detach()))


def sample(model, latent: torch.Tensor, conditioning=UNCONDITIONAL, steps: int = 1, seed: int = 1) -> torch.Tensor:
    """Stock KSampler."""
    import nodes

    out = nodes.common_ksampler(
        model, seed, steps, 1.0, "ddim", "normal", conditioning, conditioning, {"samples": latent}
    )
    return out[0]["samples"]


def run(executor, prompt: dict, comfy_base: Path, prefix: str) -> torch.Tensor:
    """Runs the prompt, whose node "save" is a SaveImage with this prefix, and reads the pictures."""
    executor.execute(prompt, prefix, {}, ["save"])
    assert executor.success, executor.status_messages[-1]
    return torch.cat([photo(file) for file in sorted((comfy_base / "output").glob(f"{prefix}_*.png"))])


def change(config: dict, **unet: object) -> dict:
    """`SMALL` and so on with other U-Net settings."""
    config = copy.deepcopy(config)
    config["unet_config"]["params"].update(unet)
    return config


def small_weights(config: dict = SMALL) -> dict[str, torch.Tensor]:
    return random_weights(ldm_shapes(config), 0, torch.float32)


def save(folder: Path, weights: dict[str, torch.Tensor], config: dict | None = SMALL) -> Path:
    """A checkpoint with its config beside it as CompVis writes it."""
    file = folder / "small.safetensors"
    safetensors.torch.save_file(weights, file)
    if config is not None:
        file.with_suffix(".yaml").write_text(json.dumps({"model": {"params": config}}))
    return file


# --- the embedded prior


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
    z0 = model.model.process_latent_in(vae.encode(photo()))
    noise = torch.randn(2, *z0.shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return torch.stack([
            (model.model.apply_model(z0 + sigma * noise, torch.full((2,), sigma)) - z0).square().mean()
            for sigma in (0.3, 1.0, 3.0)
        ])  # fmt: skip


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
    model, _ = prior
    z = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(model.model.apply_model(z, torch.ones(1)).square().sum(), z)
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


# --- other architectures


@pytest.fixture(scope="module", params=[".safetensors", ".ckpt"])
def ffhq(request, tmp_path_factory):
    file = write_ldm(tmp_path_factory.mktemp("ffhq") / f"ffhq256{request.param}")
    yield load_ldm(file)
    file.unlink()


def test_ffhq256_vq_f4_loads_and_runs(ffhq):
    model, vae = ffhq
    parameters = sum(p.numel() for p in model.model.diffusion_model.parameters())
    assert parameters == 274_056_163  # "DiffusionWrapper has 274.06 M params."
    blocks = [block for block in model.model.diffusion_model.modules() if isinstance(block, AttentionBlock)]
    assert [block.num_heads for block in blocks][:6] == [14, 14, 21, 21, 28, 28]  # 32 channels a head
    assert (vae.latent_channels, vae.downscale_ratio, vae.upscale_ratio) == (3, 4, 4)
    out = sample(model, torch.zeros(1, 3, 16, 16))
    image = vae.decode(out)
    assert image.shape == (1, 64, 64, 3) and image.isfinite().all()
    assert 0.01 < float(image.std()) < 0.5
    again = vae.encode(image)
    assert again.shape == out.shape and 0.01 < float(again.std()) < 10


def test_vq_first_stage_quantises_in_the_decoder(ffhq):
    _, vae = ffhq
    model = vae.first_stage_model
    codes = model.quantize.embedding.weight
    z = (0.5 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()
    distance = torch.cdist(z.detach().movedim(1, -1).reshape(-1, 3), codes)
    expected = codes[distance.argmin(1)].reshape(2, 4, 4, 3).movedim(-1, 1)
    torch.testing.assert_close(model.quantize(z), expected)
    image = model.decode(z)
    torch.testing.assert_close(image, model.decoder(torch.nn.functional.conv2d(
        expected, model.post_quant_conv.weight, model.post_quant_conv.bias)), rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(image.square().sum(), z)
    assert gradient.isfinite().all() and float(gradient.norm()) > 0
    torch.testing.assert_close(model.encode(image.detach()), model.quant_conv(model.encoder(image.detach())))


def test_quantizer_passes_the_gradient_straight_through():
    quantizer = VectorQuantizer(torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 1.0]]))
    z = torch.tensor([[0.9, 0.6], [0.2, -0.1], [-3.0, 0.0]]).T.reshape(1, 2, 3, 1).requires_grad_()
    quantized = quantizer(z)
    torch.testing.assert_close(quantized[0, :, :, 0].T, torch.tensor([[1.0, 1.0], [0.0, 0.0], [-1.0, 1.0]]))
    weight = torch.randn(1, 2, 3, 1)
    (gradient,) = torch.autograd.grad((quantized * weight).sum(), z)
    assert torch.equal(gradient, weight)


@pytest.mark.parametrize("settings", [
    {"use_scale_shift_norm": True},
    {"resblock_updown": True},
    {"resblock_updown": True, "attention_resolutions": [1, 2], "channel_mult": [1, 2, 2], "num_res_blocks": 2},
    {"attention_resolutions": [4], "channel_mult": [1, 1, 2]},
    {"num_head_channels": -1, "num_heads": 8},
])  # fmt: skip
def test_architecture_is_read_off_the_weights(tmp_path, settings):
    config = change(SMALL, **settings)
    weights = small_weights(config)
    unet = {key.removeprefix(UNET): tensor for key, tensor in weights.items() if key.startswith(UNET)}
    found, wanted = unet_architecture(unet), config["unet_config"]["params"]
    assert found.channel_mult == tuple(wanted["channel_mult"])
    assert found.num_res_blocks == wanted["num_res_blocks"]
    assert sorted(found.attention_resolutions) == sorted(wanted["attention_resolutions"])
    assert found.use_scale_shift_norm == wanted.get("use_scale_shift_norm", False)
    assert found.resblock_updown == wanted.get("resblock_updown", False)
    model, _ = load_ldm(save(tmp_path, weights, config))
    size = 24 if found.resblock_updown else 26  # convolutions leave odd sizes inside, which up-sampling must restore
    z = torch.randn(1, 4, size, size, requires_grad=True)
    out = model.model.apply_model(z, torch.ones(1))
    assert out.shape == z.shape and torch.autograd.grad(out.sum(), z)[0].norm() > 0


@pytest.mark.parametrize("new_order", [False, True])
def test_attention_block_equals_its_formula(new_order):
    config = LDMConfig(num_head_channels=8, use_new_attention_order=new_order)
    block = AttentionBlock(32, config, operations=torch.nn)
    x = torch.randn(2, 32, 5, 3)
    flat = torch.nn.functional.group_norm(x, 32, block.norm.weight, block.norm.bias).reshape(2, 32, 15)
    rows = torch.einsum("oc,bcn->bon", block.qkv.weight[:, :, 0], flat) + block.qkv.bias[:, None]
    heads = []
    for h in range(4):
        starts = [32 * i + 8 * h for i in range(3)] if new_order else [24 * h + 8 * i for i in range(3)]
        q, k, v = (rows[:, start : start + 8] for start in starts)
        heads.append(torch.einsum("bij,bcj->bci", (torch.einsum("bci,bcj->bij", q, k) / 8**0.5).softmax(-1), v))
    out = torch.einsum("oc,bcn->bon", block.proj_out.weight[:, :, 0], torch.cat(heads, 1))
    torch.testing.assert_close(block(x), x + (out + block.proj_out.bias[:, None]).reshape(x.shape))


# --- what the file says beside the weights


def test_loads_under_inference_mode_and_reads_text_numbers(tmp_path):
    with torch.inference_mode():
        model, vae = load_ldm(save(tmp_path, small_weights()))
        image = vae.decode(sample(model, torch.zeros(1, 4, 8, 8)))
    assert image.shape == (1, 16, 16, 3) and image.isfinite().all()
    assert model.get_model_object("latent_format").scale_factor == 0.5
    assert float(model.get_model_object("model_sampling").sigmas[0]) == pytest.approx((0.0015 / 0.9985) ** 0.5)


def test_schedule_and_scale_of_the_file_come_first(tmp_path):
    alphas = torch.linspace(0.999, 0.01, 50)
    extra = {"alphas_cumprod": alphas, "scale_factor": torch.tensor(0.25)}
    model, _ = load_ldm(save(tmp_path, small_weights() | extra))
    sampling = model.get_model_object("model_sampling")
    torch.testing.assert_close(sampling.sigmas, ((1 - alphas) / alphas).sqrt())
    assert model.get_model_object("latent_format").scale_factor == 0.25
    coarse = load_ldm(save(tmp_path, small_weights() | {"alphas_cumprod": alphas.half()}))[0]
    assert len(coarse.get_model_object("model_sampling").sigmas) == 1000


@pytest.mark.parametrize("parameterization", ["eps", "v", "x0"])
def test_parameterizations_agree_on_z0(tmp_path, parameterization):
    model, _ = load_ldm(save(tmp_path, small_weights(), SMALL | {"parameterization": parameterization}))
    z, sigma = torch.randn(1, 4, 8, 8), torch.tensor([2.0])
    with torch.inference_mode():
        t = model.model.model_sampling.timestep(sigma).float()
        out = model.model.diffusion_model(z / 5**0.5, t)  # z = z0 + 2 noise
        z0_hat = model.model.apply_model(z, sigma)
    expected = {"eps": z - 2 * out, "v": z / 5 - 2 / 5**0.5 * out, "x0": out}[parameterization]
    torch.testing.assert_close(z0_hat, expected)


def test_averaged_weights_are_used_where_complete(tmp_path, caplog):
    weights = small_weights()
    ema = {
        "model_ema.diffusion_model" + key.removeprefix(UNET).replace(".", ""): tensor + 1
        for key, tensor in weights.items() if key.startswith(UNET)
    } | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1)}  # fmt: skip
    key = "input_blocks.0.0.weight"
    with caplog.at_level(logging.INFO):
        averaged = load_ldm(save(tmp_path, weights | ema))[0].model.diffusion_model.state_dict()[key]
    assert "averaged (EMA) weights" in caplog.text
    torch.testing.assert_close(averaged, weights[UNET + key] + 1)
    ema.pop("model_ema.diffusion_modelout2bias")
    plain = load_ldm(save(tmp_path, weights | ema))[0].model.diffusion_model.state_dict()[key]
    torch.testing.assert_close(plain, weights[UNET + key])
    assert "using the plain ones" in caplog.text


def test_config_of_compvis_download(tmp_path):
    """models/ldm/ffhq256/ holds model.ckpt and config.yaml."""
    file = write_ldm(tmp_path / "model.ckpt", SMALL)
    file.with_suffix(".yaml").rename(tmp_path / "config.yaml")
    assert load_ldm(file)[0].get_model_object("latent_format").scale_factor == 0.5


# --- refusals


def rename(weights: dict, old: str, new: str) -> dict:
    return {key.replace(old, new): tensor for key, tensor in weights.items()}


def without(weights: dict, part: str) -> dict:
    return {key: tensor for key, tensor in weights.items() if part not in key}


CROSS = UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
REFUSALS = {
    "not a latent diffusion checkpoint": lambda w: rename(w, UNET, "unet."),
    "use the Load Checkpoint node": lambda w: w | {
        CROSS: torch.zeros(4, 4), "cond_stage_model.transformer.text_model.final_layer_norm.bias": torch.zeros(4)},
    "has cross-attention": lambda w: w | {CROSS: torch.zeros(4, 4)},
    "class-conditional": lambda w: w | {UNET + "label_emb.weight": torch.zeros(10, 128)},
    r"by concatenation \(its U-Net takes 7": lambda w: w | {
        UNET + "input_blocks.0.0.weight": torch.zeros(32, 7, 3, 3)},
    "neither CompVis's AutoencoderKL nor its VQModel": lambda w: without(w, STAGE),
    "neither a KL posterior": lambda w: w | {STAGE + "encoder.conv_out.weight": torch.zeros(4, 64, 3, 3)},
    "takes 1 channels and returns 3": lambda w: w | {STAGE + "encoder.conv_in.weight": torch.zeros(32, 1, 3, 3)},
    "U-Net of this checkpoint lacks 1 weights, first out.0.bias": lambda w: without(w, UNET + "out.0.bias"),
    "U-Net of this checkpoint has 1 weights too many, first id_predictor": lambda w: w | {
        UNET + "id_predictor.0.weight": torch.zeros(4)},
    r"has time_embed.2.bias of shape \(5,\), not \(128,\)": lambda w: w | {UNET + "time_embed.2.bias": torch.zeros(5)},
    "first stage of this checkpoint lacks 4 weights, first encoder.mid.attn_1": lambda w: without(
        without(w, "encoder.mid.attn_1.q"), "encoder.mid.attn_1.k"),
    "levels of different depth": lambda w: without(w, UNET + "output_blocks.3."),
    "works on 4 channels but its first stage makes 3": lambda w: w | {
        STAGE + "post_quant_conv.weight": torch.zeros(4, 3, 1, 1)},
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSALS)
def test_refuses_weights_of_another_kind(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        load_ldm(save(tmp_path, REFUSALS[message](small_weights())))


@pytest.mark.parametrize(("config", "message"), [
    (None, "put its CompVis config beside it, named small.yaml"),
    (SMALL | {"parameterization": "score"}, "parameterization 'score'"),
    (SMALL | {"linear_end": "much"}, "linear_end = 'much'"),
    (change(SMALL, num_head_channels=24), "which do not divide its 64 channels"),
    (change(SMALL, num_head_channels=-1), "num_heads -1 and num_head_channels -1"),
])  # fmt: skip
def test_refuses_a_bad_config(tmp_path, config, message):
    with pytest.raises(ValueError, match=message):
        load_ldm(save(tmp_path, small_weights(), config))


@pytest.mark.parametrize(("text", "message"), [("a: [", "small.yaml .* cannot be read"), ("- 1", "hold a mapping")])
def test_refuses_an_unreadable_config(tmp_path, text, message):
    file = save(tmp_path, small_weights())
    file.with_suffix(".yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_ldm(file)


def test_refuses_a_pickle_with_more_than_weights(tmp_path):
    torch.save({"state_dict": small_weights(), "callbacks": Path("/")}, tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match="old.ckpt holds more than weights .* convert it to .safetensors"):
        load_ldm(tmp_path / "old.ckpt")


def test_refuses_a_broken_download(tmp_path):
    file = save(tmp_path, small_weights())
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="small.safetensors cannot be read .* download it again"):
        load_ldm(file)
    (tmp_path / "empty.ckpt").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="empty.ckpt"):
        load_ldm(tmp_path / "empty.ckpt")


# --- the nodes


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


# --- the stand-ins


def test_random_sd15_is_a_stable_diffusion_checkpoint(comfy_base, caplog):
    import comfy.sd
    import comfy.supported_models

    file = write_sd15(comfy_base / "models" / "checkpoints")
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(file))
    assert isinstance(model.model.model_config, comfy.supported_models.SD15)
    assert "missing" not in caplog.text.lower()
    conditioning = clip.encode_from_tokens_scheduled(clip.tokenize("a hand"))
    out = sample(model, torch.zeros(1, 4, 8, 8), conditioning)
    assert out.isfinite().all() and 0.1 < float(out.std()) < 200
    image = vae.decode(out)
    assert image.isfinite().all() and 0.02 < float(image.std()) < 0.5
    with pytest.raises(ValueError, match="use the Load Checkpoint node"):
        load_ldm(file)


def test_ffhq_shapes_are_the_modules_own():
    shapes = ldm_shapes(FFHQ256)
    unet = {key.removeprefix(UNET): torch.empty(shape, device="meta") for key, shape in shapes.items() if UNET in key}
    with torch.device("meta"):
        module = UNet(unet_architecture(unet), LDMConfig(num_head_channels=32))
    assert {key: tensor.shape for key, tensor in module.state_dict().items()} == {k: t.shape for k, t in unet.items()}
