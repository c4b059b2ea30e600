"""What the tests of CompVis latent diffusion share: a photo, stock sampling, and small random checkpoints."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from psld.devkit import ROOT
from psld.tests.checkpoints import ldm_shapes, random_weights

HAND = ROOT / "workflows" / "samples" / "hand_five.png"
UNCONDITIONAL = [[torch.zeros(1, 1, 1), {}]]
SMALL = {
    "linear_start": "15e-4", "linear_end": 0.0195, "timesteps": 1000, "scale_factor": 0.5,
    "unet_config": {"params": {
        "in_channels": 4, "out_channels": 4, "model_channels": 32, "attention_resolutions": [2], "num_res_blocks": 1,
        "channel_mult": [1, 2], "num_head_channels": 16,
    }},
    "first_stage_config": {"params": {"embed_dim": 4, "ddconfig": {
        "double_z": True, "z_channels": 4, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2],
        "num_res_blocks": 1, "attn_resolutions": [16], "dropout": 0.0,
    }}},
}  # fmt: skip
UNET, STAGE = "model.diffusion_model.", "first_stage_model."


def photo(file: Path = HAND) -> torch.Tensor:
    """IMAGE (1, H, W, 3) in [0, 1]."""
    return torch.from_numpy(np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 255)[None]


def device_of(network: torch.nn.Module) -> torch.device:
    """Where it is: on a GPU once ComfyUI has loaded it there."""
    return next(network.parameters()).device


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean().detach()))


def sample(model, latent: torch.Tensor, conditioning=UNCONDITIONAL, steps: int = 1, seed: int = 1) -> torch.Tensor:
    """Stock KSampler."""
    import nodes

    out = nodes.common_ksampler(
        model, seed, steps, 1.0, "ddim", "normal", conditioning, conditioning, {"samples": latent}
    )
    return out[0]["samples"]


def run(executor, prompt: dict, comfy_base: Path, prefix: str) -> torch.Tensor:
    """Runs the prompt, whose node "save" is a SaveImage with this prefix, and reads the pictures."""
    executor.execute(prompt, prefix, {}, ["save"])
    assert executor.success, executor.status_messages[-1]
    return torch.cat([photo(file) for file in sorted((comfy_base / "output").glob(f"{prefix}_*.png"))])


def change(config: dict, **unet: object) -> dict:
    """`SMALL` and so on with other U-Net settings."""
    config = copy.deepcopy(config)
    config["unet_config"]["params"].update(unet)
    return config


def small_weights(config: dict = SMALL) -> dict[str, torch.Tensor]:
    return random_weights(ldm_shapes(config), 0, torch.float32)


def save(folder: Path, weights: dict[str, torch.Tensor], config: dict | None = SMALL) -> Path:
    """A checkpoint with its config beside it as CompVis writes it."""
    file = folder / "small.safetensors"
    safetensors.torch.save_file(weights, file)
    if config is not None:
        file.with_suffix(".yaml").write_text(json.dumps({"model": {"params": config}}))
    return file
