"""Families of models, each as its own classes of ComfyUI with tiny random weights: what `docs/models.md` promises."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch
from comfy.ldm.chroma.model import ChromaParams
from comfy.ldm.flux.model import FluxParams
from comfy.ldm.hunyuan_video.model import HunyuanVideoParams
from comfy.ldm.wan.vae import WanVAE
from psld.runtime.ldm.first_stage import load_tiny
from psld.runtime.ldm.tiny import TinyAutoencoder
from torch import Tensor

CPU = torch.device("cpu")
ALL, NO_GRADIENT = "all", "without gradients through the model"
ATTENTION = dict(num_heads=1, num_head_channels=-1, use_spatial_transformer=True, use_linear_in_transformer=True)
UNET = dict(
    image_size=8, in_channels=4, out_channels=4, model_channels=64, num_res_blocks=[1], channel_mult=[1],
    transformer_depth=[1], transformer_depth_output=[1, 1], transformer_depth_middle=1, context_dim=8, **ATTENTION,
)  # fmt: skip
SDXL = UNET | dict(num_classes="sequential", adm_in_channels=2816)
FLUX = dict(
    image_model="flux", in_channels=16, out_channels=16, vec_in_dim=8, context_in_dim=8, hidden_size=128,
    mlp_ratio=2.0, num_heads=1, depth=1, depth_single_blocks=1, axes_dim=[16, 56, 56], theta=10000, patch_size=2,
    qkv_bias=True, guidance_embed=True,
)  # fmt: skip
FLUX2 = FLUX | dict(
    image_model="flux2", in_channels=128, out_channels=128, vec_in_dim=None, axes_dim=[32, 32, 32, 32], patch_size=1,
    qkv_bias=False, global_modulation=True, mlp_silu_act=True, ops_bias=False, default_ref_method="index",
)  # fmt: skip
CHROMA = dict(
    image_model="chroma", in_channels=64, out_channels=64, context_in_dim=8, hidden_size=128, mlp_ratio=2.0,
    num_heads=1, depth=1, depth_single_blocks=1, axes_dim=[16, 56, 56], theta=10000, patch_size=2, qkv_bias=True,
    in_dim=64, out_dim=128, hidden_dim=32, n_layers=1,
)  # fmt: skip
HUNYUAN_IMAGE = dict(
    image_model="hunyuan_video", in_channels=64, out_channels=64, vec_in_dim=None, context_in_dim=8, hidden_size=128,
    mlp_ratio=2.0, num_heads=1, depth=1, depth_single_blocks=1, axes_dim=[64, 64], theta=256, patch_size=[1, 1],
    qkv_bias=True, guidance_embed=False, byt5=False, meanflow=False, use_cond_type_embedding=False, vision_in_dim=None,
)  # fmt: skip
SD3 = dict(
    in_channels=16, patch_size=2, depth=1, input_size=None, adm_in_channels=2048, context_size=8, pos_embed_max_size=8,
    num_patches=64, qk_norm="rms", pos_embed_scaling_factor=None,
    context_embedder_config=dict(target="torch.nn.Linear", params=dict(in_features=8, out_features=64)),
)  # fmt: skip
LUMINA = dict(
    image_model="lumina2", patch_size=2, in_channels=16, cap_feat_dim=8, dim=64, n_layers=1, n_refiner_layers=1,
    n_heads=2, n_kv_heads=1, qk_norm=True, axes_dims=[8, 12, 12], axes_lens=[300, 512, 512], multiple_of=32,
)  # fmt: skip
Z_IMAGE = LUMINA | dict(
    dim=256, n_kv_heads=2, axes_dims=[32, 48, 48], z_image_modulation=True, time_scale=1000.0, pad_tokens_multiple=32,
    rope_theta=256.0, ffn_dim_multiplier=2.0,
)  # fmt: skip
AURA = dict(cond_seq_dim=8, dim=64, n_layers=2, n_double_layers=1, n_heads=2, global_conddim=64, max_seq=64)
OMNIGEN = dict(
    image_model="omnigen2", hidden_size=64, num_layers=1, num_refiner_layers=1, num_attention_heads=2, num_kv_heads=1,
    multiple_of=32, axes_dim_rope=(8, 12, 12), text_feat_dim=8, in_channels=16,
)  # fmt: skip
HIDREAM = dict(
    image_model="hidream", attention_head_dim=128, num_attention_heads=1, caption_channels=[8, 8], text_emb_dim=8,
    axes_dims_rope=[64, 32, 32], llama_layers=[0, 1], num_layers=1, num_single_layers=1, in_channels=16, patch_size=2,
)  # fmt: skip
PIXART = dict(
    image_model="pixart_sigma", input_size=8, hidden_size=64, depth=1, num_heads=2, caption_channels=8,
    model_max_length=4, micro_condition=False, pe_precision=2,
)  # fmt: skip
QWEN = dict(
    image_model="qwen_image", in_channels=64, num_layers=1, attention_head_dim=128, num_attention_heads=1,
    joint_attention_dim=8,
)  # fmt: skip
COSMOS = dict(
    image_model="cosmos_predict2", max_img_h=240, max_img_w=240, max_frames=128, in_channels=16, out_channels=16,
    patch_spatial=2, patch_temporal=1, model_channels=128, concat_padding_mask=True, crossattn_emb_channels=8,
    pos_emb_cls="rope3d", pos_emb_learnable=True, min_fps=1, max_fps=30, use_adaln_lora=True, adaln_lora_dim=8,
    num_blocks=1, num_heads=1, extra_per_block_abs_pos_emb=False, rope_h_extrapolation_ratio=4.0,
    rope_w_extrapolation_ratio=4.0, rope_t_extrapolation_ratio=1.0, rope_enable_fps_modulation=False,
)  # fmt: skip
KREA = dict(
    image_model="krea2", features=128, tdim=16, txtdim=128, heads=1, kvheads=1, multiplier=1, layers=1, txtlayers=2,
    txtheads=1, txtkvheads=1,
)  # fmt: skip
WAN = dict(
    image_model="wan2.1", model_type="t2v", dim=128, ffn_dim=64, num_heads=1, num_layers=1, text_dim=8, in_dim=16,
    out_dim=16,
)  # fmt: skip

NEWER = dict(txt_ids_dims=[], vec_in_dim=None, meanflow_sum=False)
"""Settings that newer versions ask for, where their classes know them."""

PARAMS = dict(flux=FluxParams, flux2=FluxParams, chroma=ChromaParams, hunyuan_video=HunyuanVideoParams)


@dataclass(frozen=True)
class Family:
    """name: as people call it. config: the class in comfy.supported_models. unet: its settings, tiny.

    latents: channels, pixels a side, and axes. works: ALL, NO_GRADIENT, or words of the refusal; newer: the same, where
        versions with fused kernels differ.
    side: of the least picture that ComfyUI's own code takes, in pixels.
    text, pooled: widths of the conditioning. extra: other entries of the conditioning.
    """

    name: str
    config: str
    unet: dict[str, Any]
    latents: tuple[int, int, int] = (4, 8, 2)
    works: str = ALL
    newer: str | None = None
    side: int = 64
    text: int = 8
    pooled: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    """That ComfyUI looks at to tell variants apart."""

    @property
    def works_here(self) -> str:
        """What works in the version that runs."""
        fused = hasattr(comfy.model_management, "in_training")
        return self.newer if fused and self.newer else self.works

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the network, as the version that runs wants them."""
        known = PARAMS.get(self.unet.get("image_model"))
        asked = {entry.name for entry in fields(known)} if known else set()
        return {name: value for name, value in NEWER.items() if name in asked} | self.unet


V, ZSNR = {"v_pred": torch.zeros(1)}, {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
FAMILIES = [
    Family("SD 1.5", "SD15", UNET),
    Family("SD 1.5 inpainting", "SD15", UNET | {"in_channels": 9}),
    Family("InstructPix2Pix", "SD15_instructpix2pix", UNET | {"in_channels": 8}),
    Family("SD 2.1", "SD20", UNET),
    Family("SDXL", "SDXL", SDXL, pooled=1280),
    Family("SDXL v-prediction", "SDXL", SDXL, pooled=1280, weights=V),
    Family("SDXL zero SNR", "SDXL", SDXL, pooled=1280, weights=ZSNR),
    Family("SDXL refiner", "SDXLRefiner", SDXL | {"adm_in_channels": 2560}, pooled=1280),
    Family(
        "Playground 2.5", "SDXL", SDXL, pooled=1280,
        weights={"edm_mean": torch.zeros(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)},
    ),  # fmt: skip
    Family("SSD-1B", "SSD1B", SDXL, pooled=1280),
    Family("KOALA", "KOALA_700M", SDXL, pooled=1280),
    Family("SD 3.5", "SD3", SD3, (16, 8, 2), pooled=2048),
    Family("AuraFlow", "AuraFlow", AURA),
    Family("PixArt Sigma", "PixArtSigma", PIXART, side=320),
    Family("FLUX.1 dev", "Flux", FLUX, (16, 8, 2), pooled=8),
    Family("FLUX.1 schnell", "FluxSchnell", FLUX | {"guidance_embed": False}, (16, 8, 2), pooled=8),
    Family("FLUX.1 Fill", "FluxInpaint", FLUX | {"in_channels": 96}, (16, 8, 2), pooled=8),
    Family("FLUX.2", "Flux2", FLUX2, (128, 16, 2), pooled=8),
    Family("Chroma", "Chroma", CHROMA, (16, 8, 2), pooled=8),
    Family("HunyuanImage 2.1", "HunyuanImage21", HUNYUAN_IMAGE, (64, 32, 2)),
    Family("Lumina 2", "Lumina2", LUMINA, (16, 8, 2)),
    Family("Z-Image", "ZImage", Z_IMAGE, (16, 8, 2)),
    Family("OmniGen2", "Omnigen2", OMNIGEN, (16, 8, 2), extra={"attention_mask": torch.ones(1, 4, dtype=torch.long)}),
    Family(
        "HiDream-I1", "HiDream", HIDREAM, (16, 8, 2), NO_GRADIENT, pooled=8,
        extra={"conditioning_llama3": torch.ones(1, 2, 4, 8)},
    ),  # fmt: skip
    Family("Qwen-Image", "QwenImage", QWEN, (16, 8, 3)),
    Family("Krea 2", "Krea2", KREA, (16, 8, 3), text=256),
    Family("Cosmos Predict2", "CosmosT2IPredict2", COSMOS, (16, 8, 3), newer=NO_GRADIENT),
    Family(
        "Cosmos Predict2 Video2World", "CosmosI2VPredict2", COSMOS | {"in_channels": 17}, (16, 8, 3),
        "makes a video of a picture",
    ),  # fmt: skip
    Family("Wan 2.1", "WAN21_T2V", WAN, (16, 8, 3), "works on 3-d latents of video"),
    Family("Lotus", "LotusD", SDXL | {"adm_in_channels": 4}, works="predictor of depth"),
]
HERE = [family for family in FAMILIES if hasattr(comfy.supported_models, family.config)]
"""Those that the version that runs knows."""


def load(
    family: Family, dtype: torch.dtype = torch.float32, device: torch.device = CPU
) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.VAE, list]:
    """Model, VAE and conditioning of a family, small and random.

    dtype: of the weights; it computes in float32. device: where the model runs; the VAE runs where ComfyUI puts it.
    """
    torch.manual_seed(0)
    config = getattr(comfy.supported_models, family.config)(family.settings)
    config.set_inference_dtype(dtype, None if dtype is torch.float32 else torch.float32)
    model = config.get_model(family.weights)
    for weight in model.diffusion_model.state_dict().values():
        if weight.is_floating_point():
            weight.copy_(torch.randn(weight.shape) * (0.02 if weight.ndim > 1 else 0.1))
    patcher = comfy.model_patcher.ModelPatcher(model, device, CPU)
    text = torch.randn(1, 4, family.text)
    pooled = {} if family.pooled is None else {"pooled_output": torch.randn(1, family.pooled)}
    return patcher, load_vae(*family.latents), [[text, pooled | family.extra]]


def load_vae(channels: int, factor: int, axes: int) -> comfy.sd.VAE:
    """A tiny VAE of such latents: of the TAESD family, or Wan's where they have a frame axis."""
    config = dict(embed_dim=channels, width=8, halvings=factor.bit_length() - 1, blocks=1)
    if axes == 2:
        return load_tiny(TinyAutoencoder(**config).state_dict(), config)
    vae = load_vae(4, factor, 2)
    network = WanVAE(dim=8, z_dim=channels, dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True])
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    vae.first_stage_model, vae.latent_dim, vae.latent_channels = network.eval(), 3, channels
    vae.upscale_ratio = (lambda a: 4 * a - 3, 8, 8)
    vae.downscale_ratio = (lambda a: (a + 3) // 4, 8, 8)
    vae.upscale_index_formula = vae.downscale_index_formula = (4, 8, 8)
    vae.memory_used_encode = vae.memory_used_decode = lambda shape, dtype: 1e6
    vae.process_input, vae.process_output = lambda x: 2 * x - 1, lambda x: ((x + 1) / 2).clamp(0, 1)
    vae.patcher = comfy.model_patcher.ModelPatcher(network, vae.device, CPU)
    return vae
