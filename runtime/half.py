"""Gradients through networks in half precision: scaled, so that none is lost below the smallest number of fp16."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

HALVES = (torch.float16, torch.bfloat16)


def scaled(network: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The network, float32 in and out, whose back-propagation runs at unit size where it computes in `dtype`.

    Loss scaling (Micikevicius et al., ICLR 2018) by what each sample's gradient needs: a power of two, which rounds
    nothing, so that a batch has the gradients of its samples.
    """
    if dtype not in HALVES:
        return network

    def call(x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and x.requires_grad):
            return network(x)
        scales: list[Tensor] = []
        return Enlarge.apply(network(Reduce.apply(x, scales)), scales)

    return call


class Enlarge(torch.autograd.Function):
    """The identity; backward brings each sample's largest entry to between 1 and 2, and notes by how much."""

    @staticmethod
    def forward(ctx, y: Tensor, scales: list[Tensor]) -> Tensor:
        ctx.scales = scales
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        largest = gradient.flatten(1).abs().amax(1).view(-1, *[1] * (gradient.ndim - 1))
        scale = torch.exp2(-torch.log2(largest.clamp_min(1e-30)).floor())
        ctx.scales[:] = [scale]
        return gradient * scale, None


class Reduce(torch.autograd.Function):
    """The identity; backward undoes what Enlarge noted."""

    @staticmethod
    def forward(ctx, x: Tensor, scales: list[Tensor]) -> Tensor:
        ctx.scales = scales
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.scales
        return gradient / scale.view(-1, *[1] * (gradient.ndim - 1)), None
