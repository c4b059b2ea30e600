"""Each family of models restores a picture, with gradients through the model or without, or says why not."""

from __future__ import annotations

import comfy.sample
import pytest
import torch
from psld.nodes.loading import PRIORS, EmptyLatent
from psld.nodes.sampling import restore
from psld.operators.masks import InpaintBox
from psld.operators.measurement import Measurement
from psld.runtime import families
from psld.runtime.checks import check_pair
from psld.runtime.estimates import Tier
from psld.runtime.memory import Plan
from psld.tests.families import ALL, FAMILIES, HERE, NO_GRADIENT, load, load_vae

pytestmark = pytest.mark.usefixtures("single_thread")


@torch.inference_mode()
def restored(model, vae, conditioning, method: str, side: int = 64) -> torch.Tensor:
    """Two steps for a picture with a hole."""
    operator = InpaintBox((3, side, side), 16)
    with torch.inference_mode(False):
        x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
        measurement = Measurement(operator(x), operator, 0.05)
    prompts = (conditioning, None, 1.0)
    latent, image, _ = restore(
        model, vae, measurement, 0, method, {"candidates": 1}, ("auto", 2), prompts, keep_measured=False
    )
    assert image.shape == (1, side, side, 3) and torch.isfinite(image).all()
    return latent


@torch.inference_mode()
def stock(model, conditioning, like: torch.Tensor) -> torch.Tensor:
    """Two steps of the stock sampler."""
    empty = torch.zeros_like(like)
    noise = comfy.sample.prepare_noise(empty, 0)
    text = (conditioning, conditioning)
    return comfy.sample.sample(model, noise, 2, 1.0, "euler", "simple", *text, empty, disable_pbar=True, seed=0)


@pytest.mark.parametrize("family", HERE, ids=lambda family: family.name)
def test_families(family):
    model, vae, conditioning = load(family)
    if family.works_here not in (ALL, NO_GRADIENT):
        with pytest.raises(ValueError, match=family.works_here):
            restored(model, vae, conditioning, "Glued MAP")
        return
    shape = (1, family.latents[0], *(1,) * (family.latents[2] - 2), *2 * (family.side // family.latents[1],))
    before = stock(model, conditioning, torch.zeros(shape))
    plain = restored(model, vae, conditioning, "Glued MAP", family.side)
    assert plain.shape == shape
    if family.works_here == NO_GRADIENT:
        with pytest.raises((ValueError, RuntimeError), match="choose a method without gradients through the model"):
            restored(model, vae, conditioning, "PSLD", family.side)
    else:
        assert not torch.equal(restored(model, vae, conditioning, "PSLD", family.side), plain)
    assert torch.equal(stock(model, conditioning, torch.zeros(shape)), before)


def test_weighing_changes_nothing_even_where_a_model_adds_in_place(monkeypatch):
    flux = next(family for family in HERE if family.name == "FLUX.1 dev")
    certain, weighed = Plan.of.__func__, []

    def doubting(cls, *arguments):
        plan = certain(cls, *arguments)
        plan.doubtful, plan.weighed = True, (keys := set())
        weighed.append(keys)
        return plan

    surely = restored(*load(flux), "PSLD")
    monkeypatch.setattr(Plan, "of", classmethod(doubting))
    assert torch.equal(restored(*load(flux), "PSLD"), surely)
    assert len(weighed[0]) == 3  # the model, the decoder and the encoder


@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
def test_a_model_of_latents_with_another_spread_restores_alike(method):
    """Playground 2.5 was trained on latents of standard deviation 0.5; and the same network on those of 1."""
    family = next(family for family in HERE if family.name == "Playground 2.5")
    (model, vae, text), (twin, *_) = load(family), load(family)
    sampling = twin.model.model_sampling
    assert model.model.model_sampling.sigma_data == 0.5
    sampling.set_parameters(2 * float(sampling.sigma_min), 2 * float(sampling.sigma_max), 1.0)
    timestep, twin.model.latent_format.scale_factor = sampling.timestep, 1.0
    sampling.timestep = lambda sigma: timestep(sigma / 2)
    expected = restored(twin, vae, text, method)
    torch.testing.assert_close(restored(model, vae, text, method), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["SDXL", "FLUX.1 dev", "Chroma", "Qwen-Image"])
def test_blocks_run_again_where_they_change_their_inputs(name, monkeypatch):
    """Transformers of the Flux family add to them in place; Wan's VAE counts its layers in a list that it hands on."""
    family = next(family for family in HERE if family.name == name)
    surely, certain = restored(*load(family), "PSLD"), Plan.of.__func__

    def lean(cls, *arguments):
        plan = certain(cls, *arguments)
        plan.tiers = [Tier(blocks=True)]
        return plan

    monkeypatch.setattr(Plan, "of", classmethod(lean))
    torch.testing.assert_close(restored(*load(family), "PSLD"), surely, atol=1e-4, rtol=1e-4)


def test_an_empty_latent_has_the_frame_axis_of_its_vae():
    vae = load_vae(16, 8, 3)
    assert EmptyLatent.execute(vae, 96, 64, 2).args[0]["samples"].shape == (2, 16, 1, 8, 12)


def test_only_families_of_newer_versions_are_missing():
    assert {family.name for family in FAMILIES} - {family.name for family in HERE} <= {"Krea 2"}


def test_families_are_those_of_the_documentation():
    lines = (PRIORS.parent / "docs" / "models.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    documented = {name: (latents.split(",")[0], methods) for name, latents, _, methods, _ in rows}
    words = {ALL: "all", NO_GRADIENT: f"all {NO_GRADIENT}"}
    expected = {
        family.name: (f"{family.latents[0]} x 1/{family.latents[1]}", words.get(family.works, "refused"))
        for family in FAMILIES
    }
    assert documented == expected


@pytest.fixture(scope="module")
def sd15():
    """Model and VAE of the first family."""
    return load(FAMILIES[0])[:2]


def test_noise_of_another_scale_is_refused(sd15, monkeypatch):
    monkeypatch.setattr(sd15[0].model.model_sampling, "noise_scale", 8.0, raising=False)
    with pytest.raises(ValueError, match="model: its noise is scaled by 8 .* ModelNoiseScale"):
        check_pair(*sd15)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"first_stage_model": None}, "vae: the checkpoint has none"),
        ({"output_channels": 4}, "vae: it decodes to 4 channels"),
        ({"upscale_ratio": 4}, "vae: it makes 8 pixels one latent but one latent 4 pixels"),
        ({"latent_channels": 16}, "vae: its latents have 16 channels, but the model's have 4 channels"),
        ({"latent_dim": 3}, "vae: its latents have 4 channels and a frame axis, but the model's have 4 channels"),
    ],
)
def test_a_vae_that_does_not_fit_is_refused(sd15, monkeypatch, attributes, words):
    for name, value in attributes.items():
        monkeypatch.setattr(sd15[1], name, value)
    with pytest.raises(ValueError, match=words):
        check_pair(*sd15)


def test_no_gradient_goes_through_a_model_over_several_gpus_or_partly_loaded(sd15, monkeypatch):
    model = sd15[0]
    families.check_gradient_through(model)
    families.check_loaded(model)
    monkeypatch.setitem(model.model_options, "multigpu_clones", {})
    with pytest.raises(ValueError, match="several GPUs"):
        families.check_gradient_through(model)
    monkeypatch.setattr(model.model, "model_lowvram", True)
    monkeypatch.setattr(model.model, "model_loaded_weight_memory", 0)
    with pytest.raises(ValueError, match="GiB of it do not fit"):
        families.check_loaded(model)
