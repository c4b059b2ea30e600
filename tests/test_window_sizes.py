"""What models that are told of a picture's size are told of its windows, through ComfyUI's own classes of them."""

from __future__ import annotations

from functools import partial

import comfy.sampler_helpers
import comfy.samplers
import pytest
import torch
from psld.nodes.sampling import restore
from psld.operators.measurement import Measurement
from psld.operators.resize import SuperResolution
from psld.runtime.grid import Grid
from psld.runtime.windows import Windows
from psld.tests.families import HERE, PIXART, Family, load
from torch import Tensor

pytestmark = pytest.mark.usefixtures("single_thread")

WIDE = (8, 14)
"""Latents of a picture of two windows, the second of which starts at the seventh."""

SIZES = {"width": 900, "height": 700, "crop_w": 24, "target_width": 333}
PIXART_ALPHA = PIXART | {"image_model": "pixart_alpha", "micro_condition": True, "hidden_size": 96}
HUNYUAN_DIT = dict(image_model="hydit1", hidden_size=64, depth=2, num_heads=2, text_states_dim=8, text_states_dim_t5=16,
                   text_len=4, text_len_t5=4, size_cond=True)  # fmt: skip
TEXTS = {"attention_mask": torch.ones(1, 4), "conditioning_mt5xl": torch.ones(1, 4, 16),
         "attention_mask_mt5xl": torch.ones(1, 4)}  # fmt: skip
FAMILIES = {family.name: family for family in [
    *HERE, Family("PixArt", "PixArtAlpha", PIXART_ALPHA),
    Family("Hunyuan DiT", "HunyuanDiT1", HUNYUAN_DIT, extra=TEXTS),
]}  # fmt: skip


def told(model, name: str, call) -> list[Tensor]:
    """What the network gets under a name, call after call."""
    heard = []
    handle = model.diffusion_model.register_forward_pre_hook(
        lambda _, args, kwargs: heard.append(kwargs[name]), with_kwargs=True
    )
    try:
        call()
    finally:
        handle.remove()
    return heard


def in_windows(family: str, said: dict, shape: tuple[int, int] = WIDE) -> tuple[object, object, dict]:
    """A model, a call of it for two pictures in two windows, all in one batch, and what it is told beside a text."""
    patcher, _, [(text, pooled)] = load(FAMILIES[family])
    model, x = patcher.model, torch.randn(2, 4, *shape)
    conds = comfy.sampler_helpers.convert_cond([[text, pooled | said]])
    conds = comfy.samplers.encode_model_conds(model.extra_conds, conds, x, x.device, "positive")
    options = {"context_handler": Windows(Grid(shape, shape[0], 2), at_once=2)}
    patcher.pre_run()
    call = partial(comfy.samplers.calc_cond_batch, model, [conds], x, torch.tensor([0.5, 0.5]), options)
    return model, call, pooled


@pytest.mark.parametrize("said", [{}, SIZES], ids=["not said", "said"])
@pytest.mark.parametrize("family", ["SDXL", "SDXL refiner"])
@torch.no_grad()
def test_sdxl_is_told_where_a_window_is(family, said):
    """As ComfyUI tells it of a photo of the whole size, cropped to the window."""
    model, call, pooled = in_windows(family, said)
    (heard,) = told(model, "y", call)
    whole = {"width": 8 * 14, "height": 8 * 8, "crop_w": 0} | said
    window = {"target_width": 64, "target_height": 64, "device": heard.device, **pooled}
    expected = [model.encode_adm(**whole | window | {"crop_w": whole["crop_w"] + left}) for left in (0, 48)]
    torch.testing.assert_close(heard, torch.cat([expected[i] for i in (0, 0, 1, 1)]))
    assert not torch.allclose(*expected)


@torch.no_grad()
def test_pixart_is_told_of_a_windows_aspect():
    model, call, _ = in_windows("PixArt", {}, (40, 48))
    (heard,) = told(model, "c_ar", call)
    assert torch.equal(heard, torch.ones(4, 1))


@pytest.mark.parametrize(("said", "original"), [({}, [64, 112]), (SIZES, [700, 900])], ids=["not said", "said"])
@torch.no_grad()
def test_hunyuan_dit_is_told_where_a_window_is(said, original):
    model, call, _ = in_windows("Hunyuan DiT", said)
    (heard,) = told(model, "image_meta_size", call)
    assert heard.tolist() == [[*original, 64, 64, 0, left] for left in (0, 0, 48, 48)]


def test_a_restoration_in_windows_tells_sizes():
    model, vae, conditioning = load(FAMILIES["SDXL"])
    operator = SuperResolution((3, 64, 112), 4)
    measurement = Measurement(operator(torch.rand(1, 3, 64, 112) * 2 - 1), operator, 0.05)
    arguments = ("PSLD", {"candidates": 1}, ("auto", 1), (conditioning, None, 1.0))
    heard = told(model.model, "y", lambda: restore(model, vae, measurement, 0, *arguments, window=64))
    first, second = torch.cat(heard).unique(dim=0)
    assert (first != second).nonzero().min() >= 1280 + 3 * 256  # of all that it is told, only crop_w differs
    assert (first != second).nonzero().max() < 1280 + 4 * 256
