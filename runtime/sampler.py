"""The solvers as a ComfyUI SAMPLER: works in SamplerCustom, SamplerCustomAdvanced and our own KSampler."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import KSAMPLER, KSamplerX0Inpaint
from comfy.sd import VAE
from torch import Tensor

from ..operators.measurement import Measurement
from ..operators.polling import stoppable
from ..solvers import METHODS, Method, Step
from . import checks
from .autograd import own, use_differentiable_attention
from .callables import latent_model, of_unit_variance, outside_mask_as_given, own_inpainting_inputs
from .codec import Codec, spatial_factor
from .families import check_gradient_through, check_loaded
from .finite import Watch
from .gradients import explained, gradients
from .kernels import exact_kernels
from .levels import data_spread
from .memory import Plan, Run, Tier
from .plain import plain, plain_denoiser
from .relations import check_relations
from .report import Report
from .windows import Windows, check_windows, window_grid, windows_at_once


def posterior_sampler(
    measurement: Measurement,
    vae: VAE,
    method: str,
    wishes: Mapping[str, float] | None = None,
    report: Report | None = None,
    on_step: Callable[[Step], None] | None = None,
    draft_vae: VAE | None = None,
    window: int = 0,
) -> KSAMPLER:
    """A SAMPLER that draws from the posterior of the image given the measurement.

    wishes: parameters by name, in place of the method's own; what it does not have is left out. gamma
        and omega: weights of the gluing and the data gradient, per step of 1,000 (Rout et al., appendix C).
    on_step: called after each step beside ComfyUI's own callback.
    draft_vae: a small VAE of the same latents, which takes the gradients in place of `vae`.
    window: pixels along the side of what the model sees at once; 0: its own size, where the picture is larger.
    Raises ValueError before the first step where model, VAE, latent and measurement do not fit together.
    """
    solver = find_method(method)
    parameters = solver.parameters
    parameters |= {name: value for name, value in (wishes or {}).items() if name in parameters}
    if draft_vae is not None:
        checks.check_draft(draft_vae, vae, solver)
    guide = vae if draft_vae is None else draft_vae
    guide_patcher = plain(guide.patcher) if solver.through_decoder else guide.patcher
    report = report if report is not None else Report(method)
    return KSAMPLER(
        Restoration(measurement, vae, guide, guide_patcher, solver, parameters, report, on_step, window).sample
    )


@dataclass(frozen=True)
class Restoration:
    """What `posterior_sampler` was asked for. guide: the VAE that takes the gradients, and its patcher."""

    measurement: Measurement
    vae: VAE
    guide: VAE
    guide_patcher: ModelPatcher
    solver: Method
    parameters: dict[str, Any]
    report: Report
    on_step: Callable[[Step], None] | None
    window: int

    def sample(
        self,
        model: KSamplerX0Inpaint,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict,
        callback: Callable | None,
        disable: bool,
    ) -> Tensor:
        """A sampler's function, as KSAMPLER calls it."""
        guider, through_denoiser = model.inner_model, self.solver.through_denoiser
        self.check(guider.model_patcher, x, sigmas)
        if through_denoiser:
            use_differentiable_attention(extra_args["model_options"])
        with plain_denoiser(guider) if through_denoiser else nullcontext(guider.model_patcher) as denoiser:
            plan = self.loaded(guider, denoiser, x, extra_args["model_options"])
            if through_denoiser:
                check_loaded(denoiser)
            cancel = stoppable(comfy.model_management.throw_exception_if_processing_interrupted)
            with gradients(self.solver, guider, self.guide_patcher), cancel, explained(), exact_kernels(x.device):
                own_inpainting_inputs(model, extra_args, x.device)
                z, levels = own(x, x.device), own(sigmas, x.device)
                solved = self.solve(model, z, levels, extra_args, callback, plan)
                self.report.tier = str(plan.tier)
                plan.log_peak()
                return outside_mask_as_given(model, solved, levels[-1], extra_args.get("denoise_mask"))

    def check(self, patcher: ModelPatcher, x: Tensor, sigmas: Tensor) -> None:
        """ValueError where model, VAE, latent, measurement and levels do not fit together."""
        checks.check_pair(patcher, self.vae)
        checks.check_measurement(self.measurement, self.vae, self.solver)
        checks.check_latent(x, self.measurement, self.vae)
        checks.check_sigmas(sigmas)
        if self.solver.through_denoiser:
            check_gradient_through(patcher)
            checks.check_differentiable(patcher)

    @property
    def vae_patcher(self) -> ModelPatcher:
        """Of the VAE, plain where it takes the gradients."""
        return self.guide_patcher if self.guide is self.vae else self.vae.patcher

    def loaded(self, guider: object, denoiser: ModelPatcher, x: Tensor, options: dict) -> Plan:
        """The plan of the run, for which all models are loaded; the model sees windows where the picture is large."""
        windows = see_in_windows(guider, options, x, self.vae, self.window)
        grid = None if windows is None else windows.grid
        vaes = (self.vae,) if self.guide is self.vae else (self.vae, self.guide)
        candidates = int(self.parameters.get("candidates", 1))
        run = Run(guider.inner_model, vaes, self.solver, tuple(x.shape), candidates, grid)
        return keep_loaded(guider, denoiser, [self.vae_patcher, self.guide_patcher], run, windows)

    def solve(
        self,
        model: KSamplerX0Inpaint,
        z: Tensor,
        levels: Tensor,
        extra_args: dict,
        callback: Callable | None,
        plan: Plan,
    ) -> Tensor:
        """The solver's latents at the last level, from z at the first."""
        denoiser = model.inner_model.inner_model
        codec = Codec(self.vae, self.vae_patcher.model, denoiser)
        draft = None if self.guide is self.vae else Codec(self.guide, self.guide_patcher.model, denoiser)
        watch = Watch(lambda: self.report.steps + 1)
        through = self.solver.through_denoiser
        latent = latent_model(model, codec, draft, extra_args, self.report, len(z), through, plan, watch)
        told = self.measurement.to(z.device)
        check_relations(latent, told, denoiser.latent_format, spatial_factor(self.vae))
        unit = data_spread(denoiser.model_sampling)
        latent = of_unit_variance(latent, unit)
        settings = self.parameters | {"callback": self.after_step(told, callback, unit, watch)}
        if "chunk" in settings and not plan.tier.together:
            settings["chunk"] = 1
        if "candidates" in settings and not torch.count_nonzero(model.noise):
            settings["candidates"] = 1  # the noise is in the latent already, and it is one

        def start(_: Tier) -> Tensor:
            self.report.clear()
            with watch.to_the_end():
                return self.solver.solve(latent, told, z / unit, levels / unit, **settings) * unit

        return plan.attempt(start)  # anew only where the solver itself runs out of memory

    def after_step(
        self, told: Measurement, callback: Callable | None, unit: float, watch: Watch
    ) -> Callable[[Step], None]:
        """What a solver calls after each step: the watch, the report, the node's callback, and ComfyUI's.

        unit: what the solver's latents and noise levels are multiples of.
        """
        started, report = time.perf_counter(), self.report

        def tell(step: Step) -> None:
            off = told.rms_residual(step.x0_hat.detach()).square().mean().sqrt()
            watch.check()
            report.seconds, report.steps = time.perf_counter() - started, step.index + 1
            sigma, rms = torch.stack([step.sigma, off]).tolist()
            report.residuals.append((sigma * unit, rms))
            if self.on_step is not None:
                self.on_step(step)
            if callback is not None:
                z0_hat, z, sigma = (value * unit for value in (step.z0_hat, step.z, step.sigma))
                callback({"i": step.index, "denoised": z0_hat, "x": z, "sigma": sigma})

        return tell


def find_method(name: str) -> Method:
    """Values that come over the API are not checked by the server."""
    if name not in METHODS:
        raise ValueError(f"method: {name!r} is not one of {', '.join(METHODS)}; choose one of these.")
    return METHODS[name]


def see_in_windows(guider: object, options: dict, x: Tensor, vae: VAE, window: int) -> Windows | None:
    """Lets the model of a run see overlapping windows, where the picture is larger than what it was trained on."""
    grid = window_grid(tuple(x.shape[-2:]), guider.inner_model, spatial_factor(vae), window)
    if grid is None:
        return None
    check_windows(guider.conds, options, grid.shape)
    free = comfy.model_management.get_free_memory(x.device)
    windows = Windows(grid, windows_at_once(guider.inner_model, x, grid, free))
    options["context_handler"] = windows
    return windows


def keep_loaded(
    guider: object, denoiser: ModelPatcher, vaes: list[ModelPatcher], run: Run, windows: Windows | None
) -> Plan:
    """Loads the VAEs beside the models of the running sampler, and makes room for the run as it is planned.

    Done here, not by an additional model on the patcher, so that it serves foreign sampler nodes too.
    """
    models = list(dict.fromkeys([denoiser, *vaes, *guider.loaded_models]))
    plan = Plan.of(run, models, windows)
    comfy.model_management.load_models_gpu(models, memory_required=plan.reserve)
    return plan
