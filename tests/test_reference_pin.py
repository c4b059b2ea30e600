"""Our reproduction of the authors' update against their own code, step by step; PSLD_REFERENCE names a checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from psld.benchmarks import reference
from psld.benchmarks.tasks import TASKS
from psld.operators.measurement import Measurement
from psld.solvers import LatentModel, psld_reference
from psld.solvers.latent import NoiseSource
from torch import Tensor, nn

PATH = os.environ.get("PSLD_REFERENCE")
needs_checkout = pytest.mark.skipif(not PATH, reason="PSLD_REFERENCE names no checkout of LituRout/PSLD")
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # their code, with NumPy 2
SIZE, STEPS = 32, 10
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkout() -> reference.Checkout:
    return reference.open_checkout(Path(PATH))


def training_sigmas() -> Tensor:
    """Of 1,000 levels, with the embedded prior's schedule."""
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
    alphas = (1 - betas).cumprod(0)
    return ((1 - alphas) / alphas).sqrt().float()


def latent_model() -> LatentModel:
    """Small smooth networks with random weights: f4, 4 channels."""
    unet = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 4, 3, padding=1))
    encoder = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.Tanh(), nn.Conv2d(16, 4, 1))
    decoder = nn.Sequential(nn.Conv2d(4, 16, 1), nn.Tanh(), nn.ConvTranspose2d(16, 3, 4, stride=4))
    for network in (unet, encoder, decoder):
        network.requires_grad_(False)

    def denoise(z: Tensor, sigma: Tensor) -> Tensor:
        vp = z / (1 + sigma**2).sqrt()
        return z - sigma * unet(vp)

    return LatentModel(denoise, encoder, decoder)


@needs_checkout
@pytest.mark.parametrize("name", ["super_resolution", "random_inpainting", "gaussian_deblur", "denoising"])
def test_every_step_of_the_reproduction_is_the_authors(name: str, checkout: reference.Checkout) -> None:
    task, model, levels = TASKS[name], latent_model(), training_sigmas()
    A = task.bind(SIZE, 0)
    theirs = reference.their_operator(checkout, task, A, CPU)
    y = A(torch.rand(1, 3, SIZE, SIZE) * 2 - 1)
    z = torch.randn(1, 4, SIZE // 4, SIZE // 4)
    weights = reference.weights(name)

    source = NoiseSource(z)
    sampler = checkout.sampler(reference.LookAlike(model, levels))
    with reference.silence():
        _, kept = reference.run_sampler(
            sampler, theirs, y, z, lambda y: y + 0.05 * source.like(y), STEPS, log_every_t=1, **weights
        )

    alphas = 1 / (1 + levels**2)
    used = [*range(901, 0, -100), 0]  # the timesteps of its schedule, down to the lowest trained level
    sigmas = levels[used]
    steps = []
    psld_reference(model, Measurement(y, A, 0.05), z / alphas[901].sqrt(), sigmas, callback=steps.append, **weights)
    assert len(steps) == STEPS == len(kept["x_inter"]) - 1
    for step, sigma, theirs_z, theirs_z0 in zip(
        steps, sigmas[1:], kept["x_inter"][1:], kept["pred_x0"][1:], strict=True
    ):
        torch.testing.assert_close(step.z / model.scale(sigma), theirs_z, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(step.z0_hat, theirs_z0, rtol=1e-4, atol=1e-4)
    free = psld_reference(model, Measurement(y, A, 0.05), z / alphas[901].sqrt(), sigmas, gamma=0.0, omega=0.0)
    assert (free - steps[-1].z).abs().max() > 0.1  # so the gradients are part of what was compared


@needs_checkout
@pytest.mark.parametrize("name", TASKS)
def test_its_operators_are_ours(name: str, checkout: reference.Checkout) -> None:
    A = TASKS[name].bind(64, 3)
    theirs = reference.their_operator(checkout, TASKS[name], A, CPU)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    difference = (theirs(x) - A(x)).abs()
    if name == "motion_deblur":  # it reflects at the border, ours is circular
        difference = difference[..., 6:-6, 6:-6]
    assert difference.max() < 1e-5


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="--reference: .* is no checkout of github.com/LituRout/PSLD"):
        reference.open_checkout(tmp_path)
