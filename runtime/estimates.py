"""Before a run: the ways to go through it, what each may take, and what there is. By ComfyUI's own estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE

from ..solvers import Method
from .codec import spatial_factor
from .grid import Grid

TILES = 256, 192, 128, 96, 64, 48, 32
"""Latents along the side of a tile."""

DENOISER, DENOISER_BLOCKS = 450e3, 40e3
"""Bytes that a model keeps for backward, of all its activations or with blocks that run again: a latent, a byte of its
format and a unit of ComfyUI's memory_usage_factor. The most of six families, by `dev.py bench kept`."""

CODER, CODER_BLOCKS = 3.0, 1.5
"""The same of an autoencoder, by ComfyUI's estimate of a pass that keeps nothing."""

PICTURES = 16
"""Pictures of a solver's own, a sample: operator, preconditioner, residuals, conjugate gradients."""

LEAST_SHARE = 0.3
"""Of a card's memory, for activations, where ComfyUI keeps weights elsewhere."""

GIB = 2**30


@dataclass(frozen=True)
class Tier:
    """One way to run the networks. together: all samples at once. blocks: their activations anew in backward.

    tile: latents along the side of the VAE's tiles; 0: none.
    """

    together: bool = False
    blocks: bool = False
    tile: int = 0

    def __str__(self) -> str:
        if self.tile:
            return f"candidates one by one, the VAE in tiles of {self.tile} latents"
        if self.blocks:
            return "candidates one by one, activations of blocks made again in backward"
        return "all at once" if self.together else "candidates one by one"


@dataclass(frozen=True)
class Run:
    """What a run's memory depends on: latents of shape (B, c, ..., h, w), of which a solver has so many candidates."""

    model: object
    vaes: tuple[VAE, ...]
    solver: Method
    shape: tuple[int, ...]
    candidates: int = 1
    grid: Grid | None = None

    def tiers(self) -> list[Tier]:
        """From the fastest to the leanest."""
        side = max(self.shape[-2:])
        tiers = [Tier(together=True), Tier()]
        if self.solver.differentiable:
            tiers.append(Tier(blocks=True))
        return tiers + [Tier(blocks=True, tile=tile) for tile in TILES if tile < side]

    def estimate(self, tier: Tier) -> float:
        """Bytes beside the weights, with what is kept for backward."""
        denoiser, encoder, decoder = self.passes(tier)
        kept = CODER_BLOCKS if tier.blocks and not tier.tile else CODER
        if self.solver.through_denoiser:
            return denoiser + self.denoiser_keeps(tier) + (encoder + decoder) * kept + self.pictures
        return denoiser + max(encoder, decoder * (kept if self.solver.through_decoder else 1)) + self.pictures

    def least(self, tier: Tier) -> float:
        """Bytes beside the weights, with nothing kept."""
        return sum(self.passes(tier)) + self.pictures

    def passes(self, tier: Tier) -> tuple[float, float, float]:
        """Bytes of a pass of the model, of an encoding and of a decoding; those of a draft beside the VAE's."""
        images, channels, *frame = self.shape[:-2]
        together = self.candidates if tier.together else 1
        denoiser = self.model.memory_required([images * together, channels, *frame, *self.seen])
        side = [min(tier.tile or side, side) for side in self.shape[-2:]]
        samples = images * self.candidates if tier.together else 1
        coders = [coder_memory(vae, channels, *side) for vae in self.vaes]
        encoder, decoder = (samples * sum(memory) for memory in zip(*coders, strict=True))
        return denoiser, encoder, decoder

    def denoiser_keeps(self, tier: Tier) -> float:
        """Bytes that the model keeps for backward."""
        samples = self.shape[0] * (self.candidates if tier.together else 1)
        format_size = comfy.model_management.dtype_size(self.model.manual_cast_dtype or self.model.get_dtype())
        each = (DENOISER_BLOCKS if tier.blocks else DENOISER) * self.model.memory_usage_factor
        return samples * math.prod(self.seen) * format_size * each

    @property
    def seen(self) -> list[int]:
        """Latents that the model sees at once, along both sides."""
        return [min(self.grid.size, side) if self.grid else side for side in self.shape[-2:]]

    @property
    def pictures(self) -> float:
        """Bytes of a solver's own pictures."""
        height, width = (side * spatial_factor(self.vaes[0]) for side in self.shape[-2:])
        return self.shape[0] * self.candidates * PICTURES * 3 * 4 * height * width


def coder_memory(vae: VAE, channels: int, height: int, width: int) -> tuple[float, float]:
    """Bytes to encode and to decode one picture of so many latents, by ComfyUI's estimate."""
    factor = spatial_factor(vae)
    depth = [1] * (vae.latent_dim - 2)
    return (vae.memory_used_encode((1, 3, *depth, height * factor, width * factor), vae.vae_dtype),
            vae.memory_used_decode((1, channels, *depth, height, width), vae.vae_dtype))


def room(device: torch.device, models: list[ModelPatcher]) -> float:
    """Bytes for activations once these models, and no others, are on the device."""
    management = comfy.model_management
    free = management.get_free_memory(device)
    if management.is_device_cpu(device):
        return free
    for loaded in management.current_loaded_models:
        if loaded.model is not None and loaded.device == device and loaded.model not in models:
            free += loaded.model_loaded_memory()
    missing = sum(max(m.model_size() - m.loaded_size(), 0) for m in models if m.load_device == device)
    return max(free - missing, LEAST_SHARE * management.get_total_memory(device))


def refuse_too_large(run: Run, needed: float, device: torch.device) -> None:
    """ValueError for a picture that does not fit however it is cut."""
    management = comfy.model_management
    cpu = management.is_device_cpu(device)
    limit = management.get_free_memory(device) if cpu else management.get_total_memory(device)
    if needed <= limit:
        return
    factor = spatial_factor(run.vaes[0])
    height, width = (side * factor for side in run.shape[-2:])
    raise ValueError(
        f"measurement: its image of {width} x {height} pixels takes about {needed / GIB:.0f} GiB even in windows and "
        f"tiles, and there are {limit / GIB:.0f}; restore a part of it (Fit to Model, 'around mask' or 'crop'), scale "
        "it down, run fewer candidates, or choose Proximal gluing, which takes no gradients."
    )
