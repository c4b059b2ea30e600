"""Loaders: latent-diffusion checkpoints and the latents they start from."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.sd
import folder_paths
import torch
from comfy_api.latest import io

from ..runtime.codec import spatial_factor
from ..runtime.ldm import load_ldm
from .types import CATEGORY

LOADERS = f"{CATEGORY}/loaders"
PRIORS = Path(__file__).resolve().parent.parent / "priors"
EMBEDDED = "[embedded] "


def checkpoint_names() -> list[str]:
    """The pack's own priors first, then ComfyUI's checkpoints."""
    embedded = [EMBEDDED + file.name for file in sorted(PRIORS.glob("*.safetensors"))]
    return embedded + folder_paths.get_filename_list("checkpoints")


def checkpoint_path(name: str) -> Path:
    """File of a name in `checkpoint_names`."""
    if name not in checkpoint_names():
        raise ValueError(f"ckpt_name: there is no checkpoint {name!r}; choose one of the list (refresh it with R).")
    if name.startswith(EMBEDDED):
        return PRIORS / name.removeprefix(EMBEDDED)
    return Path(folder_paths.get_full_path_or_raise("checkpoints", name))


class LoadLDM(io.ComfyNode):
    """Load Latent Diffusion (LDM)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = checkpoint_names()
        return io.Schema(
            node_id="PSLD_LoadLDM",
            display_name="Load Latent Diffusion (LDM)",
            category=LOADERS,
            description="Loads an unconditional latent diffusion checkpoint in the layout of CompVis/latent-diffusion "
            "(first stage KL, VQ or like TAESD). The stock KSampler and VAE nodes accept its outputs.",
            inputs=[
                io.Combo.Input(
                    "ckpt_name",
                    options=names,
                    default=names[0] if names else None,
                    tooltip="An embedded prior, or a file of models/checkpoints with its CompVis config beside it "
                    "(same name, .yaml).",
                )
            ],
            outputs=[
                io.Model.Output(display_name="MODEL"),
                io.Vae.Output(display_name="VAE"),
                io.Conditioning.Output(
                    display_name="CONDITIONING",
                    tooltip="Says nothing: connect it to positive and negative of a stock sampler.",
                ),
            ],
        )

    @classmethod
    def execute(cls, ckpt_name: str) -> io.NodeOutput:
        model, vae = load_ldm(checkpoint_path(ckpt_name))
        return io.NodeOutput(model, vae, [[torch.zeros(1, 1, 1), {}]])


class EmptyLatent(io.ComfyNode):
    """Empty Latent (LDM)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        size = {"default": 64, "min": 8, "max": 8192, "step": 4}
        return io.Schema(
            node_id="PSLD_EmptyLatent",
            display_name="Empty Latent (LDM)",
            category=LOADERS,
            description="An empty latent of the VAE's own channels and compression; the stock node assumes 8 pixels "
            "a latent, which halves the picture of an f4 model.",
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that will decode the latent."),
                io.Int.Input("width", **size, tooltip="Width of the picture in pixels."),
                io.Int.Input("height", **size, tooltip="Height of the picture in pixels."),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="Number of pictures."),
            ],
            outputs=[io.Latent.Output(display_name="LATENT")],
        )

    @classmethod
    def execute(cls, vae: comfy.sd.VAE, width: int, height: int, batch_size: int) -> io.NodeOutput:
        if vae.latent_dim not in (2, 3):
            raise ValueError("vae: this is a VAE of sound or shapes; connect one for images.")
        factor, frame = spatial_factor(vae), (1,) if vae.latent_dim == 3 else ()
        for name, value in (("width", width), ("height", height)):
            if value % factor:
                raise ValueError(f"{name}: {value} is not divisible by the {factor} pixels of a latent; "
                                 f"choose {value - value % factor or factor} or {value - value % factor + factor}.")
        shape = (batch_size, vae.latent_channels, *frame, height // factor, width // factor)
        return io.NodeOutput({"samples": torch.zeros(shape, device=comfy.model_management.intermediate_device())})


NODES = [LoadLDM, EmptyLatent]
