"""The two networks of the prior, fresh or from a checkpoint, and the file that `Load Latent Diffusion (LDM)` reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.modules.diffusionmodules.util import make_beta_schedule
from safetensors.torch import save_file
from torch import Tensor, nn

from ..runtime.ldm.architecture import UNetArchitecture
from ..runtime.ldm.config import LDMConfig
from ..runtime.ldm.unet import UNet

SCHEDULE = {"beta_schedule": "linear", "linear_start": 0.0015, "linear_end": 0.0195, "timesteps": 1000,
            "parameterization": "eps"}  # of CompVis's LDM for faces


@dataclass(frozen=True)
class Sizes:
    """What the networks look like: CompVis's names."""

    image_size: int = 64
    embed_dim: int = 4
    ch: int = 32
    ch_mult: tuple[int, ...] = (1, 2, 3)
    model_channels: int = 64
    channel_mult: tuple[int, ...] = (1, 2, 3)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (2, 4)
    num_head_channels: int = 32

    @property
    def ddconfig(self) -> dict:
        """CompVis `ddconfig` of the first stage."""
        return {"double_z": True, "z_channels": self.embed_dim, "resolution": self.image_size, "in_channels": 3,
                "out_ch": 3, "ch": self.ch, "ch_mult": list(self.ch_mult), "num_res_blocks": 1,
                "attn_resolutions": [], "dropout": 0.0}

    @property
    def unet_config(self) -> dict:
        """CompVis `unet_config` of the diffusion model."""
        return {"image_size": self.image_size >> (len(self.ch_mult) - 1), "in_channels": self.embed_dim,
                "out_channels": self.embed_dim, "model_channels": self.model_channels,
                "num_res_blocks": self.num_res_blocks, "channel_mult": list(self.channel_mult),
                "attention_resolutions": list(self.attention_resolutions),
                "num_head_channels": self.num_head_channels, "use_spatial_transformer": False,
                "use_scale_shift_norm": False, "resblock_updown": False}


SMALL_LATENTS = {"embed_dim": 16, "ch_mult": (1, 2, 2, 3), "channel_mult": (1, 2), "attention_resolutions": (1, 2)}


def sizes(pixels: int, factor: int) -> Sizes:
    """For pictures of so many pixels a side and latents of pixels / factor; factor is 4 or 8."""
    return Sizes(image_size=pixels, **(SMALL_LATENTS if factor == 8 else {}))


def first_stage(sizes: Sizes) -> AutoencoderKL:
    """A fresh KL autoencoder."""
    return initialised(AutoencoderKL(embed_dim=sizes.embed_dim, ddconfig=sizes.ddconfig))


def unet(sizes: Sizes) -> UNet:
    """A fresh U-Net; as in CompVis, every residual branch starts at zero."""
    names = ("model_channels", "num_res_blocks", "channel_mult", "attention_resolutions")
    architecture = UNetArchitecture(
        in_channels=sizes.embed_dim, out_channels=sizes.embed_dim, use_scale_shift_norm=False, resblock_updown=False,
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


def export(path: Path, sizes: Sizes, autoencoder: dict[str, Tensor], diffusion: dict[str, Tensor], scale_factor: float,
           data: str) -> None:
    """Writes the checkpoint in half precision, with what the weights do not tell in its metadata."""
    weights = {f"first_stage_model.{key}": value for key, value in autoencoder.items()}
    weights |= {f"model.diffusion_model.{key}": value for key, value in diffusion.items()}
    first = {"type": "kl", "embed_dim": sizes.embed_dim, "ddconfig": sizes.ddconfig}
    metadata = {"format": "ldm", "data": data, "schedule": json.dumps(SCHEDULE), "scale_factor": repr(scale_factor),
                "unet_config": json.dumps(sizes.unet_config), "first_stage_config": json.dumps(first),
                "sizes": json.dumps(asdict(sizes))}
    halves = {key: value.detach().half().cpu().contiguous() for key, value in weights.items()}
    unfinished = path.with_suffix(".tmp")
    save_file(halves, unfinished, metadata)
    unfinished.replace(path)


def alphas_cumprod() -> Tensor:
    """(1000,) cumulative product of the schedule, float32."""
    betas = make_beta_schedule(SCHEDULE["beta_schedule"], SCHEDULE["timesteps"], SCHEDULE["linear_start"],
                               SCHEDULE["linear_end"])
    return torch.cumprod(1 - betas, dim=0).float()
