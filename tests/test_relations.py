"""Autoencoders of another family with latents of the same shape: found before the first step, and nothing else is."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from comfy import latent_formats
from psld.nodes.loading import PRIORS
from psld.operators import Identity
from psld.operators.measurement import Measurement
from psld.runtime.ldm import load_ldm
from psld.runtime.relations import FORMATS, check_relations, small_picture
from psld.solvers import LatentModel
from psld.tests.families import load_vae
from psld.tests.ldm import photo
from psld.tests.prompts import call
from torch.nn.functional import avg_pool2d, interpolate

pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture(scope="module")
def measured() -> Measurement:
    """A hand of 128 pixels."""
    x = interpolate(photo().movedim(-1, 1) * 2 - 1, size=(128, 128), mode="area")
    return Measurement(x, Identity((3, 128, 128)), 0.05)


def linear(kind, seen_by) -> LatentModel:
    """The autoencoder that ComfyUI's previews of a family come of, in the scaling of a model of this or another."""
    ours, theirs = kind(), seen_by()
    factors, bias = torch.tensor(ours.latent_rgb_factors), torch.tensor(ours.latent_rgb_factors_bias or [0.0] * 3)

    def encode(x: torch.Tensor) -> torch.Tensor:
        small = avg_pool2d(x, 8) - bias.view(-1, 1, 1)
        return theirs.process_in(ours.process_out(torch.einsum("bchw,cr->brhw", small, torch.linalg.pinv(factors))))

    def decode(z0: torch.Tensor) -> torch.Tensor:
        z0 = ours.process_in(theirs.process_out(z0))
        return interpolate(torch.einsum("bchw,cr->brhw", z0, factors) + bias.view(-1, 1, 1), scale_factor=8)

    return LatentModel(denoise=None, encode=encode, decode=decode)


SAME_SHAPE = [(a, b) for a, b in itertools.permutations(FORMATS, 2) if a.latent_channels == b.latent_channels]


@pytest.mark.parametrize(("kind", "seen_by"), SAME_SHAPE, ids=lambda kind: FORMATS[kind])
def test_a_vae_of_another_family_is_refused_by_name(kind, seen_by, measured):
    check_relations(linear(kind, kind), measured, kind(), 8)
    with pytest.raises(ValueError, match="vae: its latents are those of") as refusal:
        check_relations(linear(kind, seen_by), measured, seen_by(), 8)
    assert f"those of {FORMATS[kind]}, but the model's those of {FORMATS[seen_by]};" in str(refusal.value)


@pytest.mark.parametrize("kind", FORMATS, ids=FORMATS.get)
def test_random_weights_are_no_other_family(kind, measured):
    stage = load_vae(kind.latent_channels, 8, 2).first_stage_model
    model = LatentModel(None, lambda x: kind().process_in(stage.encode(x)), stage.decode)
    with torch.inference_mode():
        check_relations(model, measured, kind(), 8)


def test_a_picture_that_says_nothing_is_not_tried(measured):
    flat = Measurement(torch.zeros(1, 3, 64, 64), Identity((3, 64, 64)), 0.05)
    check_relations(linear(latent_formats.SDXL, latent_formats.SD15), flat, latent_formats.SD15(), 8)
    (mixed,) = call("Greyscale", red=0.3, green=0.6, blue=0.1)
    grey = call("Measure", image=photo(), operator=mixed, noise="gaussian", sigma=0.05, seed=1)[0]
    assert small_picture(grey, 8) is None
    large = Measurement(torch.zeros(2, 3, 480, 640), Identity((3, 480, 640)), 0.05)
    assert small_picture(large, 8).shape == (1, 3, 192, 256)


@pytest.fixture(scope="module")
def prior():
    return load_ldm(PRIORS / "hands64.safetensors")


@pytest.mark.parametrize("method", ["Glued MAP", "MMPS"])
def test_a_draft_with_other_latents_is_refused(method, prior):
    """The prior's own autoencoder with its latents' channels in another order; as it is, it is its own best draft."""
    model, vae = prior
    other = copy.copy(vae)
    other.first_stage_model = copy.deepcopy(vae.first_stage_model)
    other.patcher = type(vae.patcher)(other.first_stage_model, vae.patcher.load_device, vae.patcher.offload_device)
    convolution = other.first_stage_model.decoder.conv_in
    convolution.weight.data = convolution.weight.data[:, [2, 0, 3, 1]]
    small = interpolate(photo().movedim(-1, 1), size=(64, 64), mode="area").movedim(1, -1)
    (operator,) = call("SuperResolution", factor=2.0, kernel="bicubic")
    measurement = call("Measure", image=small, operator=operator, noise="gaussian", sigma=0.05, seed=1)[0]

    def run(draft) -> torch.Tensor:
        return call(
            "KSampler", model=model, vae=vae, measurement=measurement, seed=1, steps=1, cfg=1.0, scheduler="auto",
            gamma=-1.0, omega=-1.0, method=method, candidates=1, draft_vae=draft,
        )[1]  # fmt: skip

    assert torch.isfinite(run(vae)).all()
    with pytest.raises(ValueError, match="draft_vae: it makes another picture .* taesdxl for SDXL"):
        run(other)
