"""The memory plan: its tiers give the same picture, and a run that runs out of memory ends with it all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import pytest
import torch
from psld.nodes.loading import EMBEDDED, checkpoint_path
from psld.runtime.autograd import differentiable
from psld.runtime.codec import Codec
from psld.runtime.estimates import Run, Tier, refuse_too_large
from psld.runtime.kept import kept_bytes
from psld.runtime.kernels import exact_kernels
from psld.runtime.ldm import load_ldm
from psld.runtime.memory import Plan, Stage
from psld.solvers import METHODS
from psld.tests.ldm import photo
from psld.tests.prompts import call
from torch._subclasses.fake_tensor import FakeTensorMode

STEPS = 3


@pytest.fixture(scope="module", autouse=True)
def few_threads(single_thread):
    pass


@pytest.fixture(scope="module")
def prior():
    return load_ldm(checkpoint_path(EMBEDDED + "hands64.safetensors"))


@pytest.fixture(scope="module")
def measurement(prior):
    """Two blurred hands of 32 pixels."""
    small = torch.nn.functional.interpolate(photo().movedim(-1, 1), size=(32, 32), mode="area").movedim(1, -1)
    (operator,) = call("GaussianBlur", sigma=1.5, boundary="circular", kernel_size=9)
    return call("Measure", image=small.repeat(2, 1, 1, 1), operator=operator, noise="gaussian", sigma=0.05, seed=1)[0]


def run(prior, measurement, method: str) -> list:
    model, vae = prior
    return call(
        "KSampler", model=model, vae=vae, measurement=measurement, seed=1, steps=STEPS, cfg=1.0, scheduler="auto",
        gamma=-1.0, omega=-1.0, method=method, candidates=2, keep_measured=False,
    )  # fmt: skip


def restore(prior, measurement, method: str) -> torch.Tensor:
    return run(prior, measurement, method)[0]["samples"]


@contextmanager
def out_of_memory(module: torch.nn.Module, at: int, backward: bool = False) -> Iterator[list[int]]:
    """Inside, a module's call number `at`, or the backward of its call `at` with a graph, runs out of memory.

    Gives the number of such calls.
    """
    calls = [0]

    def fail(*_) -> None:
        raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory (as a test has it)")

    def hook(_, inputs: tuple, output: torch.Tensor) -> None:
        if backward and not output.requires_grad:
            return
        calls[0] += 1
        if calls[0] != at:
            return
        if not backward:
            fail()
        output.register_hook(fail)

    handle = module.register_forward_hook(hook)
    try:
        yield calls
    finally:
        handle.remove()


def networks(prior) -> dict[str, torch.nn.Module]:
    model, vae = prior
    return {"unet": model.model.diffusion_model, "decoder": vae.first_stage_model.decoder,
            "encoder": vae.first_stage_model.encoder}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "name"),
    [("Glued MAP", "unet"), ("Glued MAP", "decoder"), ("PSLD", "unet"), ("Proximal gluing", "encoder")],
)
def test_out_of_memory_at_any_call_ends_with_the_picture(method, name, prior, measurement, caplog):
    """One tier lower from there on, from the same latent under the same noise."""
    module = networks(prior)[name]
    with out_of_memory(module, at=0) as calls:
        whole = restore(prior, measurement, method)
    for at in {1, calls[0] // 2, calls[0] - 1} - {0}:
        caplog.clear()
        with caplog.at_level(logging.WARNING), out_of_memory(module, at):
            torch.testing.assert_close(restore(prior, measurement, method), whole, atol=5e-3, rtol=1e-2)
        assert caplog.text.count("out of memory; going on from here with candidates one by one") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), [("Glued MAP", "decoder"), ("PSLD", "unet"), ("PSLD", "decoder")])
def test_out_of_memory_in_backward_ends_with_the_picture(method, name, prior, measurement, caplog):
    module = networks(prior)[name]
    with out_of_memory(module, at=0, backward=True) as calls:
        whole = restore(prior, measurement, method)
    for at in {1, calls[0]}:
        caplog.clear()
        with caplog.at_level(logging.WARNING), out_of_memory(module, at, backward=True):
            torch.testing.assert_close(restore(prior, measurement, method), whole, atol=5e-3, rtol=1e-2)
        assert caplog.text.count("out of memory; going on from here with candidates one by one") == 1


def test_a_report_of_a_run_that_started_anew_is_of_its_last_start_alone(prior, measurement, monkeypatch):
    """An operator is the solver's own, and no network that the plan could mend."""
    whole = run(prior, measurement, "Proximal gluing")[2]
    kind, calls = type(measurement.operator), [0]
    prox = kind.prox

    def fail_once(*arguments) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 2:
            raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory (as a test has it)")
        return prox(*arguments)

    monkeypatch.setattr(kind, "prox", fail_once)
    again = run(prior, measurement, "Proximal gluing")[2]
    assert calls[0] > STEPS and again.steps == STEPS
    assert again.nfe == whole.nfe and len(again.residuals) == len(whole.residuals) == STEPS


def test_without_a_leaner_tier_a_sentence_says_what_to_do(prior, measurement):
    def fail(*_) -> None:
        raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory (as a test has it)")

    handle = networks(prior)["unet"].register_forward_hook(fail)
    try:
        with pytest.raises(comfy.model_management.OOM_EXCEPTION, match="Fit to Model.*draft_vae.*Proximal gluing"):
            restore(prior, measurement, "Glued MAP")
    finally:
        handle.remove()


@pytest.mark.parametrize("tier", [Tier(), Tier(blocks=True), Tier(blocks=True, tile=32)], ids=str)
def test_every_tier_decodes_and_differentiates_alike(tier, prior):
    model, vae = prior
    z = torch.randn(2, 4, 16, 16).to(vae.device)

    def decoded(tier: Tier) -> tuple[torch.Tensor, torch.Tensor]:
        codec = Codec(vae, vae.first_stage_model, model.model)
        with differentiable([vae.first_stage_model]), exact_kernels(vae.device):
            start = z.clone().requires_grad_()
            x = Plan([tier]).coder(codec).decode(start)
            moves = [torch.autograd.grad(x, start, x.detach(), retain_graph=again)[0] for again in (True, False)]
        assert torch.equal(*moves)
        return x.detach(), moves[0]

    for one, other in zip(decoded(tier), decoded(Tier(together=True)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_blocks_made_again_keep_less(prior):
    """What autograd holds of a decoding, counted."""
    model, vae = prior
    codec = Codec(vae, vae.first_stage_model, model.model)
    z = torch.randn(1, 4, 16, 16, requires_grad=True)

    def held(tier: Tier) -> int:
        kept = []
        watch = torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x)
        with differentiable([vae.first_stage_model]), watch:
            Plan([tier]).coder(codec).decode(z)
        return sum(kept)

    assert held(Tier(blocks=True)) < 0.5 * held(Tier(together=True))


def test_what_a_decoder_keeps_is_weighed_without_keeping_it(prior):
    """As many bytes as autograd holds in distinct storages, weights aside."""
    _, vae = prior
    decoder, z = vae.first_stage_model, torch.randn(1, 4, 16, 16).to(vae.device)
    held = {}

    def hold(x: torch.Tensor) -> torch.Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with differentiable([decoder]):
        weights = {weight.untyped_storage().data_ptr() for weight in decoder.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(hold, lambda x: x):
            graph = decoder.decode(z.clone().requires_grad_())
        weighed = kept_bytes(decoder.decode, z, decoder)
    assert graph.requires_grad and weighed == sum(size for at, size in held.items() if at not in weights) > 1e6


def test_what_does_not_fit_is_planned_leaner(prior, caplog):
    """A picture of 100,000 pixels a side, of which only a corner is looked at."""
    model, vae = prior
    large = torch.zeros(1, 4, 1, 1, device=vae.device).expand(1, 4, 25_000, 25_000)
    plan = Plan([Tier(together=True), Tier(), Tier(blocks=True), Tier(blocks=True, tile=64)])
    stage = Stage(lambda _: vae.first_stage_model.decode, vae.first_stage_model, 1, scale=1)
    with differentiable([vae.first_stage_model]), caplog.at_level(logging.INFO):
        plan.weigh(torch.zeros(1, 4, 16, 16, device=vae.device), stage)
        assert plan.tier == Tier(together=True)
        plan.weigh(large, stage)
    assert plan.tier == Tier(blocks=True, tile=64) and "what backward needs takes" in caplog.text


def test_tiles_are_not_taken_where_they_save_nothing():
    """A model too large for every tier: the first that keeps the least, for tiles are the VAE's."""
    plan = Plan([Tier(together=True), Tier(), Tier(blocks=True), Tier(blocks=True, tile=64)])
    with FakeTensorMode():  # of shapes alone
        plan.weigh(torch.empty(1, 4, 10**6, 10**6), Stage(lambda _: torch.exp, torch.nn.Identity(), 1))
    assert plan.tier == Tier(blocks=True)


@pytest.mark.parametrize("method", list(METHODS))
def test_leaner_tiers_take_less(method, prior):
    model, vae = prior
    run = Run(model.model, (vae,), METHODS[method], (1, 4, 512, 384), candidates=4)
    estimates = [run.estimate(tier) for tier in run.tiers()]
    assert all(one > other for one, other in zip(estimates, estimates[1:], strict=False)), estimates


def test_a_picture_beyond_all_memory_is_refused_before_the_run(prior):
    model, vae = prior
    run = Run(model.model, (vae,), METHODS["Glued MAP"], (1, 4, 50000, 75000))
    with pytest.raises(ValueError, match="measurement: its image of 300000 x 200000 pixels takes about .* GiB.*crop"):
        refuse_too_large(run, run.estimate(run.tiers()[-1]), torch.device("cpu"))
