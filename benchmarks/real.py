"""Families of models at their real widths, with random weights in the precision that ComfyUI chooses on this machine.

Time and memory do not depend on values. Widths are those of the published checkpoints, as ComfyUI reads them off.
"""

from __future__ import annotations

import math

import comfy.model_management
import comfy.sd
import comfy.supported_models
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.model_patcher import ModelPatcher

from ..tests.checkpoints import SD15_UNET, SD15_VAE, random_weights
from ..tests.families import FLUX, QWEN, Z_IMAGE, Family

SDXL = dict(
    image_size=32, in_channels=4, out_channels=4, model_channels=320, num_res_blocks=[2, 2, 2], channel_mult=[1, 2, 4],
    transformer_depth=[0, 0, 2, 2, 10, 10], transformer_depth_middle=10,
    transformer_depth_output=[0, 0, 0, 2, 2, 2, 10, 10, 10], context_dim=2048, use_spatial_transformer=True,
    use_linear_in_transformer=True, num_classes="sequential", adm_in_channels=2816,
)  # fmt: skip
SD35_MEDIUM = dict(
    in_channels=16, out_channels=16, patch_size=2, depth=24, input_size=None, adm_in_channels=2048,
    num_patches=147456, pos_embed_max_size=384, pos_embed_scaling_factor=None, qk_norm="rms",
    x_block_self_attn_layers=list(range(13)),
    context_embedder_config=dict(target="torch.nn.Linear", params=dict(in_features=4096, out_features=1536)),
)  # fmt: skip
FLUX_DEV = FLUX | dict(
    vec_in_dim=768, context_in_dim=4096, hidden_size=3072, mlp_ratio=4.0, num_heads=24, depth=19,
    depth_single_blocks=38,
)  # fmt: skip
REAL = [
    Family("SD 1.5", "SD15", SD15_UNET, side=512, text=768),
    Family("SDXL", "SDXL", SDXL, side=1024, text=2048, pooled=1280),
    Family("SD 3.5 Medium", "SD3", SD35_MEDIUM, (16, 8, 2), side=1024, text=4096, pooled=2048),
    Family("FLUX.1 dev", "Flux", FLUX_DEV, (16, 8, 2), side=1024, text=4096, pooled=768),
]
MORE = [
    Family(
        "Z-Image", "ZImage", Z_IMAGE | dict(
            cap_feat_dim=2560, dim=3840, n_layers=30, n_refiner_layers=2, n_heads=30, n_kv_heads=30,
            ffn_dim_multiplier=8 / 3,
        ), (16, 8, 2), side=1024, text=2560,
    ),
    Family(
        "Qwen-Image", "QwenImage", QWEN | dict(num_layers=60, num_attention_heads=24, joint_attention_dim=3584),
        (16, 8, 3), side=1024, text=3584,
    ),
]  # fmt: skip
"""Those whose random weights take longer to make than to run."""
TOKENS = {"SD 1.5": 77, "SDXL": 77, "SD 3.5 Medium": 154, "FLUX.1 dev": 256, "Z-Image": 64, "Qwen-Image": 64}


def load(family: Family) -> tuple[ModelPatcher, comfy.sd.VAE, list]:
    """Model, VAE and conditioning of a family, as ComfyUI's loaders would put them on this machine."""
    management = comfy.model_management
    device = management.get_torch_device()
    config = getattr(comfy.supported_models, family.config)(family.settings)
    supported = config.supported_inference_dtypes
    dtype = management.unet_dtype(device, parameters(family), supported)
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, supported))
    model = config.get_model({}, device=device)
    for name, weight in model.diffusion_model.state_dict().items():
        if weight.is_floating_point():
            fan_in = math.prod(weight.shape[1:])
            mean, std = (0, 0.5 / math.sqrt(fan_in)) if weight.ndim > 1 else (float(name.endswith("weight")), 0.05)
            weight.normal_(mean, std)
    patcher = ModelPatcher(model, device, management.unet_offload_device())
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(1, TOKENS[family.name], family.text, generator=generator)
    pooled = {} if family.pooled is None else {"pooled_output": torch.randn(1, family.pooled, generator=generator)}
    return patcher, vae(family.latents[0]), [[text, pooled]]


def parameters(family: Family) -> int:
    """How many weights its network has."""
    config = getattr(comfy.supported_models, family.config)(family.settings)
    with torch.device("meta"):
        network = config.get_model({}, device=torch.device("meta")).diffusion_model
    return sum(weight.numel() for weight in network.state_dict().values())


def vae(channels: int) -> comfy.sd.VAE:
    """The autoencoder of Stable Diffusion, or the one of 16 channels that SD 3 and FLUX have."""
    with torch.device("meta"):
        network = AutoencoderKL(embed_dim=channels, ddconfig=SD15_VAE | {"z_channels": channels})
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    if channels != SD15_VAE["z_channels"]:
        shapes = {name: shape for name, shape in shapes.items() if "quant_conv" not in name}
    return comfy.sd.VAE(sd=random_weights(shapes, seed=0))
