"""How much noise a photo carries: one level, one that grows with the light, and whether neighbours share it.

All of it is read off what is finest in a photo: the second difference across rows and columns, which sees neither
smooth shading nor straight edges (Immerkaer 1996 has the filter, Donoho 1994 the median). Fine texture counts as noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FEWEST = 100
"""Neighbourhoods of 3 x 3 known pixels that tell a level."""
MEDIAN = 0.6745
"""Of the absolute value of a standard normal."""
BINS, DIRECTIONS = 12, 33
REACH = 3
"""Side of the squares over whose mean the light of a pixel is taken."""
WEAKEST = 0.25
"""Least noise of a pixel, by that at mid grey: photon noise vanishes in black, and trust in it must not explode."""
NOTHING = 1e-12
FLAT, SIDE, EMPTY = 0.1, 8, 1e-8
"""Share of the squares of a photo in which its noise shows best, their side, and the variance of painted ones."""
ALIKE, MISSED, VISIBLE = 0.4, 2.5, 0.03
"""Correlation of neighbours that white noise never has, so many times the estimate, and 4 of 255 grey levels: of photos
at 160 pixels with noise of 0.1 that was smoothed, enlarged or compressed 4 of 5 are told, of clean ones 1 of 5."""


def estimate_sigma(image: Tensor, known: Tensor | None = None) -> Tensor:
    """Noise level of each image of (B, C, H, W) in [-1, 1]: shape (B,), in [-1, 1] pixel units.

    Exact zeros of the finest detail (clipped or painted regions) are left out.

    known: a mask of the same shape; only 3 x 3 neighbourhoods that are all known count.
    ValueError for an image below 3 x 3 pixels, and where known pixels hold fewer than 100 such neighbourhoods.
    """
    return torch.stack([deviation(d[d > 0]) for d in finest(image, known).flatten(1)])


def estimate_photon_noise(image: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Gain and offset, (B,) each, of noise of variance gain * light + offset, for light of 0 (black) to 1 (white).

    Photon counts have a gain, the sensor's electronics an offset (Foi et al. 2008). As for `estimate_sigma`, but by
    brightness; the line through the levels is the one whose logarithm errs least.
    """
    detail, light = finest(image, known), (F.avg_pool2d(image.detach().float(), 3, stride=1) + 1) / 2
    return tuple(map(torch.stack, zip(*map(noise_line, detail.flatten(1), light.flatten(1)), strict=True)))


def noise_line(detail: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and offset of one image: of detail (n,), zero where it tells nothing, where the light is (n,)."""
    seen = detail > 0
    if not seen.any():
        return detail.new_zeros(()), detail.new_zeros(())
    order = light[seen].argsort()
    detail, light = (values[seen][order].tensor_split(BINS) for values in (detail, light))
    full = [i for i, part in enumerate(detail) if len(part)]
    variance = torch.stack([deviation(detail[i]) ** 2 for i in full])
    light = torch.stack([light[i].mean() for i in full]).clamp(0, 1)
    angle = torch.linspace(0, math.pi / 2, DIRECTIONS)[:, None]
    shapes = angle.sin() * light + angle.cos() + 1e-6  # offset alone first: it is taken where all do as well
    misfit = variance.log() - shapes.log()
    scale = misfit.median(1, keepdim=True).values
    best = (misfit - scale).abs().sum(1).mul(1e4).round().argmin()
    scale = scale[best, 0].exp()
    return scale * angle[best, 0].sin(), scale * angle[best, 0].cos().clamp_min(0)


def noise_at(image: Tensor, known: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviation of the noise at mid grey, (B,), and of each pixel of (B, C, H, W) by that.

    The light of a pixel is the mean of the known ones around it, as its own value would favour what noise made dark.
    """
    gain, offset = (values.view(-1, 1, 1, 1).to(image) for values in (gain, offset))
    around = [F.avg_pool2d(v, REACH, 1, REACH // 2) for v in ((image + 1) / 2 * known, known.to(image))]
    light = (around[0] / around[1].clamp_min(1e-6)).clamp(0, 1)
    middle = gain / 2 + offset
    relative = ((gain * light + offset + NOTHING) / (middle + NOTHING)).sqrt()
    return middle.sqrt().flatten(), relative.clamp_min(WEAKEST)


def finest(image: Tensor, known: Tensor | None) -> Tensor:
    """|second differences| of (B, C, H, W), scaled to the deviation of white noise: (B, C, H - 2, W - 2)."""
    if min(image.shape[-2:]) < 3:
        raise ValueError(f"the image is {tuple(image.shape[-2:])} pixels, and its noise shows in 3 x 3 or more")
    detail = image.detach().float().diff(n=2, dim=-1).diff(n=2, dim=-2).abs() / 6
    if known is None:
        return detail
    whole = -F.max_pool2d(-known.float(), 3, stride=1) > 0
    if whole.flatten(1).sum(1).min() < min(FEWEST, whole[0].numel()):
        raise ValueError("too few of the known pixels lie together, in neighbourhoods of 3 x 3")
    return detail * whole


def deviation(detail: Tensor) -> Tensor:
    """Standard deviation of noise whose absolute values are given."""
    return detail.median() / MEDIAN if len(detail) else detail.new_zeros(())


def coarse_noise(image: Tensor, known: Tensor, sigma: Tensor) -> Tensor:
    """Noise of (B, C, H, W) that its estimate sigma (B,) missed, as neighbours share it: (B,), 0 where there is none.

    A lower bound. known: of the shape of image, as for `estimate_sigma`.

    Enlarged, compressed or smoothed noise has little that is finest. It shows where a photo is flattest, but so does
    texture that is everywhere.
    """
    rough, alike = map(torch.stack, zip(*map(flattest, image.detach().float(), known.float()), strict=True))
    told = (alike > ALIKE) & (rough > (MISSED * sigma).clamp_min(VISIBLE))
    return torch.where(told, rough.to(sigma), 0)


def flattest(image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Where (C, H, W) is flattest: how far it is from planes, and the correlation of neighbours in that; 0-d each."""
    blocks, whole = (F.unfold(v[:, None], SIDE, stride=SIDE).movedim(1, -1).flatten(0, 1) for v in (image, known))
    blocks = blocks[whole.all(1)]  # (n, 64)
    ramp = (torch.arange(SIDE) - (SIDE - 1) / 2).expand(SIDE, SIDE)
    planes = F.normalize(torch.stack((torch.ones(SIDE, SIDE), ramp, ramp.T)).flatten(1).to(image), dim=1)
    blocks = blocks - blocks @ planes.T @ planes
    power = blocks.square().mean(1)
    blocks, power = blocks[power > EMPTY], power[power > EMPTY]
    if not len(blocks):
        return image.new_zeros(()), image.new_zeros(())
    flat = blocks[power.argsort()[: math.ceil(FLAT * len(power))]].unflatten(1, (SIDE, SIDE))
    beside = ((flat[..., 1:] * flat[..., :-1]).mean() + (flat[:, 1:] * flat[:, :-1]).mean()) / 2
    return flat.square().mean().sqrt(), beside / flat.square().mean()
