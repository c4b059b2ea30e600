"""The unconditional U-Net of CompVis latent diffusion, out of ComfyUI's own blocks and the one it dropped."""

from __future__ import annotations

from typing import Any

import comfy.ops
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import (
    Downsample,
    ResBlock,
    TimestepEmbedSequential,
    UNetModel,
    Upsample,
)
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from .architecture import UNetArchitecture
from .config import LDMConfig


def num_heads(channels: int, config: LDMConfig) -> int:
    """Attention heads at this width: `num_head_channels` overrules `num_heads`, as in CompVis."""
    per_head = config.num_head_channels
    heads = config.num_heads if per_head == -1 else channels // per_head
    if heads < 1 or channels % heads or (per_head != -1 and channels % per_head):
        raise ValueError(f"The config of this checkpoint gives num_heads {config.num_heads} and num_head_channels "
                         f"{per_head}, which do not divide its {channels} channels: correct the config.")
    return heads


class AttentionBlock(nn.Module):
    """Self-attention over the positions of a feature map (`AttentionBlock` of CompVis's openaimodel.py).

    Plain PyTorch attention: ComfyUI's other kernels have no backward.
    """

    def __init__(self, channels: int, config: LDMConfig, **factory: Any) -> None:
        super().__init__()
        operations = factory.pop("operations")
        self.num_heads = num_heads(channels, config)
        self.new_order = config.use_new_attention_order
        self.norm = operations.GroupNorm(32, channels, **factory)
        self.qkv = operations.Conv1d(channels, 3 * channels, 1, **factory)
        self.proj_out = operations.Conv1d(channels, channels, 1, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """BCHW -> BCHW."""
        b, c, *_ = x.shape
        qkv = self.qkv(self.norm(x).reshape(b, c, -1))
        # the rows of qkv: per head q, k, v; in the new order q, k, v of all heads
        heads = qkv.unflatten(1, (3, self.num_heads, -1) if self.new_order else (self.num_heads, 3, -1))
        # a single position leaves strides that the kernels of a GPU refuse: copies have their own
        parts = heads.unbind(1 if self.new_order else 2)
        q, k, v = (part.mT.clone(memory_format=torch.contiguous_format) for part in parts)
        out = scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(out.mT.reshape(b, c, -1)).reshape(x.shape)


class UNet(UNetModel):
    """Unconditional U-Net; ComfyUI's `UNetModel` gives the forward pass, with its patches and wrappers."""

    def __init__(
        self,
        architecture: UNetArchitecture,
        config: LDMConfig,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        operations: Any = comfy.ops.disable_weight_init,
    ) -> None:
        nn.Module.__init__(self)  # UNetModel's own constructor knows only transformers
        self.dtype = dtype
        self.in_channels, self.out_channels = architecture.in_channels, architecture.out_channels
        self.model_channels = architecture.model_channels
        self.num_classes = self.default_num_video_frames = None
        self.predict_codebook_ids = False
        self._build(architecture, config, {"dtype": dtype, "device": device, "operations": operations})

    def _build(self, arch: UNetArchitecture, config: LDMConfig, factory: dict[str, Any]) -> None:
        operations = factory["operations"]
        plain = {"dtype": factory["dtype"], "device": factory["device"]}
        width = arch.model_channels
        emb = 4 * width

        def residual(channels: int, out: int, **updown: bool) -> ResBlock:
            scale_shift = arch.use_scale_shift_norm
            return ResBlock(channels, emb, 0.0, out, use_scale_shift_norm=scale_shift, **updown, **factory)

        def level_blocks(channels: int, level: int) -> list[nn.Module]:
            out = arch.channel_mult[level] * width
            blocks: list[nn.Module] = [residual(channels, out)]
            if 2**level in arch.attention_resolutions:
                blocks.append(AttentionBlock(out, config, **factory))
            return blocks

        self.time_embed = nn.Sequential(
            operations.Linear(width, emb, **plain), nn.SiLU(), operations.Linear(emb, emb, **plain)
        )
        levels = range(len(arch.channel_mult))
        inputs: list[list[nn.Module]] = [[operations.Conv2d(arch.in_channels, width, 3, padding=1, **plain)]]
        skips, ch = [width], width
        for level in levels:
            for _ in range(arch.num_res_blocks):
                inputs.append(level_blocks(ch, level))
                ch = arch.channel_mult[level] * width
                skips.append(ch)
            if level != levels[-1]:
                down = residual(ch, ch, down=True) if arch.resblock_updown else Downsample(ch, True, **factory)
                inputs.append([down])
                skips.append(ch)
        middle = [residual(ch, ch), AttentionBlock(ch, config, **factory), residual(ch, ch)]
        outputs: list[list[nn.Module]] = []
        for level in reversed(levels):
            for _ in range(arch.num_res_blocks + 1):
                outputs.append(level_blocks(ch + skips.pop(), level))
                ch = arch.channel_mult[level] * width
            if level:
                up = residual(ch, ch, up=True) if arch.resblock_updown else Upsample(ch, True, **factory)
                outputs[-1].append(up)

        self.input_blocks = nn.ModuleList(TimestepEmbedSequential(*block) for block in inputs)
        self.middle_block = TimestepEmbedSequential(*middle)
        self.output_blocks = nn.ModuleList(TimestepEmbedSequential(*block) for block in outputs)
        self.out = nn.Sequential(
            operations.GroupNorm(32, ch, **plain),
            nn.SiLU(),
            operations.Conv2d(ch, arch.out_channels, 3, padding=1, **plain),
        )
