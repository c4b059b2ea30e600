"""Quantised models restore as plain ones do, with gradients through the model and without."""

from __future__ import annotations

from functools import partial

import pytest
import safetensors.torch
import torch
from psld.tests.families import HERE, load_vae
from psld.tests.family_files import FILES
from psld.tests.quantised import GGMLTensor, cast, gguf_and_plain, load, scaled_fp8
from psld.tests.test_families import restored, stock

import nodes

pytestmark = pytest.mark.usefixtures("single_thread")
FAMILIES = {family.name: family for family in [*HERE, *(f for f in FILES if f.name.startswith("SD"))]}


def text(family) -> list:
    torch.manual_seed(0)
    pooled = {} if family.pooled is None else {"pooled_output": torch.randn(1, family.pooled)}
    return [[torch.randn(1, 4, family.text), pooled]]


def check(model, plain, family, method: str) -> None:
    """A quantised model restores as the plain one of the same weights, and afterwards samples as before."""
    vae, conditioning = load_vae(*family.latents), text(family)
    before = stock(model, conditioning, torch.zeros(1, family.latents[0], 8, 8))
    result, expected = (restored(m, vae, conditioning, method) for m in (model, plain))
    assert type(result) is torch.Tensor
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(stock(model, conditioning, torch.zeros_like(before)), before)


@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
@pytest.mark.parametrize("name", ["SD 1.5", "SD 3.5", "FLUX.1 dev"])
@torch.inference_mode()  # as in the executor
def test_gguf(name, method):
    """Norms stay in float32, and are saved for backward as they are; FLUX adds in place to what is saved."""
    model, plain = gguf_and_plain(FAMILIES[name])
    assert any(weight.packed for weight in model.model.parameters() if isinstance(weight, GGMLTensor))
    check(model, plain, FAMILIES[name], method)


KINDS = {
    "fp8_e4m3fn": partial(cast, dtype=torch.float8_e4m3fn),
    "fp8_e5m2": partial(cast, dtype=torch.float8_e5m2),
    "default": scaled_fp8,
}


@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_fp8(kind, method, comfy_base):
    """As Load Diffusion Model makes it of a plain file, and (default) of one that is fp8 with scales."""
    if kind == "default" and torch.cuda.is_available():
        pytest.skip("ComfyUI lets a GPU multiply in fp8, which takes rows of 16, wider than those of the tiny family")
    family, folder = FAMILIES["SD 3.5"], comfy_base / "models" / "diffusion_models"
    stored, plain = KINDS[kind](family)
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(stored, folder / "quantised.safetensors")
    (model,) = nodes.UNETLoader().load_unet("quantised.safetensors", kind)
    kinds = {str(weight.dtype) for weight in model.model.parameters()} | {
        type(weight).__name__ for weight in model.model.parameters()
    }
    assert kinds & {"torch.float8_e4m3fn", "torch.float8_e5m2", "QuantizedTensor"}  # the last in newer versions
    check(model, load(family, plain), family, method)
