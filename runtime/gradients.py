"""The autograd mode that a solver needs, and what is said where a gradient is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from comfy.model_patcher import ModelPatcher

from ..solvers import GradientError, Method
from .autograd import differentiable, mutable_saved_tensors
from .windows import control_chain


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
