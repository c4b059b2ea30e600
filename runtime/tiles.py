"""Encoder and decoder in tiles, where a whole picture does not fit the memory; backward takes a tile at a time too.

Tiles overlap by what a convolution can reach, so that a network that is local gives what it gives for the whole
picture. GroupNorm is not: it looks at the mean and the spread of all pixels. So these are gathered first, over tiles
spread over the picture, and every tile is normalised by the same. What is left is attention, which sees its own tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, sqrt

import torch
from torch import Tensor, nn

from .grid import Grid, Window, blend

SURVEYED = 16
"""Tiles from which statistics are gathered."""

RAMP = 8
"""Latents over which one tile fades into the next, where the network's attention makes them differ."""

PROBE = 8
"""Latents along the side of what finds out how far a network reaches."""

Coder = Callable[[Tensor], Tensor]
"""encode or decode of a first stage: (B, c, h, w) -> (B, C, H, W)."""


class TiledCoder:
    """A first stage's encode or decode, tile by tile: (B, ..., h, w) -> (B, ..., H, W). Differentiable; see `blend`.

    The statistics of GroupNorm count as given: their own part of the gradient, which fades with the picture's size,
    is left out.
    """

    def __init__(self, first_stage: nn.Module, coder: Coder, ratio: tuple[int, int], tile: int) -> None:
        """ratio: of what goes in to latents, and of what comes out, by the side; tile: in latents."""
        self.first_stage, self.coder, self.ratio, self.tile = first_stage, coder, ratio, tile
        self.reach: int | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """All of x; in one go where a tile covers it."""
        if max(x.shape[-2:]) <= self.tile * self.ratio[0]:
            return self.coder(x)
        if self.reach is None:
            self.reach = reach(self.first_stage, self.coder, x[:1].detach(), self.ratio[0])
        inside, outside = (self.grid(x).scaled(scale) for scale in self.ratio)
        statistics = survey(self.first_stage, self.coder, [w.cut(x.detach()) for w in spread(inside.windows())])

        def run(tile: Tensor, _: object) -> Tensor:
            with normalised_by(self.first_stage, statistics):
                return self.coder(tile)

        return blend(x, inside, outside, run)

    def grid(self, x: Tensor) -> Grid:
        """The tiles in latents; exact where twice the reach fits half a tile."""
        height, width = (side // self.ratio[0] for side in x.shape[-2:])
        overlap = min(2 * self.reach + RAMP, self.tile // 2)
        return Grid((height, width), self.tile, overlap, margin=(overlap - RAMP) // 2)


def spread(windows: list[Window]) -> list[Window]:
    """At most SURVEYED of the windows, evenly along both sides of the picture."""
    columns = len({window.left for window in windows})
    rows = len(windows) // columns
    step = max(1, ceil(sqrt(len(windows) / SURVEYED)))
    return [windows[i * columns + j] for i in picks(rows, step) for j in picks(columns, step)]


def picks(count: int, step: int) -> list[int]:
    """About every `step`-th of count, both ends included where there is more than one."""
    return [int(i) for i in torch.linspace(0, count - 1, ceil(count / step)).round()]


def reach(first_stage: nn.Module, coder: Coder, x: Tensor, ratio: int) -> int:
    """How many latents away from what it makes a first stage's convolutions look, seen on a corner of x."""
    far = []

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kernel, dilation, side = module.kernel_size[-1], module.dilation[-1], inputs[0].shape[-1]
        far.append((kernel - 1) / 2 * dilation * PROBE / side)

    handles = [m.register_forward_pre_hook(add) for m in first_stage.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    try:
        with torch.no_grad():
            coder(x[..., : PROBE * ratio, : PROBE * ratio])
    finally:
        for handle in handles:
            handle.remove()
    return ceil(sum(far))


class Statistics:
    """Mean and mean square of each group of each GroupNorm, over tiles: (B, groups, 1)."""

    def __init__(self) -> None:
        self.tiles = 0
        self.mean: dict[nn.GroupNorm, Tensor] = {}
        self.square: dict[nn.GroupNorm, Tensor] = {}

    def add(self, norm: nn.GroupNorm, x: Tensor) -> None:
        """What one tile has at a norm, where it gets x (B, C, ...)."""
        groups = grouped(norm, x)
        for sums, value in ((self.mean, groups), (self.square, groups.square())):
            mean = value.mean(2, keepdim=True)
            sums[norm] = sums[norm] + mean if norm in sums else mean

    def normalise(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """x as the norm gives it, by these statistics."""
        mean = self.mean[norm] / self.tiles
        variance = (self.square[norm] / self.tiles - mean.square()).clamp(min=0)
        result = ((grouped(norm, x) - mean) * (variance + norm.eps).rsqrt()).reshape(x.shape)
        if norm.affine:
            weight, bias = (v.to(result).reshape(-1, *[1] * (x.ndim - 2)) for v in (norm.weight, norm.bias))
            result = result * weight + bias
        return result.to(x.dtype)


def grouped(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """(B, C, ...) -> (B, groups, values), float32."""
    return x.float().reshape(len(x), norm.num_groups, -1)


def survey(first_stage: nn.Module, coder: Coder, tiles: list[Tensor]) -> Statistics | None:
    """The statistics that all tiles of a picture share; None where no norm asks for any."""
    gathered = Statistics()
    with torch.no_grad(), normalised_by(first_stage, None, gathered):
        for tile in tiles:
            coder(tile)
            gathered.tiles += 1
    return gathered if gathered.mean else None


@contextmanager
def normalised_by(
    module: nn.Module, statistics: Statistics | None, gathered: Statistics | None = None
) -> Iterator[None]:
    """Inside, each GroupNorm below module takes these statistics, not its input's, and adds those to gathered."""

    def replace(norm: nn.GroupNorm, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if gathered is not None:
            gathered.add(norm, inputs[0])
        return None if statistics is None else statistics.normalise(norm, inputs[0])

    handles = [m.register_forward_hook(replace) for m in module.modules() if isinstance(m, nn.GroupNorm)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
