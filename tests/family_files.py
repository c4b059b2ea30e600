"""Families of models as small files that ComfyUI's own loaders detect: real keys, random weights, few layers.

ComfyUI reads a model's settings off its weights, but knows some widths of each family by heart. `LIKE_FILES` says how
small a file of a family can be: SDXL takes 0.3 GB, FLUX.1 with a single block 0.8. Those without an entry differ from
another by a key alone (SDXL's relatives), or would be as large as FLUX.1 or larger: Chroma and Qwen-Image with 3,072
channels, FLUX.2 with 48 heads; AuraFlow, Lumina 2, Z-Image, OmniGen2, HiDream, Krea 2 and Cosmos Predict2, of which all
widths or the number of layers are fixed; HunyuanImage 2.1 for its VAE; PixArt for the least size of its pictures.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.supported_models
import comfy.taesd.taesd
import safetensors.torch
import torch
from psld.tests.checkpoints import random_weights
from psld.tests.families import HERE, UNET, Family
from torch import Tensor, nn

SD = UNET | dict(model_channels=320, context_dim=768, transformer_depth_output=[0, 0], transformer_depth_middle=-2,
                 use_linear_in_transformer=False)  # fmt: skip
SD2 = SD | dict(context_dim=1024, use_linear_in_transformer=True)
SDXL = SD2 | dict(
    context_dim=2048, num_classes="sequential", adm_in_channels=2816, num_res_blocks=[2] * 3, channel_mult=[1] * 3,
    transformer_depth=[0, 0, 2, 2, 10, 10], transformer_depth_output=[0] * 9,
)  # fmt: skip
LIKE_FILES: dict[str, dict[str, Any]] = {
    "SD 1.5": SD,
    "SD 1.5 inpainting": SD | dict(in_channels=9),
    "SD 2.1": SD2,
    "SDXL": SDXL,
    "SDXL refiner": SDXL | dict(
        model_channels=384, context_dim=1280, adm_in_channels=2560, num_res_blocks=[2] * 4, channel_mult=[1] * 4,
        transformer_depth=[0, 0, 4, 4, 4, 4, 0, 0], transformer_depth_output=[0] * 12,
    ),
    "SD 3.5": {},
    "FLUX.1 dev": dict(hidden_size=3072, mlp_ratio=4.0, num_heads=24, depth_single_blocks=0),
    "Wan 2.1": dict(text_dim=4096),
}  # fmt: skip
"""Settings that differ from those of `families.py`."""

TEXT = {"SD 1.5": 768, "SD 1.5 inpainting": 768, "SD 2.1": 1024, "SDXL refiner": 1280,
        "SD 3.5": 8, "FLUX.1 dev": 8, "Wan 2.1": 4096}  # fmt: skip
"""Widths of the conditioning where they are not SDXL's."""

FILES = [replace(family, unet=family.unet | LIKE_FILES[family.name], text=TEXT.get(family.name, 2048))
         for family in HERE if family.name in LIKE_FILES]  # fmt: skip


def write(family: Family, folder: Path, vae: dict[str, Tensor] | None = None) -> tuple[str, bool]:
    """A checkpoint with its VAE, or (True) a diffusion model alone, below ComfyUI's models folder: the file's name.

    vae: weights of its first stage (default: a TAESD).
    """
    config = getattr(comfy.supported_models, family.config)(family.settings)
    network = config.get_model(family.weights, device=torch.device("meta")).diffusion_model
    weights = random_weights(shapes(network), seed=0)
    name, alone = f"tiny {family.name}.safetensors", isinstance(family.unet.get("image_model"), str)
    if not alone:
        weights = {f"model.diffusion_model.{key}": value for key, value in weights.items()}
        weights |= {f"first_stage_model.{key}": value for key, value in (vae or vae_weights(family.latents[0])).items()}
    file = folder / ("diffusion_models" if alone else "checkpoints") / name
    file.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(weights | family.weights, file)
    return name, alone


def write_vae(family: Family, folder: Path) -> str:
    """A VAE of such latents below ComfyUI's models folder: the file's name."""
    (folder / "vae").mkdir(parents=True, exist_ok=True)
    name = f"tiny {family.latents[0]}.safetensors"
    safetensors.torch.save_file(vae_weights(family.latents[0]), folder / "vae" / name)
    return name


def vae_weights(channels: int) -> dict[str, Tensor]:
    """Of a TAESD with so many channels."""
    weights = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    for half in ("Encoder", "Decoder"):
        part = random_weights(shapes(getattr(comfy.taesd.taesd, half)(latent_channels=channels)), seed=1)
        weights |= {f"taesd_{half.lower()}.{key}": value for key, value in part.items()}
    return weights


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}
