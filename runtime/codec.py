"""The encoder and decoder of a ComfyUI VAE as differentiable functions of model latents and [-1, 1] pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from comfy.model_base import BaseModel
from comfy.sd import VAE
from torch import Tensor, nn


@dataclass(frozen=True)
class Codec:
    """E and D of a VAE in the latent scaling of a diffusion model.

    `VAE.decode` clamps, and falls back to tiles under inference mode: both lose the graph. So this calls the first
    stage itself, with the VAE's own dtype and device, which --cpu-vae makes another than the caller's. ComfyUI's first
    stages encode to the mean of the posterior.
    VAEs of 3-d latents (Wan's, which Qwen-Image has) take a picture as a film of one frame.
    """

    vae: VAE
    first_stage: nn.Module
    model: BaseModel

    @cached_property
    def signed(self) -> bool:
        return signed_pixels(self.vae)

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latents (B, c, [1,] h, w) as the diffusion model sees them."""
        pixels = x if self.signed else (x + 1) / 2
        pixels = pixels.unsqueeze(2) if self.vae.latent_dim == 3 else pixels
        z0 = self.first_stage.encode(pixels.to(self.vae.device, self.vae.vae_dtype)).to(x.device, torch.float32)
        return self.model.process_latent_in(z0)

    def decode(self, z0: Tensor) -> Tensor:
        """Latents (B, c, [1,] h, w) of the diffusion model -> (B, 3, H, W) in about [-1, 1], not clamped, float32."""
        raw = self.model.process_latent_out(z0).to(self.vae.device, self.vae.vae_dtype)
        pixels = self.first_stage.decode(raw).to(z0.device, torch.float32)
        pixels = pixels.squeeze(2) if self.vae.latent_dim == 3 else pixels
        return pixels if self.signed else pixels * 2 - 1


def signed_pixels(vae: VAE) -> bool:
    """Whether the first stage works on [-1, 1] pixels (most do) rather than [0, 1]."""
    return float(vae.process_input(torch.tensor(0.5))) == 0


def spatial_factor(vae: VAE) -> int:
    """How many pixels a latent covers, along height and width."""
    return int(vae.spacial_compression_encode())
