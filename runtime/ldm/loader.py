"""Checkpoint file -> MODEL and VAE."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch

from .architecture import (
    StateDict,
    UNetArchitecture,
    check_weights,
    first_stage_config,
    refuse_other_models,
    unet_architecture,
)
from .config import LDMConfig, read_config
from .first_stage import load_first_stage
from .unet import UNet

UNET, FIRST_STAGE, EMA = "model.diffusion_model.", "first_stage_model.", "model_ema.diffusion_model"


class LDMLatentFormat(comfy.latent_formats.LatentFormat):
    """Latents times the checkpoint's scale factor."""

    def __init__(self, scale_factor: float, channels: int, factor: int) -> None:
        self.scale_factor = scale_factor
        self.latent_channels = channels
        self.spacial_downscale_ratio = factor  # newer ComfyUI sizes an empty latent by it


class LDMModelConfig(comfy.supported_models_base.BASE):
    """What ComfyUI wants to know of a model; one keyword each, so that it looks for no Stable Diffusion in it."""

    unet_extra_config: dict[str, Any] = {}
    supported_inference_dtypes = [torch.float32]  # small models: half precision only where the user asks for it

    def __init__(
        self, architecture: UNetArchitecture, config: LDMConfig, latent_format: LDMLatentFormat
    ) -> None:
        super().__init__({"architecture": architecture, "config": config})
        self.latent_format = latent_format
        keys = ("beta_schedule", "linear_start", "linear_end", "timesteps")
        self.sampling_settings = {key: getattr(config, key) for key in keys}


class LDMModel(comfy.model_base.BaseModel):
    """An unconditional model: it takes any conditioning and looks at none."""

    def __init__(self, model_config: LDMModelConfig, device: torch.device | None = None) -> None:
        super().__init__(model_config, device=device, unet_model=UNet)

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        return {}


class X0Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.X0):
    """Discrete schedule, network that predicts z0."""


class VSampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
    """Discrete schedule, network that predicts v."""


def load_ldm(path: str | Path) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.VAE]:
    """MODEL and VAE of a CompVis latent-diffusion checkpoint (`.safetensors`, `.ckpt`).

    Raises ValueError with a sentence for the user where the file is unsafe, incomplete or of another kind.
    """
    path = Path(path)
    weights, metadata = read_weights(path)
    unet, first_stage = below(weights, UNET), below(weights, FIRST_STAGE)
    refuse_other_models(unet, set(weights))
    architecture, stage = unet_architecture(unet), first_stage_config(first_stage)
    config = read_config(path, metadata)
    if config is None:
        raise ValueError(
            f"{path.name} does not say how many attention heads, which noise schedule and which scale factor it was "
            f"trained with: put its CompVis config beside it as {path.stem}.yaml."
        )
    if architecture.in_channels != stage["embed_dim"]:
        raise ValueError(f"The U-Net of this checkpoint works on {architecture.in_channels} channels and its first "
                         f"stage makes {stage['embed_dim']}: the two do not belong together; choose another file.")
    vae = load_first_stage(first_stage, stage)
    scale_factor = float(weights.get("scale_factor", config.scale_factor))
    latent_format = LDMLatentFormat(scale_factor, stage["embed_dim"], vae.downscale_ratio)
    model = load_unet(ema_weights(weights, unet), LDMModelConfig(architecture, config, latent_format), path.name)
    set_sampling(model.model, config, weights.get("alphas_cumprod"))
    return model, vae


def read_weights(path: Path) -> tuple[StateDict, Mapping[str, str] | None]:
    """State dict and metadata of the file, without running code that a pickle may carry."""
    try:
        return comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path.name} holds more than weights (old PyTorch Lightning checkpoints do) and cannot be read safely: "
            "convert it to .safetensors, with its CompVis config beside it as .yaml."
        ) from error


def below(weights: StateDict, prefix: str) -> dict[str, torch.Tensor]:
    """The weights whose keys start with `prefix`, which is cut off."""
    return {key[len(prefix) :]: tensor for key, tensor in weights.items() if key.startswith(prefix)}


def ema_weights(weights: StateDict, unet: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The U-Net's averaged weights, which CompVis samples with, where the file holds them all; else `unet`."""
    averaged = {key: weights.get(EMA + key.replace(".", "")) for key in unet}  # LitEma strips the dots
    missing = sum(tensor is None for tensor in averaged.values())
    if missing == len(unet):
        return unet
    if missing:
        logging.warning("PSLD: the checkpoint lacks %d of its averaged (EMA) weights; using the plain ones.", missing)
        return unet
    logging.info("PSLD: using the checkpoint's averaged (EMA) weights.")
    return averaged


def load_unet(
    weights: dict[str, torch.Tensor], model_config: LDMModelConfig, name: str
) -> comfy.model_patcher.ModelPatcher:
    """ModelPatcher around the U-Net, on the devices and in the precision ComfyUI would choose."""
    with torch.device("meta"):
        check_weights(UNet(**model_config.unet_config), weights, "U-Net")
    management = comfy.model_management
    device, parameters = management.get_torch_device(), sum(tensor.numel() for tensor in weights.values())
    dtypes = model_config.supported_inference_dtypes
    dtype = management.unet_dtype(device, parameters, dtypes)
    model_config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, dtypes))
    model = LDMModel(model_config, device=management.unet_inital_load_device(parameters, dtype))
    model.diffusion_model.load_state_dict(weights)
    patcher = comfy.model_patcher.ModelPatcher(
        model, load_device=device, offload_device=management.unet_offload_device()
    )
    return patcher


def set_sampling(model: LDMModel, config: LDMConfig, alphas_cumprod: torch.Tensor | None) -> None:
    """Parameterization and, where the file holds it in full precision, the very schedule of the training."""
    sampling = {"v": VSampling, "x0": X0Sampling}.get(config.parameterization)
    if sampling is not None:
        model.model_sampling = sampling(model.model_config)
    if alphas_cumprod is not None and alphas_cumprod.dtype in (torch.float32, torch.float64):
        alphas_cumprod = alphas_cumprod.double()
        model.model_sampling.set_sigmas(((1 - alphas_cumprod) / alphas_cumprod).sqrt())
