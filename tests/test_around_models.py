"""What ComfyUI can put around a model reaches the restoration, with gradients through the model and without."""

from __future__ import annotations

from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ops
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG
from psld.nodes.sampling import restore
from psld.operators.masks import InpaintBox
from psld.operators.measurement import Measurement
from psld.tests.families import ATTENTION, FAMILIES, load
from torch import Tensor

import nodes

pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture(scope="module")
def sd15():
    """Model, VAE, conditioning and another conditioning of SD 1.5's kind."""
    model, vae, conditioning = load(FAMILIES[0])
    return model, vae, conditioning, [[2 * torch.randn(1, 6, 8), {}]]


@torch.inference_mode()
def restored(model, vae, positive, negative=None, cfg: float = 1.0, method: str = "PSLD", batch: int = 1) -> Tensor:
    """Latents after three steps for pictures with a hole."""
    operator = InpaintBox((3, 64, 64), 16)
    with torch.inference_mode(False):
        x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
        measurement = Measurement(operator(x.expand(batch, -1, -1, -1)), operator, 0.05)
    settings = ({"candidates": 1}, ("auto", 3), (positive, negative, cfg))
    return restore(model, vae, measurement, 0, method, *settings, keep_measured=False)[0]


def control_net() -> comfy.controlnet.ControlNet:
    """A ControlNet of SD 1.5's kind, small and random."""
    sizes = dict(image_size=8, in_channels=4, model_channels=64, hint_channels=3, num_res_blocks=[1], channel_mult=[1])
    depths = dict(transformer_depth=[1], transformer_depth_middle=1, context_dim=8)
    network = comfy.cldm.cldm.ControlNet(**sizes, **depths, **ATTENTION, operations=comfy.ops.disable_weight_init)
    for weight in network.state_dict().values():
        torch.nn.init.normal_(weight, std=0.05)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"), manual_cast_dtype=None)


def lora(model):
    """The model with a LoRA on one of its weights."""
    patched, key = model.clone(), "diffusion_model.middle_block.0.in_layers.2.weight"
    patched.add_patches({key: ("diff", (torch.full_like(patched.model.state_dict()[key], 0.05),))})
    return patched


def changed_in_place(model):
    """The model with a patch that writes into what a block made, as FreeU does."""
    patched = model.clone()
    patched.set_model_output_block_patch(lambda h, skip, _: (h.mul_(1.2), skip))
    return patched


def around(name: str, model, text, other) -> dict[str, Any]:
    """Arguments of `restored`, with something around the model."""
    hint = torch.rand(1, 64, 64, 3)
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    return {
        "LoRA": lambda: dict(model=lora(model), positive=text),
        "patch in place": lambda: dict(model=changed_in_place(model), positive=text),
        "two branches": lambda: dict(positive=text, negative=other, cfg=3.0),
        "RescaleCFG": lambda: dict(model=RescaleCFG().patch(model, 0.7)[0], positive=text, negative=other, cfg=3.0),
        "ModelSampling": lambda: dict(
            model=ModelSamplingDiscrete().patch(model, "v_prediction", False)[0], positive=text
        ),
        "area": lambda: dict(positive=text + nodes.ConditioningSetArea().append(other, 32, 32, 0, 32, 1.0)[0]),
        "mask": lambda: dict(positive=text + nodes.ConditioningSetMask().append(other, mask, "default", 1.0)[0]),
        "mask bounds": lambda: dict(
            positive=text + nodes.ConditioningSetMask().append(other, mask, "mask bounds", 1.0)[0]
        ),
        "several": lambda: dict(positive=nodes.ConditioningCombine().combine(text, other)[0]),
        "range": lambda: dict(positive=text + nodes.ConditioningSetTimestepRange().set_range(other, 0.2, 0.8)[0]),
        "long prompt": lambda: dict(positive=nodes.ConditioningConcat().concat(text, other)[0]),
        "ControlNet": lambda: dict(
            positive=nodes.ControlNetApplyAdvanced().apply_controlnet(text, other, control_net(), hint, 0.5, 0.0, 1.0)[
                0
            ]
        ),
    }[name]()


NAMES = ("LoRA", "two branches", "RescaleCFG", "ModelSampling", "area", "mask", "mask bounds", "several", "range")


@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
@pytest.mark.parametrize("name", [*NAMES, "long prompt", "patch in place", "ControlNet"])
def test_it_reaches_the_restoration_and_leaves_with_it(sd15, name, method):
    model, vae, text, other = sd15
    before = restored(model, vae, text, method=method)
    with torch.inference_mode():
        arguments = dict(model=model) | around(name, model, text, other)
    changed = restored(vae=vae, method=method, **arguments)
    assert torch.isfinite(changed).all() and not torch.allclose(changed, before, atol=1e-5)
    assert torch.equal(restored(model, vae, text, method=method), before)


def test_a_batch_takes_one_hint(sd15):
    model, vae, text, other = sd15
    with torch.inference_mode():
        arguments = around("ControlNet", model, text, other)
    assert restored(model, vae, batch=2, **arguments).shape == (2, 4, 8, 8)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
def test_weights_in_less_precision_serve_too(dtype, method):
    model, vae, text = load(FAMILIES[0], dtype)
    assert model.model.get_dtype() is dtype
    assert torch.isfinite(restored(model, vae, text, method=method)).all()
