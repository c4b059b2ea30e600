"""Checkpoint file -> MODEL and VAE."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import comfy.model_patcher
import comfy.sd
import comfy.utils
import torch
from safetensors import SafetensorError

from .architecture import StateDict, first_stage_config, refuse_other_models, unet_architecture
from .config import check_limits, read_config
from .first_stage import load_first_stage
from .model import LDMLatentFormat, LDMModel, LDMModelConfig, load_unet  # noqa: F401
from .preview import fit_preview
from .tiny import is_tiny, tiny_config

UNET, FIRST_STAGE, EMA = "model.diffusion_model.", "first_stage_model.", "model_ema.diffusion_model"


def load_ldm(path: str | Path) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.VAE]:
    """MODEL and VAE of a CompVis latent-diffusion checkpoint (`.safetensors`, `.ckpt`).

    Raises ValueError with a sentence for the user where the file is unsafe, incomplete or of another kind.
    """
    path = Path(path)
    weights, metadata = read_weights(path)
    unet, first_stage = below(weights, UNET), below(weights, FIRST_STAGE)
    try:
        refuse_other_models(unet, set(weights))
        architecture = unet_architecture(unet)
        stage = tiny_config(first_stage) if is_tiny(first_stage) else first_stage_config(first_stage)
    except (IndexError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{path.name} has weights of shapes that no latent diffusion model has: download it again, or "
                         "choose another checkpoint.") from error
    if architecture.in_channels != stage["embed_dim"]:
        raise ValueError(f"The U-Net of {path.name} works on {architecture.in_channels} channels but its first stage "
                         f"makes {stage['embed_dim']}: the two do not belong together; choose another checkpoint.")
    config = read_config(path, metadata)
    if config is None:
        raise ValueError(f"{path.name} does not say how many attention heads, which noise schedule and which scale "
                         f"factor it was trained with: put its CompVis config beside it, named {path.stem}.yaml.")
    vae = load_first_stage(first_stage, stage, config.tanh_out)
    scale_factor = float(weights.get("scale_factor", config.scale_factor))
    check_limits("scale_factor", scale_factor)
    unet = ema_weights(weights, unet)
    refuse_spoilt(path, [*unet.values(), *first_stage.values()])
    latent_format = LDMLatentFormat(scale_factor, stage["embed_dim"], vae.downscale_ratio)
    fit_preview(latent_format, vae.first_stage_model, vae.downscale_ratio)
    model_config = LDMModelConfig(architecture, config, latent_format)
    return load_unet(unet, model_config, weights.get("alphas_cumprod")), vae


def read_weights(path: Path) -> tuple[StateDict, Mapping[str, str] | None]:
    """State dict and metadata of the file, without running code that a pickle may carry."""
    try:
        return comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path.name} holds more than weights (as old PyTorch Lightning checkpoints do) and cannot be "
                         "read safely: convert it to .safetensors, with its CompVis config beside it.") from error
    except (RuntimeError, EOFError, SafetensorError) as error:
        raise ValueError(f"{path.name} cannot be read ({error}): download it again.") from error


def refuse_spoilt(path: Path, weights: Iterable[torch.Tensor]) -> None:
    """Raises ValueError where a weight is no number: every picture would be black."""
    if not all(torch.isfinite(tensor).all() for tensor in weights):
        raise ValueError(f"{path.name} holds NaN or infinite weights: download it again, or choose another checkpoint.")


def below(weights: StateDict, prefix: str) -> dict[str, torch.Tensor]:
    """The weights whose keys start with `prefix`, which is cut off."""
    return {key[len(prefix) :]: tensor for key, tensor in weights.items() if key.startswith(prefix)}


def ema_weights(weights: StateDict, unet: StateDict) -> StateDict:
    """The U-Net's averaged weights, which CompVis samples with, where the file holds them all; else `unet`."""
    names = {key: EMA + key.replace(".", "") for key in unet}  # CompVis's LitEma strips the dots
    present = sum(name in weights for name in names.values())
    if present < len(names):
        if present:
            logging.warning("PSLD: %d of %d averaged (EMA) weights are in the checkpoint; using the plain ones.",
                            present, len(names))
        return unet
    logging.info("PSLD: using the averaged (EMA) weights of the checkpoint.")
    return {key: weights[name] for key, name in names.items()}
