"""The U-Net as a ComfyUI model: latent scaling, noise schedule, devices and precision."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models_base
import torch

from .architecture import StateDict, UNetArchitecture, check_weights
from .config import LDMConfig
from .unet import UNet


class LDMLatentFormat(comfy.latent_formats.LatentFormat):
    """Latents times the checkpoint's scale factor."""

    def __init__(self, scale_factor: float, channels: int, factor: int) -> None:
        self.scale_factor = scale_factor
        self.latent_channels = channels
        self.spacial_downscale_ratio = factor  # newer ComfyUI resizes a stock empty latent by it


class LDMModelConfig(comfy.supported_models_base.BASE):
    """What ComfyUI asks of a model; the U-Net's settings hidden in two keys, lest it map them to Stable Diffusion's."""

    unet_extra_config: dict[str, Any] = {}
    supported_inference_dtypes = [torch.float32]  # small models: half precision only where the user asks for it

    def __init__(self, architecture: UNetArchitecture, config: LDMConfig, latent_format: LDMLatentFormat) -> None:
        super().__init__({"architecture": architecture, "config": config})
        self.latent_format = latent_format
        keys = ("beta_schedule", "linear_start", "linear_end", "timesteps")
        self.sampling_settings = {key: getattr(config, key) for key in keys}


class LDMModel(comfy.model_base.BaseModel):
    """An unconditional model: it takes any conditioning and looks at none."""

    def __init__(self, model_config: LDMModelConfig, device: torch.device | None = None) -> None:
        super().__init__(model_config, device=device, unet_model=UNet)

    @property
    def side(self) -> int:
        """Latents along the side of the pictures that it was trained on."""
        return self.model_config.unet_config["config"].image_size

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        return {}


class VSampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
    """Discrete schedule of a network that predicts v."""


class X0Sampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.X0):
    """Discrete schedule of a network that predicts z0."""


def load_unet(
    weights: StateDict, model_config: LDMModelConfig, alphas_cumprod: torch.Tensor | None = None
) -> comfy.model_patcher.ModelPatcher:
    """ModelPatcher around the U-Net of `weights`, on the devices and in the precision ComfyUI would choose.

    `alphas_cumprod` is the checkpoint's own schedule; in half precision it is too coarse and the config's is used.
    """
    with torch.device("meta"):
        check_weights(UNet(**model_config.unet_config), weights, "U-Net", exactly=True)
    management = comfy.model_management
    device, offload_device = management.get_torch_device(), management.unet_offload_device()
    dtypes = model_config.supported_inference_dtypes
    dtype = management.unet_dtype(device, sum(tensor.numel() for tensor in weights.values()), dtypes)
    model_config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, dtypes))
    model = LDMModel(model_config, device=offload_device)
    model.diffusion_model.load_state_dict(weights)
    sampling = {"v": VSampling, "x0": X0Sampling}.get(model_config.unet_config["config"].parameterization)
    if sampling is not None:
        model.model_sampling = sampling(model_config)
    if alphas_cumprod is not None and alphas_cumprod.dtype in (torch.float32, torch.float64):
        alphas_cumprod = alphas_cumprod.double()
        model.model_sampling.set_sigmas(((1 - alphas_cumprod) / alphas_cumprod).sqrt())
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload_device)
