"""Latents that a user gives a sampler: a noise mask, denoise below 1, runs in two halves; and what ends as NaN."""

from __future__ import annotations

import comfy.samplers
import pytest
import torch
from PIL import Image
from psld.nodes.loading import PRIORS
from psld.operators.masks import InpaintBox
from psld.operators.measurement import Measurement
from psld.runtime import finite
from psld.runtime.half import scaled
from psld.runtime.ldm import load_ldm
from psld.runtime.sampler import posterior_sampler
from psld.training.data import pixels, squares
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("single_thread")

SAMPLES = PRIORS.parent / "workflows" / "samples"
OPERATOR = InpaintBox((3, 64, 64), 16, (24, 24))
PHOTO = pixels(squares([Image.open(SAMPLES / "hand_five.png").convert("RGB")], 64))
HOLE = (..., slice(7, 9), slice(7, 9))
DOWN = torch.tensor([10.0, 2.0, 0.5, 0.2, 0.0])


@pytest.fixture(scope="module")
def prior():
    """The embedded prior's model and VAE."""
    return load_ldm(PRIORS / "hands64.safetensors")


def latents(batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(batch, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def run(prior, method: str, sigmas: Tensor, noise: Tensor, given: Tensor | None = None, mask: Tensor | None = None):
    """What a sampler node makes of these, for a hand with a hole."""
    model, vae = prior
    y = OPERATOR(PHOTO.expand(len(noise), -1, -1, -1))
    sampler = posterior_sampler(Measurement(y, OPERATOR, 0.05), vae, method)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds([[None, {}]], [])
    guider.set_cfg(1.0)
    given = torch.zeros_like(noise) if given is None else given
    return guider.sample(noise, given, sampler, sigmas, denoise_mask=mask, seed=0).cpu()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
def test_outside_a_latent_noise_mask_the_given_latent_stays(prior, method):
    given, mask = latents(2, 1), torch.zeros(1, 1, 16, 16)
    mask[..., 4:12] = 1
    mask[..., 3] = 0.5
    z = run(prior, method, DOWN, latents(2), given, mask)
    assert torch.allclose(z[..., :3], given[..., :3], atol=1e-5)
    assert (z - given)[..., 4:12].abs().mean() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Glued MAP", "Proximal gluing", "Local MAP", "LatentDAPS"])
def test_at_low_noise_a_run_stays_near_the_given_latent(prior, method):
    model, vae = prior
    with torch.inference_mode():
        truth, filled = (
            model.model.process_latent_in(vae.encode((x.movedim(1, -1) + 1) / 2)).cpu()
            for x in (PHOTO, OPERATOR.pinv(OPERATOR(PHOTO)))
        )
    z = run(prior, method, torch.tensor([0.15, 0.1, 0.0]), latents(), model.model.process_latent_out(truth))
    moved, away = (float((z - start)[HOLE].square().mean().sqrt()) for start in (truth, filled))
    assert moved < away / 2


@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
def test_a_second_half_goes_on_from_the_noise_of_the_first(prior, method):
    first = run(prior, method, DOWN[:3], latents())
    assert torch.isfinite(first).all()
    second = run(prior, method, DOWN[2:], torch.zeros_like(first), first)
    assert torch.isfinite(second).all()
    one, two = (float((z - second)[..., 4:12, 4:12].square().mean().sqrt()) for z in (first, latents(seed=9)))
    assert one < two


@pytest.mark.parametrize(("method", "waits"), [("Glued MAP", False), ("Glued MAP", True), ("PSLD", True)])
@pytest.mark.parametrize("part", ["encoder", "decoder", "model"])
def test_the_first_nan_stops_the_run_and_says_where(prior, part, method, waits, monkeypatch):
    """At once, or where each answer would be waited for (GPUs), at the end of the step."""
    model, vae = prior
    monkeypatch.setattr(finite, "AT_ONCE", set() if waits else {"cpu", "cuda"})
    networks = {"encoder": vae.first_stage_model.encoder, "decoder": vae.first_stage_model.decoder}
    networks["model"] = model.model.diffusion_model
    seen = []

    def spoil(_, __, output):
        seen.append(part)
        return output.masked_fill(torch.arange(len(output), device=output.device).view(-1, 1, 1, 1) == 0, torch.nan)

    hook = networks[part].register_forward_hook(spoil)
    who = "model: it" if part == "model" else f"vae: its {part}"
    try:
        with pytest.raises(RuntimeError, match=rf"{who} gave NaN or infinite values at step 1; .*--fp32"):
            run(prior, method, DOWN, latents())
    finally:
        hook.remove()
    assert len(seen) == 1 or waits
    assert torch.isfinite(run(prior, method, DOWN[-2:], latents())).all()


def test_gradients_of_half_precision_do_not_underflow():
    network = nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    half = nn.Conv2d(3, 3, 3, padding=1, dtype=torch.float16).requires_grad_(False)
    half.load_state_dict({key: value.half() for key, value in network.state_dict().items()})
    x = torch.rand(2, 3, 8, 8)
    weights = torch.tensor([1e-10, 1e-4]).view(-1, 1, 1, 1)  # fp16 has nothing between 0 and 6e-8

    def gradient(function, x: Tensor, weights: Tensor = weights) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad((weights * function(x)).sum(), x)[0]

    def plain(x: Tensor) -> Tensor:
        return half(x.half()).float()

    exact, kept = gradient(network, x), gradient(scaled(plain, torch.float16), x)
    assert (gradient(plain, x)[0] == 0).all()
    for ours, theirs in zip(kept, exact, strict=True):
        assert torch.allclose(ours, theirs, rtol=0.01, atol=0.01 * float(theirs.abs().max()))
    single = gradient(scaled(plain, torch.float16), x[:1], weights[:1])
    assert torch.equal(single, kept[:1])
