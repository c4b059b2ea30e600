"""Overlapping windows over a picture or its latents, and functions that are run on each and averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import comfy.model_management
import torch
from torch import Tensor

Piecewise = Callable[[Tensor, Sequence["Window"]], Tensor]
"""(pieces (n * B, ..., h, w), their n windows) -> (n * B, ..., scale * h, scale * w)."""


@dataclass(frozen=True)
class Window:
    """A rectangle of latents (or pixels), and the weight of its rows and columns in an average."""

    top: int
    left: int
    rows: Tensor
    columns: Tensor

    def cut(self, x: Tensor, scale: float = 1) -> Tensor:
        """The part of x (..., H, W) under the window, where x has `scale` values along what is one for the window."""
        top, left, height, width = (round(v * scale) for v in (self.top, self.left, len(self.rows), len(self.columns)))
        return x[..., top : top + height, left : left + width]

    def weight(self, like: Tensor) -> Tensor:
        """(H, W), to multiply what belongs to the window."""
        return (self.rows[:, None] * self.columns).to(like)


@dataclass(frozen=True)
class Grid:
    """Windows of one size over the last two dimensions of a tensor; at each place their weights add up to one.

    margin: so far from its edge a window counts for nothing, unless that edge is the picture's.
    """

    shape: tuple[int, int]
    size: int
    overlap: int
    margin: int = 0

    def scaled(self, factor: int) -> Grid:
        """The same windows where each step is `factor` steps."""
        shape = self.shape[0] * factor, self.shape[1] * factor
        return Grid(shape, self.size * factor, self.overlap * factor, self.margin * factor)

    def windows(self) -> list[Window]:
        """Row by row."""
        rows, columns = (self._along(length) for length in self.shape)
        return [Window(top, left, r, c) for top, r in rows for left, c in columns]

    def _along(self, length: int) -> list[tuple[int, Tensor]]:
        """Where windows start, spread evenly, and how much each of their values counts."""
        size = min(self.size, length)
        count = 1 if size == length else math.ceil((length - self.overlap) / (size - self.overlap))
        starts = [round(i * (length - size) / max(count - 1, 1)) for i in range(count)]
        ramp = max(self.overlap - 2 * self.margin, 1)
        rise = (torch.arange(size, dtype=torch.float64) - self.margin + 0.5).div(ramp).clamp(0, 1)
        rise = (rise * math.pi / 2).sin().square()
        weights = []
        for i in range(count):
            weight = torch.ones_like(rise)
            if i > 0:
                weight = weight * rise
            if i < count - 1:
                weight = weight * rise.flip(0)
            weights.append(weight)
        total = torch.zeros(length, dtype=torch.float64)
        for start, weight in zip(starts, weights, strict=True):
            total[start : start + size] += weight
        return [(s, (w / total[s : s + size]).float()) for s, w in zip(starts, weights, strict=True)]


def blend(x: Tensor, inside: Grid, outside: Grid, function: Piecewise, at_once: int = 1) -> Tensor:
    """A function of windows of x (B, ..., H, W), averaged where their results overlap: (B, ..., scale H, scale W).

    inside: the grid on x; outside: the same on the result. Differentiable: backward runs one group of `at_once` windows
    again at a time and keeps no more than its activations. No second derivatives.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return Blend.apply(x, inside, outside, function, at_once)
    return averaged(x, inside, outside, function, at_once)


def groups(inside: Grid, outside: Grid, at_once: int) -> Iterator[tuple[Sequence[Window], Sequence[Window]]]:
    """The windows and those of the result, `at_once` of them at a time; stops where the user cancels."""
    sources, targets = inside.windows(), outside.windows()
    for i in range(0, len(sources), at_once):
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield sources[i : i + at_once], targets[i : i + at_once]


def averaged(x: Tensor, inside: Grid, outside: Grid, function: Piecewise, at_once: int) -> Tensor:
    """`blend` without a graph."""
    result = None
    for sources, targets in groups(inside, outside, at_once):
        pieces = function(torch.cat([source.cut(x) for source in sources]), sources)
        if result is None:
            result = pieces.new_zeros(len(x), *pieces.shape[1:-2], *outside.shape)
        for target, piece in zip(targets, pieces.chunk(len(sources)), strict=True):
            target.cut(result).add_(piece * target.weight(piece))
    return result


class Blend(torch.autograd.Function):
    """`averaged` with a backward that runs window after window again."""

    @staticmethod
    def forward(ctx, x: Tensor, inside: Grid, outside: Grid, function: Piecewise, at_once: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.how = inside, outside, function, at_once
        return averaged(x, inside, outside, function, at_once)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        inside, outside, function, at_once = ctx.how
        result = torch.zeros_like(x)
        for sources, targets in groups(inside, outside, at_once):
            with torch.enable_grad():
                pieces = torch.cat([source.cut(x.detach()) for source in sources]).requires_grad_()
                value = function(pieces, sources)
            wanted = torch.cat([t.cut(gradient) * t.weight(gradient) for t in targets])
            (moves,) = torch.autograd.grad(value, pieces, wanted)
            for source, move in zip(sources, moves.chunk(len(sources)), strict=True):
                source.cut(result).add_(move)
        return result, None, None, None, None
