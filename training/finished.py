"""What a training starts from: a first stage that is used as it is, or a whole prior to go on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime.ldm.architecture import first_stage_config
from ..runtime.ldm.first_stage import load_first_stage
from ..runtime.ldm.loader import FIRST_STAGE, UNET, below, read_weights
from ..runtime.ldm.tiny import is_tiny, tiny_config
from .networks import Sizes

HALVES = ("encoder", "decoder")
SUFFIXES = (".safetensors", ".pth")


@dataclass(frozen=True)
class FirstStage:
    """An autoencoder that is used as it is."""

    moments: Callable[[Tensor], Tensor]
    """(B, 3, H, W) in [-1, 1] -> latents (B, channels, h, w), or means and log-variances (B, 2 channels, h, w)."""
    weights: dict[str, Tensor]
    """What a prior takes over."""
    config: dict[str, Any]
    """CompVis `first_stage_config.params`, and a type."""
    channels: int
    factor: int
    notes: dict[str, str]
    """Credit and licence, for the metadata of priors that hold it."""


@dataclass(frozen=True)
class Start:
    """A prior to go on with."""

    unet: dict[str, Tensor]
    sizes: Sizes
    scale_factor: float
    parameterization: str
    first_stage: FirstStage


def read_first_stage(path: Path, device: torch.device) -> FirstStage:
    """From a folder with `*encoder.*` and `*decoder.*` of the TAESD family, and their LICENSE; or from a prior.

    Raises ValueError where there is none.
    """
    return from_folder(path, device) if path.is_dir() else from_prior(path, device)


def from_folder(folder: Path, device: torch.device) -> FirstStage:
    weights, name = read_halves(folder)
    notes = {"first_stage": f"{name}, of the TAESD family by O. Boer Bohan (github madebyollin/taesd)"}
    if (licence := folder / "LICENSE").is_file():
        notes["first_stage_license"] = licence.read_text()
    return made(weights, notes, device)


def read_halves(folder: Path) -> tuple[dict[str, Tensor], str]:
    """Weights of an encoder and a decoder of the TAESD family, and what they are called."""
    files = {half: [file for file in sorted(folder.glob(f"*{half}.*")) if file.suffix in SUFFIXES] for half in HALVES}
    if missing := [half for half in HALVES if len(files[half]) != 1]:
        raise ValueError(f"{folder} holds {len(files[missing[0]])} files called *{missing[0]}"
                         f"{' or .'.join(SUFFIXES)}; give a folder with one encoder and one decoder.")
    weights = {f"{half}.{key}": value for half in HALVES for key, value in read_weights(files[half][0])[0].items()}
    return weights, files["encoder"][0].stem.removesuffix("encoder").strip("_-") or folder.name


def from_prior(file: Path, device: torch.device) -> FirstStage:
    weights, metadata = opened(file)
    notes = {key: value for key, value in metadata.items() if key in ("first_stage", "first_stage_license")}
    return made(below(weights, FIRST_STAGE), notes, device)


def made(weights: dict[str, Tensor], notes: dict[str, str], device: torch.device) -> FirstStage:
    """The first stage of these weights, in float32."""
    tiny = is_tiny(weights)
    config = tiny_config(weights) if tiny else first_stage_config(weights)
    vae = load_first_stage(weights, config)
    network = vae.first_stage_model.requires_grad_(False).to(device, torch.float32, memory_format=torch.channels_last)
    return FirstStage(network.encode, weights, {"type": "taesd" if tiny else "kl", **config}, vae.latent_channels,
                      vae.downscale_ratio, notes)


def read_start(file: Path, device: torch.device) -> Start:
    """A prior that this tool has exported. Raises ValueError where it is none."""
    weights, metadata = opened(file)
    schedule = json.loads(metadata["schedule"])
    return Start(below(weights, UNET), Sizes.from_config(json.loads(metadata["unet_config"])),
                 float(metadata["scale_factor"]), schedule["parameterization"], from_prior(file, device))


def opened(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata of a prior. Raises ValueError where the file is none of this tool."""
    weights, metadata = read_weights(file)
    if not metadata or "unet_config" not in metadata:
        raise ValueError(f"{file} is no prior that this tool has exported.")
    return weights, metadata
