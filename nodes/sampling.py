"""Menu group "sampling": the PSLD KSampler, and the PSLD Sampler for ComfyUI's custom sampling nodes."""

from __future__ import annotations

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io
from PIL import Image

from ..runtime import checks
from ..runtime.ldm import LDMModel
from ..runtime.sampler import Report, find_method, posterior_sampler, static
from ..solvers import METHODS, Step
from .types import CATEGORY, MeasurementIO, ReportIO, image_from_pixels

PREVIEW_SIZE = 512

GAMMA = io.Float.Input(
    "gamma", default=0.1, min=0.0, max=100.0, step=0.01, tooltip="Weight of the gluing gradient, per step of 1,000."
)
OMEGA = io.Float.Input(
    "omega",
    default=1.0,
    min=0.0,
    max=100.0,
    step=0.01,
    tooltip="Weight of the data gradient, per step of 1,000. Raise it where the measured pixels do not match.",
)
METHOD = io.Combo.Input(
    "method",
    options=list(METHODS),
    default="PSLD",
    tooltip="\n".join(f"{name}: {method.description}." for name, method in METHODS.items()),
)


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
                MeasurementIO.Input("measurement"),
                METHOD,
                GAMMA,
                OMEGA,
            ],
            outputs=[io.Sampler.Output()],
        )

    @classmethod
    def execute(cls, vae, measurement, method, gamma, omega) -> io.NodeOutput:
        return io.NodeOutput(posterior_sampler(measurement, vae, method, gamma, omega))


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
                io.Model.Input("model"),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                MeasurementIO.Input("measurement"),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True),
                io.Int.Input("steps", default=100, min=1, max=10000, tooltip="The paper uses 1,000."),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Classifier-free guidance. At 1 only the positive branch runs: half the work.",
                ),
                io.Combo.Input("scheduler", options=comfy.samplers.SCHEDULER_NAMES, default="ddim_uniform"),
                GAMMA,
                OMEGA,
                METHOD,
                io.Conditioning.Input("positive", optional=True, tooltip="Not needed for unconditional models."),
                io.Conditioning.Input("negative", optional=True, tooltip="Only used where cfg is not 1."),
            ],
            outputs=[
                io.Latent.Output(display_name="latent"),
                io.Image.Output(display_name="restored"),
                ReportIO.Output(display_name="report"),
            ],
        )

    @classmethod
    def execute(
        cls, model, vae, measurement, seed, steps, cfg, scheduler, gamma, omega, method, positive=None, negative=None
    ) -> io.NodeOutput:
        check_choices(steps, scheduler)
        solver = find_method(method)
        model = static(model, "model") if solver.through_denoiser else model
        checks.check_pair(model, vae)
        checks.check_measurement(measurement, vae, solver)
        guider = make_guider(model, positive, negative, cfg)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)

        empty = torch.zeros(checks.latent_shape(measurement, vae))
        noise = comfy.sample.prepare_noise(empty, seed)
        report = Report(method)
        sampler = posterior_sampler(measurement, vae, method, gamma, omega, report, preview(len(sigmas) - 1))
        samples = guider.sample(noise, empty, sampler, sigmas, seed=seed)
        samples = samples.to(comfy.model_management.intermediate_device())
        return io.NodeOutput({"samples": samples}, vae.decode(samples), report)


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


def is_unconditional(model) -> bool:
    """Whether the model takes no conditioning, as those of Load Latent Diffusion (LDM)."""
    return isinstance(model.model, LDMModel)


def check_choices(steps: int, scheduler: str) -> None:
    """Values that come over the API are not checked by the server."""
    if steps < 1:
        raise ValueError(f"steps: {steps} steps to run; choose at least 1.")
    if scheduler not in comfy.samplers.SCHEDULER_NAMES:
        raise ValueError(f"scheduler: {scheduler!r} is not one of {', '.join(comfy.samplers.SCHEDULER_NAMES)}.")


def preview(steps: int):
    """Progress and the decoded estimate itself as the live preview: the solver has it at no cost."""
    bar = comfy.utils.ProgressBar(steps)

    def show(step: Step) -> None:
        frame = (image_from_pixels(step.x0_hat[:1])[0] * 255).byte().numpy()
        bar.update_absolute(step.index + 1, steps, ("JPEG", Image.fromarray(frame), PREVIEW_SIZE))

    return show


NODES = [PSLDKSampler, PSLDSampler]
