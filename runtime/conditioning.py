"""Conditioning for a person who writes no prompt: an empty text, or zeros of the size that the model takes."""

from __future__ import annotations

import comfy.model_base
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from .ldm import LDMModel

TOKENS = 77
POOLED_SDXL = 1280
Conditioning = list


def is_unconditional(model: ModelPatcher) -> bool:
    """Whether the model takes no conditioning, as those of Load Latent Diffusion (LDM)."""
    return isinstance(model.model, LDMModel)


def encode_text(clip: CLIP, text: str) -> Conditioning:
    """The conditioning of a prompt, as CLIP Text Encode makes it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def empty_conditioning(model: ModelPatcher) -> Conditioning | None:
    """Zeros in place of a text, pooled ones too: a (1, 77, c) tensor; None where the model's c cannot be known."""
    config = getattr(model.model.model_config, "unet_config", None) or {}
    embedder = (config.get("context_embedder_config") or {}).get("params", {})
    size = config.get("context_dim") or config.get("context_in_dim") or embedder.get("in_features")
    if not isinstance(size, int):
        return None
    pooled = config.get("vec_in_dim") or config.get("adm_in_channels")
    if isinstance(model.model, (comfy.model_base.SDXL, comfy.model_base.SDXLRefiner)):
        pooled = POOLED_SDXL  # the rest of its vector says sizes
    extra = {"pooled_output": torch.zeros(1, pooled)} if isinstance(pooled, int) else {}
    return [[torch.zeros(1, TOKENS, size), extra]]
