"""The inverse problems of the quality benchmark; lengths in pixels grow with the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..operators import (
    Destripe,
    GaussianBlur,
    Identity,
    InpaintBox,
    InpaintRandom,
    LinearOperator,
    MotionBlur,
    SuperResolution,
)


@dataclass(frozen=True)
class Task:
    """An operator class with its keywords for square images of `size` pixels, and the noise if it is always the same.

    keywords(unit, seed): unit is 1 at 64 pixels; seed draws masks, places and camera tracks.
    """

    name: str
    operator: Callable[..., LinearOperator]
    keywords: Callable[[float, int], dict[str, Any]]
    sigma_y: float | None = None

    def bind(self, size: int, seed: int) -> LinearOperator:
        """A for RGB images of size x size pixels."""
        return self.operator((3, size, size), **self.keywords(size / 64, seed))


def pixels(length: float) -> int:
    """A whole number of pixels, at least 1."""
    return max(1, round(length))


def odd(length: float) -> int:
    """The nearest odd number of pixels."""
    return 2 * round((length - 1) / 2) + 1


LIST = (
    Task("super_resolution", SuperResolution, lambda unit, seed: {"factor": 4, "kernel": "bicubic"}),
    Task("random_inpainting", InpaintRandom, lambda unit, seed: {"drop": 0.7, "seed": seed}),
    Task(
        "box_inpainting",
        InpaintBox,
        lambda unit, seed: {"size": pixels(32 * unit), "margin": pixels(8 * unit), "seed": seed},
    ),
    Task("gaussian_deblur", GaussianBlur, lambda unit, seed: {"sigma": 1.5 * unit, "kernel_size": odd(13 * unit)}),
    Task(
        "motion_deblur",
        MotionBlur,
        lambda unit, seed: {"kernel_size": odd(13 * unit), "intensity": 0.5, "seed": seed, "boundary": "circular"},
    ),
    Task(
        "destriping", Destripe, lambda unit, seed: {"axis": "columns", "width": pixels(unit), "drop": 0.5, "seed": seed}
    ),
    Task("denoising", Identity, lambda unit, seed: {}, sigma_y=0.3),
)
TASKS = {task.name: task for task in LIST}
"""Every task by name."""
