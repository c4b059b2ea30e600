"""Pictures larger than a model's own size: windows of the denoiser against what ComfyUI makes of the whole picture."""

from __future__ import annotations

import comfy.conds
import comfy.controlnet
import comfy.model_base
import comfy.model_patcher
import comfy.samplers
import comfy.utils
import pytest
import torch
from psld.nodes.loading import EMBEDDED, checkpoint_path
from psld.runtime.grid import Grid, blend
from psld.runtime.ldm import load_ldm
from psld.runtime.windows import Windows, area_as_mask, check_windows, own_size, window_grid
from psld.tests.prompts import node

PRIOR = EMBEDDED + "hands64.safetensors"


@pytest.fixture(scope="module")
def prior():
    return load_ldm(checkpoint_path(PRIOR))


@pytest.mark.parametrize("grid", [Grid((48, 32), 16, 4), Grid((33, 57), 16, 8, 3), Grid((20, 9), 16, 4)])
def test_weights_add_up_to_one(grid):
    total = torch.zeros(grid.shape)
    for window in grid.windows():
        window.cut(total).add_(window.weight(total))
    torch.testing.assert_close(total, torch.ones_like(total))


def test_windows_of_a_local_function_are_the_function_itself():
    """Also its gradient: a convolution that sees no further than the margin."""
    grid = Grid((40, 28), 16, 8, margin=2)
    kernel = torch.randn(2, 3, 5, 5)

    def local(x: torch.Tensor, _: object = None) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, kernel, padding=2).tanh()

    x = torch.randn(2, 3, 40, 28, requires_grad=True)
    whole, cut = local(x), blend(x, grid, grid, local, at_once=3)
    torch.testing.assert_close(cut, whole)
    wanted = torch.randn_like(whole)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, wanted)[0] for y in (cut, whole)), atol=1e-4, rtol=1e-4)


def test_own_size_and_when_it_needs_windows(prior):
    model = prior[0].model
    assert own_size(model, 4) == 64
    assert window_grid((16, 24), model, 4, 0) is None
    assert window_grid((16, 32), model, 4, 0).size == 16
    assert window_grid((48, 32), model, 4, 128).size == 32
    assert window_grid((48, 32), model, 4, 4096) is None


def test_a_window_too_small_is_refused(prior):
    with pytest.raises(ValueError, match="window: 8 pixels; choose 0 .* at least 32"):
        window_grid((48, 32), prior[0].model, 4, 8)


class PerPixel(torch.nn.Module):
    """A network that looks at each place alone: at x, at what is concatenated to it, at text and at a control."""

    dtype = torch.float32

    def __init__(self, **_) -> None:
        super().__init__()

    def forward(self, x, t, context=None, control=None, transformer_options=None, **_):
        x, concatenated = x.chunk(2, dim=1)
        hint = control["output"][0] if control is not None else 0
        return torch.tanh(x + context.mean((1, 2)).view(-1, 1, 1, 1)) + concatenated + hint


@pytest.fixture
def local(prior):
    """A model of ComfyUI's around it, with the embedded prior's noise levels."""
    model = comfy.model_base.BaseModel(prior[0].model.model_config, unet_model=PerPixel)
    model.current_patcher = comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
    return model


class Hint(comfy.controlnet.ControlBase):
    """A ControlNet whose control is its picture, scaled to the latent."""

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        height, width = x_noisy.shape[-2:]
        scaled = comfy.utils.common_upscale(self.cond_hint_original, width, height, "nearest-exact", "center")
        return {"output": [scaled.mean(1, keepdim=True)]}


def conditioning(value: float, size: tuple[int, int], **extra) -> dict:
    conds = {
        "c_crossattn": comfy.conds.CONDCrossAttn(torch.full((1, 77, 8), value)),
        "c_concat": comfy.conds.CONDNoiseShape(torch.randn(1, 4, *size)),
    }
    return {"model_conds": conds, "uuid": value, **extra}


@pytest.mark.parametrize("kind", ["plain", "area", "mask", "control"])
def test_conditioning_is_cut_as_the_picture_is(kind, local):
    """Areas with their soft edge, masks, inpainting inputs and ControlNet hints: as in one pass over the picture."""
    size = (40, 56)
    extra = {
        "plain": {},
        "area": {"area": (24, 20, 8, 12), "strength": 0.7},
        "mask": {"mask": (torch.rand(1, *size) > 0.5).float(), "mask_strength": 0.8},
        "control": {"control": Hint().set_cond_hint(torch.rand(1, 3, 320, 448))},
    }[kind]
    positive = [conditioning(0.3, size), conditioning(-0.8, size, **extra)]
    conds = [positive, [conditioning(0.1, size)]]
    x, t = torch.randn(2, 4, *size), torch.tensor([0.5, 0.5])
    handler = Windows(Grid(size, 16, 4), at_once=3)
    whole = comfy.samplers.calc_cond_batch(local, conds, x, t, {})
    cut = comfy.samplers.calc_cond_batch(local, conds, x, t, {"context_handler": handler})
    for one, other in zip(cut, whole, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    assert "area" not in area_as_mask(positive[1], x)


class Showing:
    """A patch that holds a picture, as ComfyUI's controls of transformers do."""

    image = torch.zeros(1, 8, 8, 3)


@pytest.mark.parametrize(
    ("cond", "options", "words"),
    [
        ({"gligen": ()}, {}, "GLIGEN boxes"),
        ({"model_conds": {"ref_latents": comfy.conds.CONDList([torch.zeros(1)])}}, {}, "reference image"),
        ({"model_conds": {"image_cond": comfy.conds.CONDNoiseShape(torch.zeros(1, 4, 9, 9))}}, {}, "reference image"),
        ({}, {"transformer_options": {"patches": {"double_block": [Showing()]}}}, "a patch shows it a picture"),
        ({}, {"context_handler": object()}, "context windows"),
        ({}, {"sampler_calc_cond_batch_function": object()}, "replaces how it is evaluated"),
    ],
)
def test_what_cannot_be_cut_is_refused(cond, options, words):
    with pytest.raises(ValueError, match=words):
        check_windows({"positive": [cond]}, options, (40, 56))


def restoration(method: str, **settings) -> dict:
    """A blurred picture of 192 x 128 pixels, three by two times the embedded prior's size."""
    sampler = dict(model=["load", 0], vae=["load", 1], measurement=["measure", 0], method=method, seed=1, steps=2)
    sampler |= dict(cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, candidates=1)
    return {
        "photo": node("LoadImage", image="hands_wall.png"),
        "operator": node("PSLD_GaussianBlur", kernel_size=9, sigma=1.5, boundary="reflect"),
        "measure": node(
            "PSLD_Measure", image=["photo", 0], operator=["operator", 0], noise="gaussian", sigma=0.05, seed=1
        ),
        "load": node("PSLD_LoadLDM", ckpt_name=PRIOR),
        "psld": node("PSLD_KSampler", **(sampler | settings)),
        "see": node("PreviewImage", images=["psld", 1]),
    }


@pytest.fixture(scope="module")
def wall(comfy_base):
    """Six hands side by side, in ComfyUI's input folder."""
    from PIL import Image
    from psld.tests.ldm import HAND

    names = ("five", "four", "nine", "one", "three", "zero")
    hands = [Image.open(HAND.with_name(f"hand_{name}.png")).convert("RGB").resize((64, 64)) for name in names]
    picture = Image.new("RGB", (192, 128))
    for i, hand in enumerate(hands):
        picture.paste(hand, (i % 3 * 64, i // 3 * 64))
    picture.save(comfy_base / "input" / "hands_wall.png")
    return picture


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
def test_a_large_picture_is_restored_in_windows(method, wall, run_prompt):
    outputs = run_prompt(restoration(method))
    latent, picture, _ = outputs["psld"]
    assert picture.shape == (1, 128, 192, 3) and torch.isfinite(latent["samples"]).all()
    measurement = outputs["measure"][0]
    residual = measurement.rms_residual(picture.movedim(-1, 1) * 2 - 1)
    assert 0.8 * 0.05 < float(residual) < 1.2 * 0.05
    truth = outputs["photo"][0]
    assert (picture - truth).square().mean() < (outputs["measure"][1] - truth).square().mean()
