"""First stages as a ComfyUI VAE: CompVis's AutoencoderKL and VQModelInterface, and autoencoders like TAESD."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.taesd.taesd
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL, EmptyRegularizer
from torch import nn

from .architecture import StateDict, check_weights
from .tiny import TinyAutoencoder


class VectorQuantizer(nn.Module):
    """Nearest code of every latent pixel, with straight-through gradient (taming-transformers `VectorQuantizer2`)."""

    def __init__(self, codebook: torch.Tensor) -> None:
        """`codebook`: (n_embed, embed_dim)."""
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(codebook.float(), freeze=True)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """BCHW -> BCHW, in float32 inside: half precision picks wrong codes."""
        codes = self.embedding.weight.to(z.device)
        quantized = torch.stack([self.nearest(sample, codes) for sample in z.detach().float()])
        return z + (quantized - z).detach().to(z.dtype)

    @staticmethod
    def nearest(z: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """CHW -> CHW; one sample at a time, since the distances to 8,192 codes are what takes the memory."""
        pixels = z.flatten(1).T
        index = torch.addmm(codes.square().sum(1), pixels, codes.T, alpha=-2).argmin(1)
        return codes[index].T.reshape(z.shape)


def load_first_stage(weights: StateDict, config: dict[str, Any], tanh_out: bool = False) -> comfy.sd.VAE:
    """VAE of the weights below `first_stage_model.`; `config` as `first_stage_config` or `tiny_config` gives it."""
    if "ddconfig" not in config:
        return load_tiny(weights, config)
    n_embed = config.get("n_embed", 0)
    params = {"embed_dim": config["embed_dim"], "ddconfig": config["ddconfig"] | {"tanh_out": tanh_out}}
    with torch.device("meta"):
        check_weights(AutoencoderKL(**params), weights, "first stage")
    device = comfy.model_management.vae_device()
    dtype = comfy.model_management.vae_dtype(device, [torch.float32])  # half precision only where the user asks for it
    vae = comfy.sd.VAE(sd=dict(weights), device=device, config={"params": params}, dtype=dtype)
    make_plain(vae)
    if n_embed:
        turn_into_vq(vae.first_stage_model, weights["quantize.embedding.weight"])
    describe(vae, config["embed_dim"], config["ddconfig"], n_embed)
    return vae


def make_plain(vae: comfy.sd.VAE) -> None:
    """Takes a VAE off dynamic VRAM, through which no gradient flows: first stages are small enough to stay loaded."""
    offload_device = comfy.model_management.vae_offload_device()
    vae.first_stage_model.to(vae.vae_dtype)  # dynamic VRAM leaves the file's precision, and casts as it goes
    vae.patcher = comfy.model_patcher.ModelPatcher(vae.first_stage_model, vae.device, offload_device)


def turn_into_vq(model: AutoencoderKL, codebook: torch.Tensor) -> None:
    """Makes ComfyUI's autoencoder CompVis's `VQModelInterface`, which has the same layers.

    encode returns the latent before quantisation; decode quantises first. In place, so that all else stays as
    `comfy.sd.VAE` has set it up.
    """
    model.regularization = EmptyRegularizer()
    model.quantize = VectorQuantizer(codebook).to(next(model.parameters()).device)
    model.post_quant_conv.register_forward_pre_hook(lambda _, inputs: model.quantize(inputs[0]))


def describe(vae: comfy.sd.VAE, embed_dim: int, ddconfig: dict[str, Any], n_embed: int) -> None:
    """Tells ComfyUI the compression, channels and memory need, which it takes for Stable Diffusion's."""
    factor = 2 ** (len(ddconfig["ch_mult"]) - 1)
    vae.downscale_ratio = vae.upscale_ratio = factor
    vae.latent_channels = embed_dim
    size = comfy.model_management.dtype_size
    # ComfyUI's measured 1767 and 2178 values per pixel are of an autoencoder with ch = 128
    vae.memory_used_encode = lambda shape, dtype: 1767 * shape[2] * shape[3] * ddconfig["ch"] / 128 * size(dtype)
    vae.memory_used_decode = lambda shape, dtype: shape[2] * shape[3] * (
        2178 * factor**2 * ddconfig["ch"] / 128 * size(dtype) + 8 * n_embed
    )


def load_tiny(weights: StateDict, config: dict[str, Any]) -> comfy.sd.VAE:
    """VAE of an autoencoder of the TAESD family; `config` as `tiny_config` gives it."""
    with torch.device("meta"):
        check_weights(TinyAutoencoder(**config), weights, "first stage", exactly=True)
    device = comfy.model_management.vae_device()
    dtype = comfy.model_management.vae_dtype(device, [torch.float32])
    # ComfyUI's own autoencoder of the family has the right settings around it, but not every architecture.
    stock = comfy.taesd.taesd.TAESD(latent_channels=config["embed_dim"]).state_dict()
    vae = comfy.sd.VAE(sd=stock, device=device, dtype=dtype)
    vae.first_stage_model = TinyAutoencoder(**config).eval()
    vae.first_stage_model.load_state_dict(weights)
    make_plain(vae)
    vae.size = comfy.model_management.module_size(vae.first_stage_model)
    vae.latent_channels = config["embed_dim"]  # newer ComfyUI takes 128 for FLUX.2's, folded from 32
    factor = vae.downscale_ratio = vae.upscale_ratio = 2 ** config["halvings"]
    values = 5 * config["width"]  # a pixel; on a CPU 4.2 were measured
    size = comfy.model_management.dtype_size
    vae.memory_used_encode = lambda shape, dtype: values * shape[2] * shape[3] * size(dtype)
    vae.memory_used_decode = lambda shape, dtype: values * factor**2 * shape[2] * shape[3] * size(dtype)
    return vae
