"""The runtime gives each method the gradients it asks for and no more, on the embedded prior in ComfyUI."""

from __future__ import annotations

import comfy.ops
import comfy.sample
import pytest
import torch
from psld.nodes.loading import PRIORS
from psld.operators import HighDynamicRange, InpaintBox
from psld.operators.measurement import Measurement
from psld.runtime.ldm import load_ldm
from psld.runtime.sampler import posterior_sampler
from psld.solvers import METHODS

SHAPE = (3, 32, 32)
LATENT = [name for name in METHODS if name != "DDRM"]


def measurement(operator=None, batch: int = 1) -> Measurement:
    operator = operator or InpaintBox(SHAPE, 16, (8, 8))
    return Measurement(operator(torch.rand(batch, *SHAPE) * 2 - 1), operator, 0.05)


def solve(prior, measured: Measurement, method: str, noise: torch.Tensor | None = None) -> torch.Tensor:
    model, vae = prior
    noise = torch.randn(len(measured.y), 4, 8, 8) if noise is None else noise
    sampler = posterior_sampler(measured, vae, method, {"gamma": 0.1, "omega": 0.1})
    sigmas, text = torch.tensor([5.0, 1.0, 0.2, 0.0]), [[torch.zeros(1, 1, 1), {}]]
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            model, noise, 1.0, sampler, sigmas, text, text, torch.zeros_like(noise), disable_pbar=True
        )


@pytest.fixture(scope="module")
def prior():
    with torch.inference_mode():
        return load_ldm(PRIORS / "hands64.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("method", LATENT)
def test_only_methods_that_differentiate_the_unet_run_it_with_a_graph(prior, method):
    model, vae = prior
    model, calls = model.clone(), []

    def watch(apply_model, arguments):
        weight = next(model.model.diffusion_model.parameters())
        options = arguments["c"]["transformer_options"]
        prediction = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        calls.append((prediction.requires_grad, weight.is_inference(), "optimized_attention_override" in options))
        return prediction

    model.set_model_unet_function_wrapper(watch)
    assert torch.isfinite(solve((model, vae), measurement(), method)).all()
    graph = METHODS[method].through_denoiser
    assert set(calls) == {(graph, not graph, graph)}


@pytest.mark.slow
@pytest.mark.parametrize("method", LATENT)
def test_the_vae_keeps_its_weights_unless_the_method_differentiates_it(prior, method):
    _, vae = prior
    weight, seen = next(vae.first_stage_model.decoder.parameters()), []
    hook = vae.first_stage_model.decoder.register_forward_pre_hook(
        lambda decoder, _: seen.append(next(decoder.parameters()) is weight)
    )
    try:
        solve(prior, measurement(), method)
    finally:
        hook.remove()
    assert set(seen) == {not METHODS[method].through_decoder}
    assert next(vae.first_stage_model.decoder.parameters()) is weight


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Proximal gluing", "Local MAP", "ReSample", "LatentDAPS", "MMPS"])
def test_a_batch_equals_its_single_runs(prior, method):
    measured, noise = measurement(batch=2), torch.randn(2, 4, 8, 8)
    together = solve(prior, measured, method, noise)
    for i in range(2):
        one = Measurement(measured.y[i, None], measured.operator, measured.sigma_y)
        alone = solve(prior, one, method, noise[i, None])
        torch.testing.assert_close(together[i, None], alone, atol=5e-3, rtol=1e-2)


def test_fp8_matrix_multiplication_is_refused_only_where_it_needs_a_gradient(prior, monkeypatch):
    class Anything(type):
        def __instancecheck__(cls, module: object) -> bool:
            return True

    class fp8_ops:
        class Linear(metaclass=Anything):
            pass

    monkeypatch.setattr(comfy.ops, "fp8_ops", fp8_ops)
    with pytest.raises(ValueError, match="fp8"):
        solve(prior, measurement(), "PSLD")
    assert torch.isfinite(solve(prior, measurement(), "Proximal gluing")).all()


def test_ddrm_says_that_it_needs_a_pixel_space_model(prior):
    with pytest.raises(ValueError, match="method: DDRM restores pixels"):
        solve(prior, measurement(), "DDRM")


def test_non_linear_operators_are_refused_with_the_methods_that_take_them(prior):
    overexposed = measurement(HighDynamicRange(SHAPE))
    with pytest.raises(ValueError, match="HighDynamicRange is not linear.*Local MAP"):
        solve(prior, overexposed, "Proximal gluing")
    assert torch.isfinite(solve(prior, overexposed, "Local MAP")).all()
