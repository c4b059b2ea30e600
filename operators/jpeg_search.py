"""How strongly a picture was once compressed as JPEG, told by its pixels alone.

Its cosine coefficients lie near multiples of the quantisation steps. That they are so near by chance is unlikely, the
more so the larger the step; the steps of the tables under which it is the least likely are those of the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from .jpeg import JPEG, annex_k

SPREAD, ODD = 0.4, 0.02
"""Of a coefficient about a multiple, in levels of 0 to 255, where colours were rounded twice; and the share of
coefficients that lie elsewhere all the same."""
LEAST = 1.5
"""Coefficients nearer to zero than this tell nothing: they are zero for all large steps."""
EVIDENCE, SURE = 0.15, 30.0
"""Of a grid: in nats for each coefficient that tells something, and in all."""
MOST = 4096
"""Blocks that are looked at, evenly chosen."""
SAMPLINGS = ((2, 2), (1, 1), (1, 2), (2, 1))
"""By how much the rows and columns of chroma may be halved, the usual first."""


@dataclass(frozen=True)
class JPEGGuess:
    """The quality by libjpeg's scale, and by how much the rows and columns of its chroma are halved."""

    quality: int
    halved: tuple[int, int]

    @property
    def maker(self) -> partial:
        """The operator as a function of the image shape."""
        return partial(JPEG, quality=self.quality, subsample=self.halved)

    def __str__(self) -> str:
        sampling = {(2, 2): "4:2:0", (1, 1): "4:4:4", (1, 2): "4:2:2", (2, 1): "4:4:0"}[self.halved]
        return f"a JPEG of quality {self.quality}, {sampling}"


def find_jpeg(image: Tensor, quality: int | None = None) -> JPEGGuess | None:
    """The tables of annex K that an image (1, 3, H, W) in [-1, 1] was compressed with, and its sub-sampling.

    Its corner must be that of the file. quality: where it is known. None for a picture that shows no grid, because it
    was no JPEG, or a very good one, or was cropped or scaled since; or because black or white is in all its blocks,
    for what was cut off there is missing from every coefficient.
    """
    image = image[..., : image.shape[-2] // 16 * 16, : image.shape[-1] // 16 * 16].float().cpu()
    if not image.numel():
        return None if quality is None else JPEGGuess(quality, SAMPLINGS[0])
    if quality is None:
        told = coefficients(image, SAMPLINGS[0])[0]
        scores = {q: evidence(told, annex_k(q)[0]) for q in range(1, 101)}
        quality = max(scores, key=lambda q: scores[q].sum())
        best = scores[quality]
        if best.sum() < max(SURE, EVIDENCE * len(best)):
            return None
    chroma = annex_k(quality)[1]
    scores = {halved: evidence(coefficients(image, halved)[1], chroma) for halved in SAMPLINGS}
    return JPEGGuess(quality, max(scores, key=lambda halved: float(scores[halved].sum())))


def coefficients(image: Tensor, halved: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cosine coefficients (n, 8, 8) of luma and of chroma: of MOST blocks at most, in which nothing was cut off."""
    code = JPEG(tuple(image.shape[1:]), subsample=halved)
    whole = (image.abs() < 1).all(1).float()
    told = []
    for plane, sides in zip(code._measured(image), ((8, 8), tuple(8 * n for n in halved)), strict=True):
        kept = -F.max_pool2d(-whole, sides) > 0
        blocks = code._transform(plane).movedim(1, 3)[kept].flatten(0, -3)
        told.append(blocks[:: max(1, math.ceil(len(blocks) / MOST))])
    return tuple(told)


def evidence(blocks: Tensor, steps: Tensor) -> Tensor:
    """For each coefficient that tells something: log-likelihood under these steps (8, 8), over that of any value."""
    steps = steps.expand_as(blocks)
    telling = blocks.abs() > LEAST
    values, steps = blocks[telling], steps[telling]
    off = values - steps * (values / steps).round()
    near = steps / (SPREAD * math.sqrt(2 * math.pi)) * torch.exp(-((off / SPREAD) ** 2) / 2)
    return torch.log((1 - ODD) * near + ODD)
