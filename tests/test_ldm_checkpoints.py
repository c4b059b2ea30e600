"""Other CompVis latent diffusion checkpoints: FFHQ-256 and small ones, as their weights describe them."""

from __future__ import annotations

import logging

import pytest
import torch
from psld.runtime.kernels import exact_kernels
from psld.runtime.ldm import load_ldm
from psld.runtime.ldm.architecture import unet_architecture
from psld.runtime.ldm.config import LDMConfig
from psld.runtime.ldm.first_stage import VectorQuantizer
from psld.runtime.ldm.unet import AttentionBlock, UNet
from psld.tests.checkpoints import FFHQ256, ldm_shapes, write_ldm
from psld.tests.ldm import (
    SMALL,
    UNET,
    change,
    sample,
    save,
    small_weights,
)

pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture(scope="module", params=[".safetensors", ".ckpt"])
def ffhq(request, tmp_path_factory):
    file = write_ldm(tmp_path_factory.mktemp("ffhq") / f"ffhq256{request.param}")
    yield load_ldm(file)
    file.unlink()


@pytest.mark.slow
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


@pytest.mark.slow
def test_vq_first_stage_quantises_in_the_decoder(ffhq):
    _, vae = ffhq
    model = vae.first_stage_model
    codes = model.quantize.embedding.weight
    z = (0.5 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))).to(codes).requires_grad_()
    distance = torch.cdist(z.detach().movedim(1, -1).reshape(-1, 3), codes)
    expected = codes[distance.argmin(1)].reshape(2, 4, 4, 3).movedim(-1, 1)
    torch.testing.assert_close(model.quantize(z), expected)
    with exact_kernels(codes.device):
        image = model.decode(z)
        by_hand = model.decoder(torch.nn.functional.conv2d(
            expected, model.post_quant_conv.weight, model.post_quant_conv.bias))
    torch.testing.assert_close(image, by_hand, rtol=1e-4, atol=1e-4)
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


def test_ffhq_shapes_are_the_modules_own():
    shapes = ldm_shapes(FFHQ256)
    unet = {key.removeprefix(UNET): torch.empty(shape, device="meta") for key, shape in shapes.items() if UNET in key}
    with torch.device("meta"):
        module = UNet(unet_architecture(unet), LDMConfig(num_head_channels=32))
    assert {key: tensor.shape for key, tensor in module.state_dict().items()} == {k: t.shape for k, t in unet.items()}
