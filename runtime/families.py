"""Which of the models that ComfyUI loads are priors of images, and what some of them cannot do."""

from __future__ import annotations

import comfy.model_base
from comfy.model_patcher import ModelPatcher

FRAMES = ("QwenImage", "Krea2", "JoyImage", "Anima", "CosmosPredict2")
"""Image models whose latents have a frame axis of length one, as those of Wan's VAE (by name of the class)."""

NO_PRIOR = {  # class -> what it is
    "SVD_img2vid": "a video model",
    "SV3D_u": "a model of turning views",
    "SV3D_p": "a model of turning views",
    "Stable_Zero123": "a model of turned views",
    "Lotus": "a predictor of depth or normals, no diffusion model",
    "StableCascade_C": "the first of Stable Cascade's two stages, whose decoder is a diffusion model itself",
    "StableCascade_B": "the second of Stable Cascade's stages, which needs the first one's result",
    "PiD": "a decoder of latents",
    "TripoSplat": "a model of 3-d splats",
}
INSTEAD = "load an image model such as Stable Diffusion, FLUX or Qwen-Image"


def bases(model: comfy.model_base.BaseModel) -> set[str]:
    """Names of a model's class and of those it inherits from."""
    return {kind.__name__ for kind in type(model).__mro__}


def latent_dimensions(patcher: ModelPatcher) -> int:
    """2 for latents (B, c, h, w), 3 with a frame axis, 1 for audio and the like."""
    return getattr(patcher.get_model_object("latent_format"), "latent_dimensions", 2)


def check_prior(patcher: ModelPatcher) -> None:
    """ValueError, in a sentence, for a model that does not denoise images, or not in a way that solvers know."""
    model, name = patcher.model, type(patcher.model).__name__
    kinds = bases(model)
    for kind, what in NO_PRIOR.items():
        if kind in kinds:
            raise ValueError(f"model: {name} is {what}, and cannot restore photos; {INSTEAD}.")
    if getattr(model, "image_to_video", False):
        raise ValueError(f"model: {name} makes a video of a picture, and cannot restore photos; {INSTEAD}.")
    axes = latent_dimensions(patcher)
    if axes == 1 or axes == 3 and not kinds.intersection(FRAMES):
        what = "3-d latents of video" if axes == 3 else "latents of audio or shapes"
        raise ValueError(f"model: {name} works on {what}, and cannot restore photos; {INSTEAD}.")
    scale = float(getattr(patcher.get_model_object("model_sampling"), "noise_scale", 1.0))
    if scale != 1:
        raise ValueError(
            f"model: its noise is scaled by {scale:g} (HiDream-O1, or the node ModelNoiseScale), which no method here "
            f"takes into account; {INSTEAD}, or remove that node."
        )


def check_gradient_through(patcher: ModelPatcher) -> None:
    """ValueError where a gradient through the model would be missing or incomplete."""
    instead = "choose a method without gradients through the model (Glued MAP, Proximal gluing)"
    if "HiDream" in bases(patcher.model):
        raise ValueError(f"method: the gradient through HiDream's experts is cut off inside the model; {instead}.")
    if "multigpu_clones" in patcher.model_options:
        raise ValueError(f"method: over several GPUs the model has no gradient; {instead}, or use one GPU.")


def check_loaded(patcher: ModelPatcher) -> None:
    """ValueError where a model that gradients go through is not wholly on the device: the rest is one reused buffer."""
    missing = patcher.model_size() - patcher.loaded_size()
    if getattr(patcher.model, "model_lowvram", False) and missing > 0:
        raise ValueError(
            f"model: {missing / 2**30:.1f} GiB of it do not fit into memory, and gradients need it there as a whole; "
            "choose a method without gradients through the model (Glued MAP, Proximal gluing), or a smaller picture."
        )
