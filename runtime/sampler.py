"""The solvers as a ComfyUI SAMPLER: works in SamplerCustom, SamplerCustomAdvanced and our own KSampler."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import comfy.model_management
import comfy.model_sampling
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import KSAMPLER, KSamplerX0Inpaint
from comfy.sd import VAE
from torch import Tensor

from ..operators.measurement import Measurement
from ..operators.polling import stoppable
from ..solvers import METHODS, Autoencoder, GradientError, LatentModel, Method, Step
from . import checks
from .autograd import differentiable, mutable_saved_tensors, own, use_differentiable_attention
from .codec import Codec, spatial_factor
from .families import check_gradient_through, check_loaded
from .finite import DECODER, DENOISER, ENCODER, finite
from .half import scaled
from .memory import Plan, Run, Tier
from .plain import plain, plain_denoiser
from .relations import check_relations
from .windows import Windows, check_windows, control_chain, window_grid, windows_at_once


@dataclass
class Report:
    """What a run did: filled while it runs, for Image Metrics to show.

    nfe: passes of the denoiser for each image; n candidates in one call are n.
    residuals: of each step its noise level, and how far the decoded estimate is off the measurement (rms, [-1, 1]).
    tier: the way through the memory that there is, in words, at the end.
    verdict: whether the restored picture matches what was measured, in words.
    """

    method: str
    nfe: int = 0
    seconds: float = 0.0
    steps: int = 0
    residuals: list[tuple[float, float]] = field(default_factory=list)
    tier: str = ""
    verdict: str = ""

    def clear(self) -> None:
        """For a run that starts anew."""
        self.nfe, self.seconds, self.steps, self.verdict = 0, 0.0, 0, ""
        self.residuals.clear()


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

    def sample(
        model: KSamplerX0Inpaint, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Callable | None, disable: bool
    ) -> Tensor:
        guider = model.inner_model
        patcher: ModelPatcher = guider.model_patcher
        checks.check_pair(patcher, vae)
        checks.check_measurement(measurement, vae, solver)
        checks.check_latent(x, measurement, vae)
        checks.check_sigmas(sigmas)
        if solver.through_denoiser:
            check_gradient_through(patcher)
            checks.check_differentiable(patcher)
            use_differentiable_attention(extra_args["model_options"])

        vae_patcher = guide_patcher if guide is vae else vae.patcher
        device = x.device
        with plain_denoiser(guider) if solver.through_denoiser else nullcontext(patcher) as denoiser:
            windows = see_in_windows(guider, extra_args["model_options"], x, vae, window)
            vaes, candidates = (vae,) if guide is vae else (vae, guide), int(parameters.get("candidates", 1))
            grid = None if windows is None else windows.grid
            run = Run(guider.inner_model, vaes, solver, tuple(x.shape), candidates, grid)
            plan = keep_loaded(guider, denoiser, [vae_patcher, guide_patcher], run, windows)
            one_by_one = {"chunk": 1} if "chunk" in parameters and not plan.tier.together else {}
            if solver.through_denoiser:
                check_loaded(denoiser)
            cancel = stoppable(comfy.model_management.throw_exception_if_processing_interrupted)
            with gradients(solver, guider, guide_patcher), cancel, explained():
                own_inpainting_inputs(model, extra_args, device)
                codec = Codec(vae, vae_patcher.model, guider.inner_model)
                draft = None if guide is vae else Codec(guide, guide_patcher.model, guider.inner_model)
                latent = latent_model(model, codec, draft, extra_args, report, len(x), solver.through_denoiser, plan)
                told = measurement.to(device)
                check_relations(latent, told, guider.inner_model.latent_format, spatial_factor(vae))
                started = time.perf_counter()

                def after_step(step: Step) -> None:
                    report.seconds, report.steps = time.perf_counter() - started, step.index + 1
                    off = told.rms_residual(step.x0_hat.detach()).square().mean().sqrt()
                    report.residuals.append((float(step.sigma), float(off)))
                    if on_step is not None:
                        on_step(step)
                    if callback is not None:
                        callback({"i": step.index, "denoised": step.z0_hat, "x": step.z, "sigma": step.sigma})

                z, levels = own(x, device), own(sigmas, device)
                settings = parameters | one_by_one | {"callback": after_step}
                if not torch.count_nonzero(model.noise) and "candidates" in parameters:
                    settings["candidates"] = 1  # the noise is in the latent already, and it is one

                def solve(_: Tier) -> Tensor:
                    report.clear()
                    return solver.solve(latent, told, z, levels, **settings)

                solved = plan.attempt(solve)  # anew only where the solver itself runs out of memory
                report.tier = str(plan.tier)
                plan.log_peak()
                return outside_mask_as_given(model, solved, levels[-1], extra_args.get("denoise_mask"))

    return KSAMPLER(sample)


def find_method(name: str) -> Method:
    """Values that come over the API are not checked by the server."""
    if name not in METHODS:
        raise ValueError(f"method: {name!r} is not one of {', '.join(METHODS)}; choose one of these.")
    return METHODS[name]


@contextmanager
def gradients(solver: Method, guider: object, guide: ModelPatcher) -> Iterator[None]:
    """The autograd mode a solver needs: through U-Net and VAE, through the VAE alone, or plain inference."""
    if not solver.differentiable:
        with torch.inference_mode():
            yield
        return
    latent_format = guider.inner_model.latent_format
    if not solver.through_denoiser:
        with differentiable([guide.model], [latent_format]):
            yield
        return
    models = [guider.inner_model, *(m.model for m in guider.loaded_models), guide.model]
    patches = guider.model_options.get("transformer_options", {})
    patched = bool(control_chain(guider.conds.values()) or patches.get("patches") or patches.get("patches_replace"))
    with differentiable(models, [latent_format]), mutable_saved_tensors(guider.inner_model.diffusion_model, patched):
        yield


@contextmanager
def explained() -> Iterator[None]:
    """Says what usually takes a gradient away, where one is missing."""
    try:
        yield
    except RuntimeError as error:
        if not lacks_gradient(error):
            raise
        raise RuntimeError(
            f"model, vae: {str(error).splitlines()[0]}; an attention kernel or a model patch (torch.compile, sage or "
            "flash attention, a quantised model) may have no gradient: load the plain fp16 or fp32 checkpoint without "
            "patches, choose a method without gradients through the model (Glued MAP, Proximal gluing), or lower gamma "
            "and omega if it happens late in the run."
        ) from error


def latent_model(
    model: KSamplerX0Inpaint,
    codec: Codec,
    draft: Codec | None,
    extra_args: dict,
    report: Report,
    images: int,
    through_denoiser: bool,
    plan: Plan,
) -> LatentModel:
    """The callables of the solvers, over what ComfyUI hands to a sampler that restores so many images."""
    flow = isinstance(codec.model.model_sampling, comfy.model_sampling.CONST)
    masked = extra_args.get("denoise_mask") is not None
    dtype = codec.model.manual_cast_dtype or codec.model.get_dtype()

    def evaluate(z: Tensor, sigma: Tensor) -> Tensor:
        parts = z.split(images) if masked else [z]  # what lies under a latent noise mask has the batch of the images
        network = scaled(lambda part: model(part, sigma.expand(len(part)), **extra_args), dtype)
        return torch.cat([network(part) for part in parts])

    def predict(z: Tensor, sigma: Tensor) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        report.nfe += len(z) // images
        return plan.call(z, partial(evaluate, sigma=sigma), codec.model, images)

    def predict_without_graph(z: Tensor, sigma: Tensor) -> Tensor:
        with torch.inference_mode():  # as in the executor, whose weights the U-Net then keeps
            z0_hat = predict(z, sigma)
        return z0_hat.clone()  # outside that mode, where a decoder's graph may save it

    def signal(sigma: Tensor) -> Tensor:
        return 1 - sigma if flow else torch.ones_like(sigma)

    def running() -> int:
        return report.steps + 1

    denoise = finite(predict if through_denoiser else predict_without_graph, DENOISER, running)
    ours = autoencoder(codec, plan, running, "vae")
    guide = None if draft is None else autoencoder(draft, plan, running, "draft_vae")
    given = model.latent_image if torch.count_nonzero(model.latent_image) else None
    return LatentModel(denoise, ours.encode, ours.decode, signal, guide, given)


def autoencoder(codec: Codec, plan: Plan, step: Callable[[], int], name: str) -> Autoencoder:
    """E and D of the VAE of this input, run as the plan says, and a stop at the first NaN."""
    planned = plan.coder(codec)
    return Autoencoder(finite(planned.encode, ENCODER, step, name), finite(planned.decode, DECODER, step, name))


def lacks_gradient(error: RuntimeError) -> bool:
    """Whether a run ended for want of a gradient: by our own checks, or by autograd's on a lost or forbidden graph."""
    autograd = (
        "Inference tensors cannot be saved",
        "Inplace update to inference tensor",
        "does not require grad",
        "modified by an inplace operation",
        "no autograd formula was registered",
    )
    return isinstance(error, GradientError) or any(words in str(error) for words in autograd)


def own_inpainting_inputs(model: KSamplerX0Inpaint, extra_args: dict, device: torch.device) -> None:
    """Replaces what a latent noise mask multiplies into the graph by copies that autograd may save."""
    for name in ("latent_image", "noise"):
        if getattr(model, name, None) is not None:
            setattr(model, name, own(getattr(model, name), device))
    if extra_args.get("denoise_mask") is not None:
        extra_args["denoise_mask"] = own(extra_args["denoise_mask"], device)


def outside_mask_as_given(model: KSamplerX0Inpaint, z: Tensor, sigma: Tensor, mask: Tensor | None) -> Tensor:
    """Latents z at level sigma; where a latent noise mask is 0, the given latent at that level, as of any sampler."""
    if mask is None:
        return z
    base = model.inner_model.inner_model
    given = base.scale_latent_inpaint(
        x=z, sigma=sigma.expand(len(z)), noise=model.noise, latent_image=model.latent_image
    )
    return mask * z + (1 - mask) * given


def see_in_windows(guider: object, options: dict, x: Tensor, vae: VAE, window: int) -> Windows | None:
    """Lets the model of a run see overlapping windows, where the picture is larger than what it was trained on."""
    grid = window_grid(tuple(x.shape[-2:]), guider.inner_model, spatial_factor(vae), window)
    if grid is None:
        return None
    check_windows(guider.conds, options)
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
