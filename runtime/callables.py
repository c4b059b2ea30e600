"""What ComfyUI hands to a sampler, as the three callables that solvers take: denoise, encode, decode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import comfy.model_management
import comfy.model_sampling
import torch
from comfy.samplers import KSamplerX0Inpaint
from torch import Tensor

from ..solvers import Autoencoder, LatentModel
from .autograd import own
from .codec import Codec
from .finite import DECODER, DENOISER, ENCODER, Watch
from .half import scaled
from .memory import Plan
from .report import Report


def latent_model(
    model: KSamplerX0Inpaint,
    codec: Codec,
    draft: Codec | None,
    extra_args: dict,
    report: Report,
    images: int,
    through_denoiser: bool,
    plan: Plan,
    watch: Watch,
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

    denoise = watch.over(predict if through_denoiser else predict_without_graph, DENOISER)
    ours = autoencoder(codec, plan, watch, "vae")
    guide = None if draft is None else autoencoder(draft, plan, watch, "draft_vae")
    given = model.latent_image if torch.count_nonzero(model.latent_image) else None
    return LatentModel(denoise, ours.encode, ours.decode, signal, guide, given)


def of_unit_variance(latent: LatentModel, spread: float) -> LatentModel:
    """The model as solvers assume it, of latents and noise levels divided by the standard deviation of its data."""
    if spread == 1:
        return latent

    def scaled_coder(coder: Autoencoder | LatentModel) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        return (lambda x: coder.encode(x) / spread), (lambda z0: coder.decode(z0 * spread))

    return LatentModel(
        lambda z, sigma: latent.denoise(z * spread, sigma * spread) / spread,
        *scaled_coder(latent),
        latent.signal,
        None if latent.draft is None else Autoencoder(*scaled_coder(latent.draft)),
        None if latent.start is None else latent.start / spread,
    )


def autoencoder(codec: Codec, plan: Plan, watch: Watch, name: str) -> Autoencoder:
    """E and D of the VAE of this input, run as the plan says, and watched."""
    planned = plan.coder(codec)
    return Autoencoder(watch.over(planned.encode, ENCODER, name), watch.over(planned.decode, DECODER, name))


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
