"""Live previews: the linear map from latents to colours that ComfyUI wants of a latent format."""

from __future__ import annotations

import torch
from comfy.latent_formats import LatentFormat
from torch import nn


@torch.no_grad()
def fit_preview(latent_format: LatentFormat, first_stage: nn.Module, factor: int, samples: int = 4) -> None:
    """Sets `latent_rgb_factors` and their bias by least squares: mean colour of `factor` pixels against its latent.

    Stable Diffusion's were published; here the decoder itself is asked, with white latents (a fraction of a second).
    """
    weight = next(first_stage.parameters())
    channels = latent_format.latent_channels
    latents = torch.randn(samples, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = first_stage.decode(latent_format.process_out(latents).to(weight)).float().cpu()
    colours = nn.functional.avg_pool2d(pixels, factor).movedim(1, -1).reshape(-1, 3)
    inputs = nn.functional.pad(latents.movedim(1, -1).reshape(-1, channels), (0, 1), value=1.0)
    *factors, bias = torch.linalg.lstsq(inputs, colours).solution.tolist()
    latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias = factors, bias
