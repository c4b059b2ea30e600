"""What a solver asks of the networks: passes and seconds, counted around the three callables."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from ..solvers import Autoencoder, LatentModel, Method


@dataclass
class Passes:
    """Passes of each network for one image, forwards unless said; n candidates of it in one call are n.

    draft: decodings and encodings by a draft VAE.
    """

    unet_forward: int = 0
    unet_backward: int = 0
    decoder: int = 0
    encoder: int = 0
    draft: int = 0


@dataclass
class Cost:
    """Filled while a solver runs: passes, and seconds without loading and without the last decoding.

    seconds: by the clock; cpu_seconds: of this process's threads, which other processes disturb less.
    """

    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def metered(method: Method, parameters: dict[str, Any], cost: Cost, tick: Callable[[], None]) -> Method:
    """The method with these parameters, whatever its caller says; what it costs is written into `cost`.

    tick: called at each network evaluation.
    """

    def solve(model: LatentModel, measurement: Measurement, z: Tensor, sigmas: Tensor, **options: Any) -> Tensor:
        started, cpu_started = now(), time.process_time()
        try:
            model = counted(model, cost.passes, len(z), tick)
            return method.solve(model, measurement, z, sigmas, **{**options, **parameters})
        finally:
            cost.seconds, cost.cpu_seconds = now() - started, time.process_time() - cpu_started

    return replace(method, solve=solve)


def drafted(method: Method, draft: Autoencoder | None) -> Method:
    """The method with a draft for the model's autoencoder, if it takes one and there is one."""
    if draft is None or not method.takes_draft:
        return method

    def solve(model: LatentModel, *args: Any, **options: Any) -> Tensor:
        return method.solve(replace(model, draft=draft), *args, **options)

    return replace(method, solve=solve)


def counted(model: LatentModel, passes: Passes, images: int, tick: Callable[[], None]) -> LatentModel:
    """The model, counting for so many images. A backward pass is one gradient that arrives at the denoiser's input."""

    def denoise(z: Tensor, sigma: Tensor) -> Tensor:
        passes.unet_forward += len(z) // images
        tick()
        if z.requires_grad and torch.is_grad_enabled():
            z = z.view_as(z)  # a node of its own, which sees only what comes through the denoiser
            z.register_hook(backward)
        return model.denoise(z, sigma)

    def backward(gradient: Tensor) -> None:
        passes.unet_backward += len(gradient) // images

    def encode(x: Tensor) -> Tensor:
        passes.encoder += len(x) // images
        return model.encode(x)

    def decode(z0: Tensor) -> Tensor:
        passes.decoder += len(z0) // images
        return model.decode(z0)

    def drafted(coder: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            passes.draft += len(x) // images
            return coder(x)

        return run

    draft = model.draft and Autoencoder(drafted(model.draft.encode), drafted(model.draft.decode))
    return replace(model, denoise=denoise, encode=encode, decode=decode, draft=draft)


def now() -> float:
    """Seconds of a clock, with all work on the device done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
