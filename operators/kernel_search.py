"""Which kernel of any shape blurred a photo, where a denoiser says what the photo shows.

Fast Diffusion EM (Laroche et al. 2024) in rounds. Each takes a run of a solver with the kernel found so far, and then
the kernel by what the denoiser expected on the way (`kernel_step`), not by the pictures that were fitted to y: those
need no other kernel. High up, where noise hides what is blurred, the denoiser does not believe in a wrong kernel's
pictures, so the search may begin with none; further down it does, but with the right one it sees more. So the noise
levels that are listened to go down from round to round, and with them what a wrong kernel may miss of y, which counts
as noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .base import LinearOperator
from .blur import Blur
from .blur_search import BlurGuess
from .compose import Compose
from .kernel_step import centred, likeliest_kernel
from .resize import SuperResolution

ROUNDS = 7
HIGHEST, LOWEST, NEAR = 0.58, 0.2, 1.55
"""Spreads of the denoiser's pictures that are listened to in the first and in the last round, and up to what ratio."""
DOUBT = 0.3
"""What the first kernel may miss of y, standard deviation in pixels of [-1, 1]; later ones less, as the level."""
ERROR = 0.06
"""Of a pixel that the denoiser expected, by the spread of the latent."""
LEAST = 0.05
"""Of the kernel's peak: what is below counts as noise."""


@dataclass(frozen=True, eq=False)
class KernelGuess:
    """A kernel (n, n) of any shape, with sum 1."""

    kernel: Tensor

    @property
    def maker(self) -> partial:
        """The operator as a function of the image shape."""
        return partial(Blur, kernel=self.kernel, boundary="reflect")

    def __str__(self) -> str:
        return "free kernel, {} x {} px".format(*(int((self.kernel > 0).any(i).sum()) for i in (0, 1)))


@dataclass(frozen=True)
class Followed:
    """A blur, and what happened to the photo after it; `note` is for the words."""

    blur: BlurGuess | KernelGuess
    then: partial
    note: str = ""

    @property
    def maker(self) -> partial:
        """The operator as a function of the image shape."""
        return partial(Compose, makers=[self.blur.maker, self.then])

    def __str__(self) -> str:
        return f"{self.blur}{self.note}"


def smaller(blur: BlurGuess | KernelGuess, factor: int) -> Followed:
    """A blur, and then a photo so many times smaller."""
    return Followed(blur, partial(SuperResolution, factor=factor), f" in the photo of {factor} times the size")


AnyBlur = BlurGuess | KernelGuess | Followed

Expected = list[tuple[Tensor, float]]
"""Pictures (1, C, H, W), and the spread of the latent at which the denoiser expected each; the highest first."""


def find_kernel(
    y: Tensor, largest: int, expect: Callable[[KernelGuess, int, float], Expected], then: LinearOperator | None = None
) -> KernelGuess:
    """The kernel of up to `largest` pixels that blurred y (1, C, H, W), by what a denoiser expects under others.

    expect: of a kernel, the round's number and what that kernel may miss of y, standard deviation in pixels of
        [-1, 1], beside the noise: what a run of a solver saw.
    then: what made y of the blurred picture.
    """
    size = max(1, largest - 1 + largest % 2)
    kernel = torch.zeros(size, size)
    kernel[size // 2, size // 2] = 1
    for i in range(ROUNDS):
        level = HIGHEST * (LOWEST / HIGHEST) ** (i / (ROUNDS - 1))
        seen = nearest(expect(KernelGuess(kernel), i, DOUBT * level / HIGHEST), level)
        pictures = torch.cat([picture for picture, _ in seen])
        error = ERROR * math.sqrt(sum(spread**2 for _, spread in seen) / len(seen))
        found = likeliest_kernel(pictures, y.to(pictures), kernel.to(pictures), error, then).cpu()
        kernel = centred(found, LEAST, whole=i == ROUNDS - 1)
    return KernelGuess(kernel)


def nearest(expected: Expected, level: float) -> Expected:
    """Those seen near a spread, at least the nearest."""
    off = [abs(math.log(spread / level)) for _, spread in expected]
    return [pair for pair, far in zip(expected, off, strict=True) if far <= max(min(off), math.log(NEAR))]
