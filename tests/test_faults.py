"""Errors and cancels at every phase of a run: afterwards ComfyUI and this pack give what they gave before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import comfy.model_management
import comfy.utils
import pytest
import torch
from psld.operators import InpaintBox
from psld.tests.ldm import photo, sample
from psld.tests.prompts import call

import nodes

pytestmark = pytest.mark.usefixtures("single_thread")
METHODS = ("Glued MAP", "PSLD", "Proximal gluing")
PLACES = ("model", "encoder", "decoder", "operator", "callback")
Cancelled = comfy.model_management.InterruptProcessingException


@pytest.fixture(scope="module")
def prior() -> dict:
    model, vae, _ = call("LoadLDM", ckpt_name="[embedded] hands64.safetensors")
    return {"model": model, "vae": vae}


@pytest.fixture(scope="module")
def measurement():
    (operator,) = call("InpaintBox", width=24, height=24, left=20, top=20, margin=0, seed=0)
    return call("Measure", image=photo(), operator=operator, noise="gaussian", sigma=0.05, seed=0)[0]


def restore(prior: dict, measurement, method: str, **settings) -> torch.Tensor:
    defaults = dict(seed=1, steps=2, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, candidates=2)
    return call("KSampler", **prior, measurement=measurement, method=method, **(defaults | settings))[1].clone()


def stock(prior: dict) -> torch.Tensor:
    with torch.inference_mode():
        return sample(prior["model"], torch.zeros(1, 4, 16, 16), steps=2).clone()


def fail() -> None:
    raise RuntimeError("the disk is full")


def run_out_of_memory() -> None:
    raise torch.OutOfMemoryError("no memory left")


def cancel() -> None:
    nodes.interrupt_processing(True)


@contextmanager
def at_call(where: str, prior: dict, number: int, action: Callable[[], None]) -> Iterator[list[int]]:
    """Does something at the n-th call of a part of the run; a list with how often that part was called."""
    calls = [0]

    def count(*_, **__) -> None:
        calls[0] += 1
        if calls[0] == number:
            action()

    modules = {"model": prior["model"].model.diffusion_model, "encoder": prior["vae"].first_stage_model.encoder,
               "decoder": prior["vae"].first_stage_model.decoder}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        if where in modules:
            handle = modules[where].register_forward_hook(count)
        elif where == "operator":
            for name in ("restrict", "pinv", "adjoint", "prox"):
                usual = getattr(InpaintBox, name)
                patch.setattr(InpaintBox, name, lambda *a, usual=usual, **k: count() or usual(*a, **k))
        else:
            comfy.utils.set_progress_bar_global_hook(count)
        try:
            yield calls
        finally:
            comfy.utils.set_progress_bar_global_hook(None)
            nodes.interrupt_processing(False)
            if where in modules:
                handle.remove()


@pytest.fixture(scope="module", params=METHODS)
def undisturbed(request, prior, measurement, single_thread) -> tuple[str, torch.Tensor, dict[str, int], torch.Tensor]:
    """A method, what it gives, how often it calls each part of the run, and what the stock sampler gave before it."""
    fresh = stock(prior)
    with ExitStack() as stack:
        calls = {where: stack.enter_context(at_call(where, prior, 0, fail)) for where in PLACES}
        usual = restore(prior, measurement, request.param)
    return request.param, usual, {where: number for where, (number,) in calls.items()}, fresh


@pytest.mark.slow
@pytest.mark.parametrize("where", PLACES)
def test_after_a_fault_at_any_phase_everything_is_as_before(prior, measurement, undisturbed, where):
    method, usual, calls, fresh = undisturbed
    last = calls[where]
    assert last or (where == "encoder" and method == "Proximal gluing")
    middle = (last + 1) // 2
    faults = [(fail, number, RuntimeError) for number in {1, middle, last}]
    faults += [(cancel, 1, Cancelled), (cancel, middle, Cancelled)]
    for action, number, error in faults if last else []:
        with at_call(where, prior, number, action) as calls, pytest.raises(error):
            restore(prior, measurement, method)
        assert calls[0] <= number + (4 if where == "operator" else 1)  # until the next pass of the model
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        assert torch.equal(stock(prior), fresh)
    if last and where != "operator":  # whose last call stands outside the run
        with at_call(where, prior, middle, run_out_of_memory):
            assert torch.allclose(restore(prior, measurement, method), usual, atol=0.02)
        assert torch.equal(stock(prior), fresh)
    assert torch.equal(restore(prior, measurement, method), usual)


def test_cancel_reaches_conjugate_gradients(prior):
    """They run in the last step of a restoration and in Data Consistency, without a pass of the model."""
    blur = dict(length=9.0, angle=30.0, intensity=0.0, kernel_size=9, boundary="reflect", seed=0)
    known = {i.id for i in nodes.NODE_CLASS_MAPPINGS["PSLD_MotionBlur"].GET_SCHEMA().inputs}
    (operator,) = call("MotionBlur", **{name: value for name, value in blur.items() if name in known})
    measured = call("Measure", image=photo(), operator=operator, noise="gaussian", sigma=0.05, seed=0)[0]
    consistency = dict(image=photo(), measurement=measured, rcond=0.1, error=0.1)
    for stopped in (
        lambda: call("DataConsistency", **consistency, method="exact"),
        lambda: call("DataConsistency", **consistency, method="noise-aware"),
    ):
        cancel()
        try:
            with pytest.raises(Cancelled):
                stopped()
        finally:
            nodes.interrupt_processing(False)
    with at_call("decoder", prior, 0, cancel) as calls:
        restore(prior, measured, "Proximal gluing", candidates=1)
    with at_call("decoder", prior, calls[0], cancel), pytest.raises(Cancelled):
        restore(prior, measured, "Proximal gluing", candidates=1)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_gradients_that_another_pack_left_off_make_no_difference(prior, measurement, method):
    usual = restore(prior, measurement, method)
    torch.set_grad_enabled(False)
    try:
        assert torch.equal(restore(prior, measurement, method), usual)
        assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_models_unloaded_and_patched_in_between_make_no_difference(prior, measurement, method):
    """What the server does at /free, and what a LoRA does to a clone of the model."""
    fresh, usual = stock(prior), restore(prior, measurement, method)
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
    assert torch.equal(restore(prior, measurement, method), usual)
    patched = prior["model"].clone()
    weight = "diffusion_model.input_blocks.0.0.weight"
    assert patched.add_patches({weight: (torch.ones_like(prior["model"].model.state_dict()[weight]),)}, 0.1) == [weight]
    assert not torch.equal(restore(prior | {"model": patched}, measurement, method), usual)
    assert torch.equal(restore(prior, measurement, method), usual)
    assert torch.equal(stock(prior), fresh)
