"""The two networks of the prior, fresh or from a checkpoint, and the file that `Load Latent Diffusion (LDM)` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.modules.diffusionmodules.util import make_beta_schedule
from safetensors.torch import save_file
from torch import Tensor, nn

from ..runtime.ldm.architecture import UNetArchitecture
from ..runtime.ldm.config import LDMConfig
from ..runtime.ldm.unet import UNet

SCHEDULE = {"beta_schedule": "linear", "linear_start": 0.0015, "linear_end": 0.0195, "timesteps": 1000}
"""Of CompVis's LDM for faces."""


@dataclass(frozen=True)
class Sizes:
    """What a U-Net looks like, in CompVis's names; `image_size` is the side of its latents."""

    image_size: int = 16
    channels: int = 4
    model_channels: int = 64
    channel_mult: tuple[int, ...] = (1, 2, 3)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (2, 4)
    num_head_channels: int = 32

    @property
    def unet_config(self) -> dict[str, Any]:
        """CompVis `unet_config`."""
        return {"image_size": self.image_size, "in_channels": self.channels, "out_channels": self.channels,
                "model_channels": self.model_channels, "num_res_blocks": self.num_res_blocks,
                "channel_mult": list(self.channel_mult), "attention_resolutions": list(self.attention_resolutions),
                "num_head_channels": self.num_head_channels, "use_spatial_transformer": False,
                "use_scale_shift_norm": False, "resblock_updown": False}

    @staticmethod
    def from_config(config: dict[str, Any]) -> Sizes:
        """Of the `unet_config` in the metadata of a prior."""
        names = ("model_channels", "num_res_blocks", "num_head_channels", "image_size")
        tuples = {name: tuple(config[name]) for name in ("channel_mult", "attention_resolutions")}
        return Sizes(channels=config["in_channels"], **tuples, **{name: config[name] for name in names})


def sizes(pixels: int, factor: int, channels: int) -> Sizes:
    """A U-Net for pictures of so many pixels a side, whose latents have so many channels and pixels / factor a side.

    Many channels take a wide one: what is fine in them has to pass through its largest size.
    """
    if channels > 16:
        return Sizes(pixels // factor, channels, 128, channel_mult=(1, 2, 2), attention_resolutions=(1, 2, 4))
    if factor == 8:
        return Sizes(pixels // factor, channels, channel_mult=(1, 2), attention_resolutions=(1, 2))
    return Sizes(pixels // factor, channels)


def kl_config(pixels: int, factor: int) -> dict[str, Any]:
    """CompVis `first_stage_config.params` of a small KL autoencoder; factor is 4 or 8."""
    channels, ch_mult = {4: (4, (1, 2, 3)), 8: (16, (1, 2, 2, 3))}[factor]
    ddconfig = {"double_z": True, "z_channels": channels, "resolution": pixels, "in_channels": 3, "out_ch": 3,
                "ch": 32, "ch_mult": list(ch_mult), "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    return {"type": "kl", "embed_dim": channels, "ddconfig": ddconfig}


def first_stage(config: dict[str, Any]) -> AutoencoderKL:
    """A fresh KL autoencoder; `config` as `kl_config` gives it."""
    return initialised(AutoencoderKL(embed_dim=config["embed_dim"], ddconfig=config["ddconfig"]))


def unet(sizes: Sizes) -> UNet:
    """A fresh U-Net; as in CompVis, every residual branch starts at zero."""
    names = ("model_channels", "num_res_blocks", "channel_mult", "attention_resolutions")
    architecture = UNetArchitecture(
        in_channels=sizes.channels, out_channels=sizes.channels, use_scale_shift_norm=False, resblock_updown=False,
        **{name: getattr(sizes, name) for name in names},
    )
    network = initialised(UNet(architecture, LDMConfig(num_head_channels=sizes.num_head_channels)))
    for name, module in network.named_modules():
        if name.endswith(("out_layers.3", "proj_out")) or name == "out.2":
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return network


def initialised(network: nn.Module) -> nn.Module:
    """ComfyUI's layers leave their weights unset, for they are loaded; here they get PyTorch's own start."""
    for layer in network.modules():
        for kind in (nn.Conv1d, nn.Conv2d, nn.Linear, nn.GroupNorm):
            if isinstance(layer, kind):
                kind.reset_parameters(layer)
    return network.requires_grad_().train()


def encode(network: AutoencoderKL, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of the posterior of x: (B, 3, H, W) in [-1, 1] -> (B, c, h, w) twice."""
    mean, log_variance = network.quant_conv(network.encoder(x)).float().chunk(2, dim=1)
    return mean, log_variance.clamp(-30, 20)


@dataclass(frozen=True)
class Facts:
    """What the weights of a prior do not tell: its metadata."""

    sizes: Sizes
    first_stage_config: dict[str, Any]
    scale_factor: float
    parameterization: str
    notes: dict[str, str]
    """Data, credit, licences."""

    def metadata(self) -> dict[str, str]:
        settings = {"schedule": SCHEDULE | {"parameterization": self.parameterization},
                    "scale_factor": self.scale_factor, "unet_config": self.sizes.unet_config,
                    "first_stage_config": self.first_stage_config}
        return {"format": "ldm", **self.notes, **{name: json.dumps(value) for name, value in settings.items()}}


def export(path: Path, facts: Facts, first_stage: dict[str, Tensor], diffusion: dict[str, Tensor]) -> None:
    """Writes the checkpoint in half precision."""
    weights = {f"first_stage_model.{key}": value for key, value in first_stage.items()}
    weights |= {f"model.diffusion_model.{key}": value for key, value in diffusion.items()}
    halves = {key: value.detach().half().cpu().contiguous() for key, value in weights.items()}
    unfinished = path.with_suffix(".tmp")
    save_file(halves, unfinished, facts.metadata())
    unfinished.replace(path)


def alphas_cumprod() -> Tensor:
    """(1000,) cumulative product of the schedule, float32."""
    betas = make_beta_schedule(SCHEDULE["beta_schedule"], SCHEDULE["timesteps"], SCHEDULE["linear_start"],
                               SCHEDULE["linear_end"])
    return torch.cumprod(1 - betas, dim=0).float()
