"""Menu group "sampling": the PSLD KSampler, and the PSLD Sampler for ComfyUI's custom sampling nodes."""

from __future__ import annotations

from functools import partial

import comfy.sample
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy_api.latest import io
from torch import Tensor

from ..operators.discrepancy import fit_to_noise_level
from ..operators.grey import stay_grey
from ..operators.measurement import Measurement
from ..runtime import checks
from ..runtime.codec import spatial_factor
from ..runtime.conditioning import Conditioning, is_unconditional
from ..runtime.finite import DECODER, Watch
from ..runtime.levels import AUTO, noise_levels, schedulers
from ..runtime.memory import decode_picture
from ..runtime.plain import plain
from ..runtime.report import Report
from ..runtime.sampler import find_method, posterior_sampler
from ..runtime.windows import window_grid
from .progress import progress, say
from .sampling_inputs import (
    CANDIDATES,
    DRAFT_VAE,
    FAITHFUL,
    GAMMA,
    MEASUREMENT,
    METHOD,
    OMEGA,
    PERCEPTUAL,
    RESULT,
    WINDOW,
)
from .types import CATEGORY, ReportIO, image_from_pixels, pixels_from_image, seed_input
from .verdict import verdict


class PSLDSampler(io.ComfyNode):
    """SAMPLER for SamplerCustom and SamplerCustomAdvanced, with any scheduler, guider and noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_Sampler",
            display_name="PSLD Sampler",
            category=f"{CATEGORY}/sampling",
            description="Posterior sampling as a SAMPLER for the custom sampling nodes. "
            "Wire an empty latent of the size of the restored image there.",
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                MEASUREMENT,
                METHOD,
                GAMMA,
                OMEGA,
                DRAFT_VAE,
                CANDIDATES,
                RESULT,
                WINDOW,
            ],
            outputs=[io.Sampler.Output()],
        )

    @classmethod
    def execute(
        cls, vae, measurement, method, gamma, omega, draft_vae=None, candidates=0, result=PERCEPTUAL, window=0
    ) -> io.NodeOutput:
        settings = wishes(gamma, omega, candidates, result)
        return io.NodeOutput(posterior_sampler(measurement, vae, method, settings, draft_vae=draft_vae, window=window))


class PSLDKSampler(io.ComfyNode):
    """The whole restoration in one node: from a measurement to the restored picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_KSampler",
            display_name="PSLD KSampler",
            category=f"{CATEGORY}/sampling",
            description="Restores the image behind a measurement with a diffusion model and its VAE.",
            inputs=[
                io.Model.Input("model", tooltip="From Load Checkpoint, or Load Latent Diffusion (LDM)."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                MEASUREMENT,
                seed_input("Other seeds give other plausible photos. Image i of a batch uses seed + i."),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=10000,
                    tooltip="20 for Glued MAP, PSLD and most others; 50 for Proximal gluing and MMPS. The paper's PSLD "
                    "uses 1,000.",
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Classifier-free guidance. At 1 only the positive branch runs: half the work.",
                ),
                io.Combo.Input("scheduler", options=schedulers(), default=AUTO, tooltip="auto: what suits the method."),
                GAMMA,
                OMEGA,
                METHOD,
                io.Conditioning.Input("positive", optional=True, tooltip="Not needed for unconditional models."),
                io.Conditioning.Input("negative", optional=True, tooltip="Only used where cfg is not 1."),
                io.Boolean.Input(
                    "keep_measured",
                    default=True,
                    optional=True,
                    tooltip="Moves the decoded picture as little as it takes to meet the measurement up to its noise: "
                    "no VAE reproduces a photo exactly. The latent stays as it is.",
                ),
                DRAFT_VAE,
                CANDIDATES,
                RESULT,
                WINDOW,
            ],
            outputs=[
                io.Latent.Output(display_name="latent"),
                io.Image.Output(display_name="restored"),
                ReportIO.Output(display_name="report"),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        vae,
        measurement,
        seed,
        steps,
        cfg,
        scheduler,
        gamma,
        omega,
        method,
        positive=None,
        negative=None,
        keep_measured=True,
        draft_vae=None,
        candidates=0,
        result=PERCEPTUAL,
        window=0,
    ) -> io.NodeOutput:
        settings = wishes(gamma, omega, candidates, result)
        schedule = (scheduler, steps)
        prompts = (positive, negative, cfg)
        samples, restored, report = restore(
            model, vae, measurement, seed, method, settings, schedule, prompts, keep_measured, draft_vae, window
        )
        return io.NodeOutput({"samples": samples}, restored, report)


def restore(
    model: ModelPatcher,
    vae: VAE,
    measurement: Measurement,
    seed: int,
    method: str,
    settings: dict[str, float],
    schedule: tuple[str, int],
    prompts: tuple[Conditioning | None, Conditioning | None, float],
    keep_measured: bool = True,
    draft_vae: VAE | None = None,
    window: int = 0,
) -> tuple[Tensor, Tensor, Report]:
    """From a measurement to (latents, restored IMAGE, report), with live preview.

    settings: as `wishes` gives them. schedule: scheduler and steps. prompts: positive, negative (or None) and cfg.
    ValueError, naming the input, for what cannot work, before the first step.
    """
    scheduler, steps = schedule
    check_steps(steps)
    solver = find_method(method)
    sigmas = noise_levels(model, scheduler, steps, solver)
    model = plain(model) if solver.through_denoiser else model
    checks.check_pair(model, vae)
    checks.check_measurement(measurement, vae, solver)
    guider = make_guider(model, *prompts)

    empty = torch.zeros(checks.latent_shape(measurement, vae))
    noise = comfy.sample.prepare_noise(empty, seed)
    report = Report(method)
    if grid := window_grid(empty.shape[-2:], model.model, spatial_factor(vae), window):
        count, side = len(grid.windows()), grid.size * spatial_factor(vae)
        say(f"seen in {count} windows of {side} pixels: about {count} times as long as a photo of that size")
    on_step = progress(len(sigmas) - 1)
    sampler = posterior_sampler(measurement, vae, method, settings, report, on_step, draft_vae, window)
    samples = guider.sample(noise, empty, sampler, sigmas, seed=seed)
    samples = samples.to(comfy.model_management.intermediate_device())
    watch = Watch(lambda: report.steps)
    with watch.to_the_end():
        restored = watch.over(partial(decode_picture, vae), DECODER)(samples)
    restored = restored.reshape(-1, *restored.shape[-3:])  # VAEs of 3-d latents give a film of one frame
    if keep_measured and measurement.operator.proximal:
        restored = fitting(measurement.to(), restored)
    report.verdict = verdict(measurement, restored)
    say(f"{report.verdict} ({report.nfe} passes of the model, {report.seconds:.1f} s)")
    return samples, restored, report


def fitting(measurement: Measurement, image: Tensor) -> Tensor:
    """The IMAGE nearest to the given one that meets the measurement up to its noise.

    Where no picture does, what would have lies far outside black and white; cut off there it may meet the measurement
    less than before, and then the picture stays as it is.
    """
    pixels = stay_grey(measurement, pixels_from_image(image))
    moved = image_from_pixels(fit_to_noise_level(measurement, pixels))
    better = measurement.rms_residual(pixels_from_image(moved)) <= measurement.rms_residual(pixels)
    return torch.where(better.view(-1, 1, 1, 1), moved, image_from_pixels(pixels))


def wishes(gamma: float, omega: float, candidates: int, result: str) -> dict[str, float]:
    """The parameters that a user gave; the method keeps its own for the others.

    ValueError for too few candidates, or a result that there is not.
    """
    if candidates < 0:
        raise ValueError(f"candidates: {candidates} starts to run; choose at least 1, or 0 for the method's own.")
    if result not in (PERCEPTUAL, FAITHFUL):
        raise ValueError(f"result: {result!r} is not one of {PERCEPTUAL}, {FAITHFUL}; choose one of these.")
    weights = {name: value for name, value in (("gamma", gamma), ("omega", omega)) if value >= 0}
    return weights | ({"candidates": candidates} if candidates else {}) | {"faithful": result == FAITHFUL}


def make_guider(model, positive, negative, cfg: float) -> comfy.samplers.CFGGuider:
    """Classifier-free guidance; at cfg 1 only the positive branch runs."""
    if positive is None:
        if not is_unconditional(model):
            raise ValueError(
                "positive: nothing is connected, but this model needs a text conditioning; connect a CLIP Text Encode "
                "(its text may be empty)."
            )
        positive = [[None, {}]]
    if negative is None:
        if cfg != 1:
            raise ValueError(f"negative: nothing is connected, but cfg is {cfg:g}; connect one or set cfg to 1.")
        negative = []
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider


def check_steps(steps: int) -> None:
    """Values that come over the API are not checked by the server."""
    if steps < 1:
        raise ValueError(f"steps: {steps} steps to run; choose at least 1.")


NODES = [PSLDKSampler, PSLDSampler]
