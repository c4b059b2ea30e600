"""Autoencoders of the TAESD family (O. Boer Bohan, github madebyollin/taesd): small, and without a posterior.

ComfyUI has them too, but those with a pooling path (TAEF2, the latents of FLUX.2) only since 2026.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from .architecture import StateDict

GROUPS, EXPANSION = 4, 4
LARGEST = 3.0
"""Latents are squeezed into [-3, 3] before decoding."""


class TinyAutoencoder(nn.Module):
    """Encoder and decoder, with TAESD's keys below `encoder.` and `decoder.`.

    pooled: the blocks at the smallest size look at the whole picture, by a group norm.
    halvings, blocks: 3 and 3 in all that are published; latents have the side of the picture over 2^halvings.
    """

    def __init__(self, embed_dim: int, width: int = 64, pooled: bool = False, halvings: int = 3, blocks: int = 3
                 ) -> None:
        super().__init__()
        down, up = [], []
        for level in range(halvings):
            last, first = pooled and level == halvings - 1, pooled and level == 0
            down += [conv(width, width, stride=2, bias=False), *(Block(width, last) for _ in range(blocks))]
            up += [*(Block(width, first) for _ in range(blocks)), nn.Upsample(scale_factor=2),
                   conv(width, width, bias=False)]
        self.encoder = nn.Sequential(conv(3, width), Block(width), *down, conv(width, embed_dim))
        self.decoder = nn.Sequential(SoftClamp(), conv(embed_dim, width), nn.ReLU(), *up, Block(width), conv(width, 3))

    def encode(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, embed_dim, h, w)."""
        return self.encoder((x + 1) / 2)

    def decode(self, z: Tensor) -> Tensor:
        """(B, embed_dim, h, w) -> (B, 3, H, W) in about [-1, 1]."""
        return self.decoder(z) * 2 - 1


class Block(nn.Module):
    """Three convolutions beside an identity."""

    def __init__(self, width: int, pooled: bool = False) -> None:
        super().__init__()
        first, second, third = (conv(width, width) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        wide = EXPANSION * width
        self.pool = nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False), nn.GroupNorm(GROUPS, wide), nn.ReLU(),
            nn.Conv2d(wide, width, 1, bias=False),
        ) if pooled else None  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(x + self.conv(x))


class SoftClamp(nn.Module):
    """A step of its own, for TAESD counts it."""

    def forward(self, z: Tensor) -> Tensor:
        return LARGEST * torch.tanh(z / LARGEST)


def conv(before: int, after: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=bias)


def is_tiny(weights: StateDict) -> bool:
    """Whether keys are those of this family, whole or in part."""
    return "encoder.0.weight" in weights or "decoder.1.weight" in weights


def tiny_config(weights: StateDict) -> dict[str, Any]:
    """Keywords of the `TinyAutoencoder` that has these weights. Raises ValueError where one half is missing."""
    if "encoder.0.weight" not in weights or "decoder.1.weight" not in weights:
        missing = "decoder" if "encoder.0.weight" in weights else "encoder"
        raise ValueError(f"This autoencoder of the TAESD family has no {missing}: put both halves into the file.")
    width, embed_dim = weights["decoder.1.weight"].shape[:2]
    layers = [int(match[1]) for key in weights if (match := re.fullmatch(r"encoder\.(\d+)\.weight", key))]
    halvings = sum(f"encoder.{layer}.bias" not in weights for layer in layers)
    blocks = (max(layers) - 2) // max(halvings, 1) - 1
    pooled = any(".pool." in key for key in weights)
    return {"embed_dim": embed_dim, "width": width, "pooled": pooled, "halvings": halvings, "blocks": blocks}
