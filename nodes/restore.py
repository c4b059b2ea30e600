"""Menu group "photo", first of all: Restore Photo, the other nodes' work in one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy_api.latest import io, ui
from torch import Tensor

from ..operators import fit as fits
from ..operators.discrepancy import ROUNDING
from ..operators.lines import find_lines
from ..operators.measurement import Measurement
from ..runtime.codec import spatial_factor
from ..runtime.conditioning import Conditioning, empty_conditioning, encode_text, is_unconditional
from ..runtime.levels import AUTO
from ..runtime.sampler import Report
from .consistency import consistent
from .masks import PAINTED, photo_mask
from .measurement import ESTIMATE, measurement_of
from .pairs import beside, shown_pair
from .photo import fits_of, fitted, stitched
from .problems import COLOUR, PROBLEMS, Job, Problem
from .sampling import DRAFT_VAE, restore
from .types import CATEGORY, check_choice, check_image
from .verdict import GREY_LEVELS, doubts, worst

METHOD = "Glued MAP"
QUALITIES = {"fast": (10, 1), "balanced": (20, 4), "best": (40, 8)}
"""Steps and candidates."""

FALLBACK_SIGMA = 0.02
"""Of a clean JPEG, for a photo whose noise cannot be estimated."""

COLOURFUL = 0.05
"""Mean difference of a photo's channels above which it is no grey one with a tint."""

RCOND = 0.1
TEXT_SIDE, UNCONDITIONAL_SIDE, MARGIN = 64, 16, 4
"""Side of the window around a hole for a model that takes a text and for one that does not, and what lies between
window and hole, at least; in latents."""


class RestorePhoto(io.ComfyNode):
    """From a photo and what is wrong with it to the restored one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_RestorePhoto",
            display_name="Restore Photo",
            category=CATEGORY,
            description="Repairs a photo with the diffusion model you have: sharpens, enlarges, removes noise, fills "
            "holes, removes scratches, adds colour. Keeps what the photo says.",
            inputs=[
                io.Image.Input("image", tooltip="The photo, of any size; or several of one size."),
                io.Model.Input("model", tooltip="From Load Checkpoint, or Load Latent Diffusion (LDM)."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Combo.Input(
                    "problem",
                    options=list(PROBLEMS),
                    default=next(iter(PROBLEMS)),
                    tooltip="What is wrong with the photo. Its noise is estimated beside that.",
                ),
                io.Float.Input(
                    "strength",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=0.1,
                    tooltip="How strong the problem is; 0 takes a good default or an estimate.\n"
                    + "\n".join(f"{name}: {problem.help}." for name, problem in PROBLEMS.items()),
                ),
                io.Combo.Input(
                    "quality",
                    options=list(QUALITIES),
                    default="balanced",
                    tooltip="\n".join(
                        f"{name}: {steps} steps, {starts} candidate(s)." for name, (steps, starts) in QUALITIES.items()
                    ),
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed makes another guess at what is lost. Image i of a batch uses seed + i.",
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="May stay empty, or say what the photo shows; needs clip.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="For fill a mask, and remove scratches: painted = to restore."
                ),
                io.Clip.Input("clip", optional=True, tooltip="Reads the prompt; better connected even without one."),
                DRAFT_VAE,
                io.Float.Input(
                    "angle",
                    default=0.0,
                    min=-360.0,
                    max=360.0,
                    step=1.0,
                    optional=True,
                    tooltip="Only for sharpen: motion. In degrees, counter-clockwise from horizontal.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="restored", tooltip="At the photo's own, or the enlarged, size."),
                io.Image.Output(display_name="before|after", tooltip="The photo beside the restored one."),
                io.String.Output(display_name="report", tooltip="What was done, and whether it matches the photo."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        image,
        model,
        vae,
        problem,
        strength,
        quality,
        seed,
        prompt,
        mask=None,
        clip=None,
        draft_vae=None,
        angle=0.0,
    ) -> io.NodeOutput:
        check_image(image)
        check_choice("problem", problem, PROBLEMS)
        check_choice("quality", quality, QUALITIES)
        image = image.expand(-1, -1, -1, 3)
        conditioning, note = conditioning_of(model, clip, prompt)
        task = Task(model, vae, PROBLEMS[problem], strength, angle, quality, conditioning, draft_vae)
        masks = masks_of(image, mask, task, problem)
        results = [
            restore_photo(task, photo[None], marked[None], (seed + i) % 2**64)
            for i, (photo, marked) in enumerate(zip(image, masks, strict=True))
        ]
        restored = torch.cat([result.restored for result in results])
        pair = beside(image, restored)
        windows = [window for result in results for window in result.windows]
        notes = {note, *(doubts(window.measurement, window.report.residuals) for window in windows)} - {""}
        if problem == COLOUR and float((image.amax(-1) - image.amin(-1)).mean()) > COLOURFUL:
            notes.add("The photo has colours already; they were thrown away for new ones.")
        if mask is not None and mask.any() and not task.problem.masked:
            notes.add(f"The mask was not used: {problem} treats the whole photo.")
        report = "\n\n".join(told(problem, task, result) for result in results)
        report = "\n".join([report, *(f"Note: {text}" for text in sorted(notes))])
        shown = ui.PreviewImage(shown_pair(image, restored), cls=cls)
        return io.NodeOutput(restored, pair, report, ui=shown.as_dict() | {"text": [report]})


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


@dataclass(frozen=True)
class Window:
    """A restored part of a photo, or all of it, at the size that the model takes."""

    fit: fits.Fit
    image: Tensor
    measurement: Measurement
    estimated: bool
    """Whether the noise was estimated."""
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
    side = UNCONDITIONAL_SIDE if is_unconditional(task.model) else TEXT_SIDE
    method = "around each hole" if task.problem.masked else "pad"
    multiple = fits.least_multiple(factor, task.problem.factor)
    windows = [
        restore_window(task, photo, mask, fit, seed)
        for fit in fits_of(mask, method, side * factor, MARGIN * factor, *multiple)
    ]
    return Result(photo, stitched(photo, [(window.image, window.fit) for window in windows]), windows, seed)


def restore_window(task: Task, photo: Tensor, mask: Tensor, fit: fits.Fit, seed: int) -> Window:
    """One window of a photo: measured with its own noise, sampled, and its known pixels made exact."""
    problem = task.problem
    image, unknown = fitted(photo, mask, fit)
    operator = problem.operator(Job(task.amount, task.angle, fit.window, unknown))
    sigma = 2 * task.strength / GREY_LEVELS if problem.noise else 0.0
    measurement, estimated = measurement_with_noise(image, operator, sigma)
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
    return Window(fit, restored, measurement, estimated, report)


def measurement_with_noise(photo: Tensor, operator, sigma: float) -> tuple[Measurement, bool]:
    """The measurement, with this noise or (0) the photo's own, and whether that could be estimated."""
    if sigma:
        return measurement_of(photo, operator, sigma), False
    try:
        measurement = measurement_of(photo, operator, ESTIMATE)
    except ValueError as error:
        if "estimated" not in str(error):
            raise
        return measurement_of(photo, operator, FALLBACK_SIGMA), False
    return replace(measurement, sigma_y=max(measurement.sigma_y, ROUNDING)), True


def masks_of(image: Tensor, mask: Tensor | None, task: Task, name: str) -> Tensor:
    """(B, H, W) of what is to be restored in each photo. ValueError where that is nothing, or all."""
    count, height, width = image.shape[:3]
    if not task.problem.masked:
        return torch.zeros(count, height, width, dtype=torch.bool)
    scratches = task.problem.default is not None
    masks = photo_mask(image, mask, PAINTED, 0 if scratches else round(task.strength)).expand(count, -1, -1)
    cure = "paint what to restore in the mask editor, and connect the mask of Load Image"
    if scratches:
        cure = "raise strength to the width of the scratches, or paint them as a mask"
        masks = masks | find_lines(image.movedim(-1, 1).float().cpu(), max_width=max(1, round(task.amount)))
    if not masks.flatten(1).any(1).all():
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


def told(problem: str, task: Task, result: Result) -> str:
    """The report of one photo, in words."""
    windows, (height, width) = result.windows, result.photo.shape[1:3]
    after = f"{result.restored.shape[2]} x {result.restored.shape[1]}"
    size = f"{width} x {height} pixels" + (f", enlarged to {after}" if task.problem.factor > 1 else "")
    if len(windows) > 1:
        size += f", in {len(windows)} windows"
    strength = f" ({task.amount:g} {task.problem.unit})" if task.amount and task.problem.unit else ""
    sigma = max(window.measurement.sigma_y for window in windows)
    source = "as given" if task.problem.noise and task.strength else "assumed"
    source = "estimated from the photo" if all(window.estimated for window in windows) else source
    steps, candidates = QUALITIES[task.quality]
    passes, seconds = (sum(getattr(window.report, what) for window in windows) for what in ("nfe", "seconds"))
    return "\n".join(
        [
            f"{problem}{strength}: a photo of {size}.",
            f"Noise: {sigma * GREY_LEVELS / 2:.1f} of 255 grey levels (sigma {sigma:.3g}), {source}.",
            f"Verdict: {worst([(window.measurement, window.image) for window in windows])}.",
            f"{METHOD}, {steps} steps, {candidates} candidate(s), seed {result.seed}: "
            f"{passes} passes of the model in {seconds:.1f} s.",
        ]
    )


NODES = [RestorePhoto]
