"""What Restore Photo does to one photo: fit, measure, sample, make consistent, undo the fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from torch import Tensor

from ..operators import fit as fits
from ..operators.discrepancy import ROUNDING
from ..operators.kernel_search import AnyBlur
from ..operators.lines import bridged, find_lines
from ..operators.measurement import Measurement
from ..runtime.codec import spatial_factor
from ..runtime.conditioning import Conditioning, empty_conditioning, encode_text, is_unconditional
from ..runtime.levels import AUTO
from ..runtime.report import Report
from ..runtime.windows import own_size
from .consistency import consistent
from .estimate import FREE, estimated_blur
from .masks import PAINTED, photo_mask
from .measurement import ESTIMATE, measurement_of, robust
from .photo import fits_of, fitted, stitched
from .problems import CLEAN, Job, Problem
from .sampling import restore
from .types import GREY_LEVELS

METHOD = "Glued MAP"
QUALITIES = {"fast": (10, 1), "balanced": (20, 4), "best": (40, 8)}
"""Steps and candidates."""
BLURS = {"fast": ["Gaussian"], "balanced": ["Gaussian", "defocus"], "best": [FREE]}
"""The kinds of an unknown blur that are thought of. A free kernel was half a decibel behind a Gaussian where the blur
was one, and 7 to 8 ahead where it was not (benchmarks/README.md)."""
SEARCH_STEPS = 10
"""Of the model, for each blur that is tried."""

RCOND = 0.1
MARGIN = 4
"""Latents between a hole and the edge of the window around it, at least."""


@dataclass(frozen=True)
class Task:
    """What is the same for all photos of a batch."""

    model: ModelPatcher
    vae: VAE
    problem: Problem
    strength: float
    angle: float
    quality: str
    conditioning: Conditioning | None
    draft_vae: VAE | None

    @property
    def amount(self) -> float:
        """The strength, or what 0 stands for."""
        return self.strength or self.problem.default or 0.0

    @property
    def side(self) -> int:
        """Of the part of a photo that the model sees as it was trained, in pixels."""
        return own_size(self.model.model, spatial_factor(self.vae))


@dataclass(frozen=True)
class Window:
    """A restored part of a photo, or all of it, at the size that the model takes."""

    fit: fits.Fit
    image: Tensor
    measurement: Measurement
    estimated: bool
    """Whether the noise was estimated."""
    found: str
    """What was found out about the problem; empty where nothing had to be."""
    report: Report


@dataclass(frozen=True)
class Result:
    """One restored photo; IMAGEs of a batch of one."""

    photo: Tensor
    restored: Tensor
    windows: list[Window]
    seed: int


def restore_photo(task: Task, photo: Tensor, mask: Tensor, seed: int) -> Result:
    """Fit, measure, sample, make consistent, undo the fit; photo is (1, H, W, 3), mask (1, H, W), True = unknown."""
    factor = spatial_factor(task.vae)
    method = "around each hole" if task.problem.masked else "pad"
    multiple, align = fits.least_multiple(factor, task.problem.factor)
    windows = [
        restore_window(task, photo, mask, fit, seed)
        for fit in fits_of(mask, method, task.side, MARGIN * factor, multiple, max(align, task.problem.align))
    ]
    return Result(photo, stitched(photo, [(window.image, window.fit) for window in windows]), windows, seed)


def restore_window(task: Task, photo: Tensor, mask: Tensor, fit: fits.Fit, seed: int) -> Window:
    """One window of a photo: measured with its own noise, sampled, and its known pixels made exact."""
    problem = task.problem
    image, unknown = fitted(photo, mask, fit)
    job = Job(task.amount, task.angle, photo, fit.window, unknown, partial(blur_of, task, photo, mask, seed))
    cause = problem.operator(job)
    operator = getattr(cause, "maker", cause)
    sigma = 2 * task.strength / GREY_LEVELS if problem.noise else problem.sigma
    measurement, estimated = measurement_with_noise(image, operator, sigma)
    if problem.spoilt:
        measurement = robust(measurement)
    steps, candidates = QUALITIES[task.quality]
    _, restored, report = restore(
        task.model,
        task.vae,
        measurement,
        seed,
        METHOD,
        {"candidates": candidates},
        (AUTO, steps),
        (task.conditioning, None, 1.0),
        draft_vae=task.draft_vae,
    )
    if problem.masked:
        restored = consistent(restored, measurement, "exact", RCOND)
    return Window(fit, restored, measurement, estimated, "" if operator is cause else str(cause), report)


def blur_of(task: Task, photo: Tensor, mask: Tensor, seed: int, largest: int) -> AnyBlur:
    """The blur in the middle of a photo, whose mask marks what is unknown; in the enlarged one if it is to be that."""
    factor = task.problem.factor
    photo = bridged(photo.movedim(-1, 1), mask).movedim(1, -1)
    side = task.side // factor
    rows, columns = (slice(max(0, (n - side) // 2), (n + side) // 2) for n in photo.shape[1:3])
    return estimated_blur(
        photo[:, rows, columns],
        task.model,
        task.vae,
        BLURS[task.quality],
        largest,
        ESTIMATE,
        SEARCH_STEPS,
        seed,
        task.conditioning,
        factor,
    )


def measurement_with_noise(photo: Tensor, operator, sigma: float) -> tuple[Measurement, bool]:
    """The measurement, with this noise or (0) the photo's own, and whether that could be estimated."""
    if sigma:
        return measurement_of(photo, operator, sigma), False
    try:
        measurement = measurement_of(photo, operator, ESTIMATE)
    except ValueError as error:
        if "estimated" not in str(error):
            raise
        return measurement_of(photo, operator, CLEAN), False
    return replace(measurement, sigma_y=max(measurement.sigma_y, ROUNDING)), True


def masks_of(image: Tensor, mask: Tensor | None, task: Task, name: str) -> Tensor:
    """(B, H, W) of what is to be restored in each photo. ValueError where that is nothing, or all."""
    count, height, width = image.shape[:3]
    if not (task.problem.masked or task.problem.spoilt):
        return torch.zeros(count, height, width, dtype=torch.bool)
    scratches = task.problem.default is not None
    masks = photo_mask(image, mask, PAINTED, 0 if scratches else round(task.strength)).expand(count, -1, -1)
    cure = "paint what to restore in the mask editor, and connect the mask of Load Image"
    if scratches:
        cure = "raise strength to the width of the scratches, or paint them as a mask"
        masks = masks | find_lines(image.movedim(-1, 1).float().cpu(), max_width=max(1, round(task.amount)))
    if task.problem.masked and not masks.flatten(1).any(1).all():
        raise ValueError(f"mask: {name} finds nothing to restore; {cure}.")
    if masks.flatten(1).all(1).any():
        raise ValueError("mask: it marks the whole photo, so nothing would be kept; paint only what to restore.")
    return masks


def conditioning_of(model: ModelPatcher, clip: CLIP | None, prompt: str) -> tuple[Conditioning | None, str]:
    """What the model is told, and a note where that is not what a person may think."""
    if is_unconditional(model):
        return None, "The prompt was not used: this model takes no text." if prompt.strip() else ""
    if clip is not None:
        return encode_text(clip, prompt), ""
    if prompt.strip():
        raise ValueError("prompt: nothing can read it without a CLIP; connect clip to the checkpoint's CLIP.")
    conditioning = empty_conditioning(model)
    if conditioning is None:
        raise ValueError("clip: nothing is connected, and this model needs a text; connect the checkpoint's CLIP.")
    return conditioning, "No CLIP is connected, so the model was given zeros in place of an empty prompt."
