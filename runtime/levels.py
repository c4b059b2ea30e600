"""Noise levels for a run: ComfyUI's schedulers, and the one that suits a method."""

from __future__ import annotations

import comfy.model_sampling
import comfy.samplers
from comfy.k_diffusion.sampling import get_sigmas_exponential
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..solvers import Method

AUTO, AS_TRAINED = "auto", "ddim_uniform"


def schedulers() -> list[str]:
    """Ours and ComfyUI's, to which packs that load later may add."""
    return [AUTO, *comfy.samplers.SCHEDULER_NAMES]


def noise_levels(model: ModelPatcher, scheduler: str, steps: int, method: Method) -> Tensor:
    """(steps + 1,) sigmas from high to zero, one fewer or more where the scheduler is so made.

    "auto" spaces the levels that the method asks for evenly in their logarithm, within those the model was trained on;
    for a method that asks for none it is "ddim_uniform". ValueError for an unknown scheduler.
    """
    if scheduler not in schedulers():
        raise ValueError(f"scheduler: {scheduler!r} is not one of {', '.join(schedulers())}.")
    sampling = model.get_model_object("model_sampling")
    if scheduler == AUTO and method.levels is not None:
        return spaced(sampling, steps, *method.levels)
    return comfy.samplers.calculate_sigmas(sampling, AS_TRAINED if scheduler == AUTO else scheduler, steps)


def data_spread(sampling: comfy.model_sampling.ModelSamplingDiscrete) -> float:
    """Standard deviation of the latents that a model was trained on; 1 but for EDM's (Playground 2.5: 0.5)."""
    return float(getattr(sampling, "sigma_data", 1.0))


def spaced(sampling: comfy.model_sampling.ModelSamplingDiscrete, steps: int, high: float, low: float) -> Tensor:
    """Levels between high and low, given for latents z0 + sigma noise, z0 of unit variance.

    Flow models have (1 - s) z0 + s noise.
    """
    smallest, largest = float(sampling.sigma_min), float(sampling.sigma_max)
    if not isinstance(sampling, comfy.model_sampling.CONST):
        unit = data_spread(sampling)
        return get_sigmas_exponential(steps, max(low * unit, smallest), min(high * unit, largest)).float()
    sigmas = get_sigmas_exponential(steps, low, high)
    return (sigmas / (1 + sigmas)).clamp(max=largest).float()
