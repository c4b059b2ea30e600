"""The authors' own sampler and operators, out of a checkout of github LituRout/PSLD, on our prior.

Nothing there is edited: its DDIMSampler asks a LatentDiffusion model for a handful of attributes, which `LookAlike`
answers by a solver's three callables. Two things differ from its scripts: masks and motion kernels are those of our
task, where it draws its own from NumPy's global state, and there is no classifier-free guidance between two empty
prompts. Our reproduction (`solvers/reference.py`) takes the mean of the encoder's posterior, where this samples it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..devkit import DevError
from ..operators import GaussianBlur, InpaintMask, LinearOperator, SuperResolution
from ..operators.blur import CircularBlur
from ..operators.measurement import Measurement
from ..solvers import LatentModel
from ..solvers.latent import Callback, sign_hash
from .tasks import Task

NAME = "LituRout/PSLD"


@dataclass(frozen=True)
class Checkout:
    """What is used of it."""

    sampler: type
    get_operator: Callable[..., Any]
    get_noise: Callable[..., Any]


@dataclass(frozen=True)
class TheirOperator:
    """One of its operators, with the mask that some of them take at each call."""

    operator: Any
    mask: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        mask = {} if self.mask is None else {"mask": self.mask}
        return self.operator.forward(x.to(self.operator.device), **mask).to(x.device)

    def restrict(self, y: Tensor) -> Tensor:
        """y as it is: its scripts leave the noise in unknown pixels."""
        return y


def open_checkout(path: Path) -> Checkout:
    """Imports its modules. Raises DevError where they are not there."""
    folders = [path / "stable-diffusion", path / "diffusion-posterior-sampling"]
    if not (folders[0] / "ldm" / "models" / "diffusion" / "psld.py").is_file():
        raise DevError(f"--reference: {path} is no checkout of github.com/LituRout/PSLD; clone it and give its folder.")
    with unused_modules(), search_path(folders):
        psld = importlib.import_module("ldm.models.diffusion.psld")
        measurements = importlib.import_module("guided_diffusion.measurements")
    return Checkout(on_any_device(psld.DDIMSampler), measurements.get_operator, measurements.get_noise)


def weights(task: str) -> dict[str, float]:
    """Its gamma and omega for latent diffusion (stable-diffusion/run/inverse_*_ldm.sh), per step however many."""
    return {"gamma": 0.1, "omega": 0.9 if task == "super_resolution" else 0.1}


@contextlib.contextmanager
def search_path(folders: list[Path]) -> Iterator[None]:
    """Imports inside look into the folders first."""
    names = [str(folder) for folder in folders]
    sys.path[:0] = names
    try:
        yield
    finally:
        for name in names:
            sys.path.remove(name)


@contextlib.contextmanager
def unused_modules() -> Iterator[None]:
    """Stands in, during the import, for what it imports and we never call: plots, and a package of motion kernels."""
    names = {"matplotlib": {}, "matplotlib.pyplot": {}, "motionblur": {}, "motionblur.motionblur": {"Kernel": Kernel}}
    added = {name: content for name, content in names.items() if name not in sys.modules}
    for name, content in added.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


class Kernel:
    """A place for the motion kernel, which its operator takes afterwards by `update_weights`."""

    def __init__(self, size: tuple[int, int], intensity: float) -> None:
        self.kernelMatrix = np.zeros(size)


def on_any_device(sampler: type) -> type:
    """Its sampler without the one line that moves every buffer to CUDA; where they lie they serve as well."""

    class DDIMSampler(sampler):
        def register_buffer(self, name: str, value: Any) -> None:
            setattr(self, name, value)

    return DDIMSampler


class LookAlike:
    """The LatentDiffusion model that its sampler expects, in variance-preserving latents and timesteps."""

    parameterization = "eps"

    def __init__(self, model: LatentModel, training_sigmas: Tensor) -> None:
        """training_sigmas: the (T,) noise levels that the model was trained on, rising."""
        self.model, self.sigmas = model, training_sigmas
        self.device = training_sigmas.device
        self.num_timesteps = len(training_sigmas)
        self.alphas_cumprod = 1 / (1 + training_sigmas**2)
        self.alphas_cumprod_prev = torch.cat((torch.ones_like(self.alphas_cumprod[:1]), self.alphas_cumprod[:-1]))
        self.betas = 1 - self.alphas_cumprod / self.alphas_cumprod_prev

    def apply_model(self, z: Tensor, t: Tensor, condition: None) -> Tensor:
        """The predicted noise. At 1,000 steps its first t is 1,000, one too high: the last trained level serves."""
        sigma = self.sigmas[t[0].clamp(max=self.num_timesteps - 1)]
        z = z * self.model.scale(sigma)
        return (z - self.model.denoise(z, sigma)) / sigma

    def differentiable_decode_first_stage(self, z0: Tensor) -> Tensor:
        return self.model.decode(z0)

    def encode_first_stage(self, x: Tensor) -> Tensor:
        return self.model.encode(x)

    def get_first_stage_encoding(self, z0: Tensor) -> Tensor:
        return z0  # scaled already


def their_operator(checkout: Checkout, task: Task, A: LinearOperator, device: torch.device) -> TheirOperator:
    """Its operator for the task that A belongs to; equal to A but for the motion blur's border, which it reflects."""
    _, size, _ = A.image_shape
    if isinstance(A, InpaintMask):
        mask = A.mask.value.float().expand(1, 1, size, size).to(device)
        return TheirOperator(checkout.get_operator("inpainting", device=device), mask)
    if isinstance(A, SuperResolution):
        shape = {"in_shape": (1, *A.image_shape), "scale_factor": A.factor}
        return TheirOperator(checkout.get_operator("super_resolution", device=device, **shape))
    keywords = task.keywords(size / 64, 0)
    if isinstance(A, GaussianBlur):
        blur = {"kernel_size": keywords["kernel_size"], "intensity": keywords["sigma"]}
        return TheirOperator(checkout.get_operator("gaussian_blur", device=device, **blur))
    if isinstance(A, CircularBlur):
        blur = {"kernel_size": keywords["kernel_size"], "intensity": keywords["intensity"]}
        operator = checkout.get_operator("motion_blur", device=device, **blur)
        operator.conv.update_weights(point_response(A, keywords["kernel_size"]).flip(0, 1))  # it correlates
        return TheirOperator(operator)
    return TheirOperator(checkout.get_operator("noise", device=device))


def point_response(A: LinearOperator, kernel_size: int) -> Tensor:
    """The (kernel_size, kernel_size) kernel of a convolution: its picture of a point."""
    channels, height, width = A.image_shape
    x = torch.zeros(1, channels, height, width)
    x[..., height // 2, width // 2] = 1
    top, left = height // 2 - kernel_size // 2, width // 2 - kernel_size // 2
    return A(x)[0, 0, top : top + kernel_size, left : left + kernel_size]


def solver(
    checkout: Checkout,
    operator: TheirOperator,
    training_sigmas: Tensor,
    first_stage: nn.Module,
    noiser: Callable[[Tensor], Tensor],
    steps: int,
) -> Callable[..., Tensor]:
    """Its DDIMSampler as a solver of ours; `sigmas` only say where z starts, the levels between are its own.

    first_stage: ComfyUI's autoencoder, which the solver's encode and decode call.
    noiser: adds the fresh noise to A D(z0_hat), as its `get_noise` gives one.
    """

    def solve(
        model: LatentModel,
        measurement: Measurement,
        z: Tensor,
        sigmas: Tensor,
        *,
        gamma: float,
        omega: float,
        callback: Callback | None = None,
    ) -> Tensor:
        z = z / model.scale(sigmas[0])
        levels = training_sigmas.to(z.device, copy=True)  # no inference tensor, which autograd would refuse
        sampler = checkout.sampler(LookAlike(model, levels))
        weights = {"gamma": gamma, "omega": omega}
        with silence(), sampled_posterior(first_stage), torch.random.fork_rng():
            torch.manual_seed(sign_hash(z))  # of the noise it ignores at eta = 0, of the one it adds, and the encoder's
            return run_sampler(sampler, operator, measurement.y, z, noiser, steps, **weights)[0]

    return solve


def run_sampler(
    sampler: Any, operator: TheirOperator, y: Tensor, z: Tensor, noiser: Callable, steps: int, **options: Any
) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """Calls it as its script does for latent diffusion models: z0, and what it kept of the way there.

    z: variance-preserving noise (B, c, h, w); options: gamma, omega, and others of its `sample`.
    """
    inpainting = operator.mask is not None
    return sampler.sample(
        S=steps, batch_size=len(z), shape=z.shape[1:], x_T=z, verbose=False, measurements=y,
        operator=operator.operator, ip_mask=operator.mask, noiser=noiser, inpainting=inpainting,
        general_inverse=not inpainting, ffhq256=True, **options,
    )  # fmt: skip


@contextlib.contextmanager
def sampled_posterior(first_stage: nn.Module) -> Iterator[None]:
    """Lets the encoder draw from its posterior, by ComfyUI's own switch; one without a posterior (VQ) has none."""
    regularization = getattr(first_stage, "regularization", None)
    if not hasattr(regularization, "sample"):
        yield
        return
    before, regularization.sample = regularization.sample, True
    try:
        yield
    finally:
        regularization.sample = before


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """It prints its loss at each step."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
