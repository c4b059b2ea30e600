"""CompVis first stages as a ComfyUI VAE: AutoencoderKL and VQModelInterface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.sd
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL

from .architecture import check_weights


def load_first_stage(weights: Mapping[str, torch.Tensor], config: dict[str, Any]) -> comfy.sd.VAE:
    """VAE of the weights below `first_stage_model.`; `config` as `first_stage_config` gives it."""
    with torch.device("meta"):
        check_weights(AutoencoderKL(**config), weights, "first stage")
    device = comfy.model_management.vae_device()
    dtype = comfy.model_management.vae_dtype(device, [torch.float32])  # bfloat16 only where the user asks for it
    vae = comfy.sd.VAE(sd=dict(weights), device=device, config={"params": config}, dtype=dtype)
    describe(vae, config)
    return vae


def describe(vae: comfy.sd.VAE, config: dict[str, Any]) -> None:
    """Tells ComfyUI the compression, channels and memory need, which it assumes to be Stable Diffusion's."""
    ddconfig = config["ddconfig"]
    factor = 2 ** (len(ddconfig["ch_mult"]) - 1)
    vae.downscale_ratio = vae.upscale_ratio = factor
    vae.latent_channels, vae.output_channels = config["embed_dim"], ddconfig["out_ch"]

    def bytes_per_pixel(dtype: torch.dtype) -> float:
        # ComfyUI's measured 2178 values per pixel are of an autoencoder with ch = 128
        return 2178 * ddconfig["ch"] / 128 * comfy.model_management.dtype_size(dtype)

    vae.memory_used_encode = lambda shape, dtype: shape[2] * shape[3] * bytes_per_pixel(dtype)
    vae.memory_used_decode = lambda shape, dtype: shape[2] * shape[3] * factor**2 * bytes_per_pixel(dtype)
