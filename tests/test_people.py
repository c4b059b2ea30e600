"""Files as people have them, through the real nodes: of phones and mask editors, tiny, or with a hole at the border."""

from __future__ import annotations

import comfy.cli_args
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from psld.nodes.sampling import make_guider
from psld.solvers import METHODS
from psld.tests.ldm import photo, psnr
from psld.tests.prompts import Failed, call, node
from psld.tests.test_measurement_nodes import hand
from psld.tests.test_photo import EMBEDDED, noisy_photo, repair, save_with_hole, saved_picture
from torch.utils._python_dispatch import TorchDispatchMode

ORIENTATION = 0x0112


def quick(photo: str, method: str, **fit) -> dict:
    """A repair in two steps without gradients."""
    prompt = repair(photo, method, ["sampler", 1], candidates=1)
    prompt["sampler"]["inputs"]["method"] = "Proximal gluing"
    prompt["fit"]["inputs"] |= fit
    return prompt


def test_a_phone_photo_is_upright_and_a_mask_of_the_raw_file_is_told_by_both_sizes(run_prompt, comfy_base):
    raw = Image.fromarray(noisy_photo(96, 64))
    exif = raw.getexif()
    exif[ORIENTATION] = 6
    raw.save(comfy_base / "input" / "phone.jpg", exif=exif, quality=95)
    upright = np.asarray(Image.open(comfy_base / "input" / "phone.jpg").convert("RGB").transpose(Image.ROTATE_270))
    for name, size in (("upright", (64, 96)), ("raw", (96, 64))):
        mask = np.zeros((*size[::-1], 3), np.uint8)
        mask[30:36, 20:26] = 255
        Image.fromarray(mask).save(comfy_base / "input" / f"{name}_mask.png")
    prompt = quick("phone.jpg", "pad")
    prompt["mask"] = node("LoadImageMask", image="upright_mask.png", channel="red")
    prompt["fit"]["inputs"]["mask"] = ["mask", 0]
    run_prompt(prompt)
    known = np.ones((96, 64), bool)
    known[30:36, 20:26] = False
    assert (saved_picture(comfy_base, "repaired_pad")[known] == upright[known]).all()
    prompt["mask"]["inputs"]["image"] = "raw_mask.png"
    with pytest.raises(Failed, match="mask: it is 96 x 64, but the image is 64 x 96"):
        run_prompt(prompt)


def test_a_mask_of_a_photo_that_was_cut_on_loading_is_told_by_both_sizes():
    """What some programs name .jpg ComfyUI reads as its first tile of 512 pixels."""
    vae = call("LoadLDM", ckpt_name=EMBEDDED)[1]
    mask = torch.zeros(1, 4032, 3024)
    mask[:, 9:20, 9:20] = 1
    with pytest.raises(ValueError, match="mask: it is 3024 x 4032, but the image is 512 x 512"):
        call("FitToModel", image=torch.rand(1, 512, 512, 3), vae=vae, mask=mask, method="pad", factor=1.0, size=64,
             margin=8)  # fmt: skip


def test_pixels_of_a_photo_with_a_colour_profile_come_back_to_the_bit(run_prompt, comfy_base):
    """But not the profile: Save Image writes none."""
    photo, profile = noisy_photo(64, 64), ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(photo).save(comfy_base / "input" / "profile.png", icc_profile=profile)
    alpha = torch.zeros(1, 64, 64)
    alpha[:, 10:20, 10:20] = 1
    Image.fromarray((alpha[0].numpy() * 255).astype(np.uint8)).convert("RGB").save(comfy_base / "input" / "hole.png")
    prompt = quick("profile.png", "pad")
    prompt["mask"] = node("LoadImageMask", image="hole.png", channel="red")
    prompt["fit"]["inputs"]["mask"] = ["mask", 0]
    run_prompt(prompt)
    known = alpha[0].numpy() == 0
    assert (saved_picture(comfy_base, "repaired_pad")[known] == photo[known]).all()


@pytest.mark.parametrize(
    ("method", "size", "box"),
    [
        ("around mask", 64, (0, 0, 12, 9)),
        ("around mask", 64, (190, 110, 200, 120)),
        ("around mask", 512, (0, 0, 12, 9)),
        ("pad", 64, (0, 0, 200, 1)),
    ],
    ids=["corner", "end", "window larger than the photo", "row"],
)
def test_a_hole_at_the_border_is_filled_and_the_size_stays(run_prompt, comfy_base, method, size, box):
    photo = noisy_photo(200, 120).clip(60, 255)
    known = save_with_hole(comfy_base / "input" / "border.png", photo, box)
    prompt = quick("border.png", method, size=size)
    prompt["sampler"]["inputs"]["steps"] = 1
    run_prompt(prompt)
    saved = saved_picture(comfy_base, f"repaired_{method.replace(' ', '_')}")
    assert saved.shape == photo.shape and (saved[known] == photo[known]).all()


def test_a_file_of_the_mask_editor_leaves_no_dark_ring(run_prompt, comfy_base):
    """A soft brush, colours multiplied by alpha and divided again at 8 bits, black where it is transparent."""
    photo = noisy_photo(64, 64).clip(60, 255)
    y, x = np.mgrid[:64, :64]
    alpha = np.clip((np.hypot(y - 32, x - 32) - 8) / 8, 0, 1)
    alpha8 = np.round(255 * alpha)
    shown = np.round(photo * (alpha8 / 255)[..., None])
    back = np.where(alpha8[..., None] > 0, np.round(shown / np.maximum(alpha8[..., None], 1) * 255), 0).clip(0, 255)
    Image.fromarray(np.dstack([back, alpha8]).astype(np.uint8)).save(comfy_base / "input" / "edited.png")
    run_prompt(quick("edited.png", "pad"))
    kept = alpha8 >= 245
    saved = saved_picture(comfy_base, "repaired_pad").astype(int)
    assert abs(saved[kept] - photo[kept]).max() <= 1
    ring = (np.hypot(y - 32, x - 32) >= 14) & ~kept
    assert saved[ring].mean() > 0.75 * photo[ring].mean()


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 7), (8, 8)], ids=str)
def test_a_tiny_photo_is_restored_or_refused_with_a_sentence(run_prompt, comfy_base, size):
    Image.fromarray(noisy_photo(*size)).save(comfy_base / "input" / "tiny.png")
    prompt = quick("tiny.png", "pad")
    prompt["operator"] = node("PSLD_Denoise")
    try:
        run_prompt(prompt)
    except Failed as refusal:
        assert str(refusal).strip().endswith(".") and ":" in str(refusal)
    else:
        assert saved_picture(comfy_base, "repaired_pad").shape == (*size[::-1], 3)
    lines = dict(tone="any", threshold=0.08, max_width=6, min_length=20, grow=1)
    photo = torch.rand(1, *size, 3)
    assert call("FindLines", image=photo, **lines)[0].shape == (1, *size)


class NoDoubles(TorchDispatchMode):
    """Raises where an image or latents in double precision are made, which some devices do not have (MPS, DirectML).

    Weights of windows and noise levels, of fewer axes, are made on the CPU.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        double = isinstance(result, torch.Tensor) and result.dtype in (torch.float64, torch.complex128)
        if double and result.ndim >= 4:
            raise AssertionError(f"{function} gave {result.dtype}")
        return result


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if name != "DDRM"])
def test_no_method_computes_in_double_precision(method):
    model, vae = call("LoadLDM", ckpt_name=EMBEDDED)[:2]
    (operator,) = call("MotionBlur", kernel_size=5, intensity=0.5, seed=0, boundary="circular")
    told = call("MeasurementFromImage", image=hand()[:, :32, :32], operator=operator, sigma=0.05)[0].to()
    (sampler,) = call("Sampler", vae=vae, measurement=told, method=method, gamma=-1.0, omega=-1.0, candidates=1)
    guider = make_guider(model, None, None, 1.0)
    with torch.inference_mode(), NoDoubles():
        guider.sample(torch.randn(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), sampler, torch.tensor([2.0, 0.3, 0.0]))


def test_gradients_that_another_node_left_off_change_nothing():
    model, vae = call("LoadLDM", ckpt_name=EMBEDDED)[:2]
    (operator,) = call("Denoise")
    told = call("MeasurementFromImage", image=hand()[:, :32, :32], operator=operator, sigma=0.05)[0]
    settings = dict(seed=0, steps=2, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, method="PSLD")
    restored = []
    for enabled in (True, False, True):
        with torch.set_grad_enabled(enabled):
            restored.append(call("KSampler", model=model, vae=vae, measurement=told, **settings)[1])
    assert torch.equal(restored[0], restored[1]) and torch.equal(restored[0], restored[2])


@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_weights_on_a_cpu_restore_nearly_as_whole_ones(dtype, method, monkeypatch):
    told = call("MeasurementFromImage", image=hand()[:, :32, :32], operator=call("Denoise")[0], sigma=0.1)[0]
    settings = dict(seed=0, steps=2, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, method=method, candidates=1)
    restored = []
    for half in (False, True):
        for part in ("unet", "vae"):
            monkeypatch.setattr(comfy.cli_args.args, f"{dtype}_{part}", half)
        model, vae = call("LoadLDM", ckpt_name=EMBEDDED)[:2]
        restored.append(call("KSampler", model=model, vae=vae, measurement=told, **settings)[1])
    assert model.model.get_dtype() is vae.vae_dtype is {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    assert psnr(*restored) > {"fp16": 45, "bf16": 35}[dtype]


def restore(image: torch.Tensor, problem: str, mask: torch.Tensor | None = None, **more) -> tuple[torch.Tensor, str]:
    """The restored IMAGE and the report of a fast Restore Photo on the embedded prior."""
    with torch.inference_mode():
        model, vae = call("LoadLDM", ckpt_name=EMBEDDED)[:2]
    more = dict(strength=0.0, quality="fast", seed=0, prompt="") | more
    restored, _, report = call("RestorePhoto", image=image, mask=mask, model=model, vae=vae, problem=problem, **more)
    return restored, report


def noisy(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """With noise of standard deviation sigma in [0, 1], the same at every call."""
    return image + sigma * torch.randn(image.shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.slow
@pytest.mark.parametrize("side", [2, 3, 7])
def test_holes_smaller_than_a_latent_are_filled_better_than_by_their_surroundings(side):
    clean, mask = photo(), torch.zeros(1, 64, 64)
    places = [(slice(r, r + side), slice(c, c + side)) for r, c in ((14, 14), (30, 30), (44, 24), (26, 46))]
    for rows, columns in places:
        mask[0, rows, columns] = 1
    bad = noisy(clean, 0.01).clamp(0, 1)
    restored = restore(bad, "fill a mask", mask)[0][0]
    for rows, columns in places:
        around = slice(rows.start - 2, rows.stop + 2), slice(columns.start - 2, columns.stop + 2)
        ring = bad[0][around][mask[0][around] == 0].mean(0)
        truth = clean[0, rows, columns]
        assert (restored[rows, columns] - truth).square().mean() < (ring - truth).square().mean()


@pytest.mark.slow
def test_a_hole_in_what_the_model_does_not_know_is_told():
    mask = torch.zeros(1, 64, 64)
    mask[0, 30:37, 30:37] = 1
    _, report = restore(noisy(torch.full((1, 64, 64, 3), 0.55), 0.01), "fill a mask", mask)
    assert "By itself the model came only within" in report


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_a_hole_has_no_seam(sigma):
    """Steps across its border are as large as those a pixel further in and out."""
    mask = torch.zeros(1, 64, 64)
    mask[0, 24:44, 20:40] = 1
    restored = restore(noisy(photo(), sigma).clamp(0, 1), "fill a mask", mask)[0][0]

    def steps(out: int) -> float:
        """Mean over the four sides of a box that is so many pixels larger."""
        rows, columns = (23 - out, 43 + out), (19 - out, 39 + out)
        across = restored.diff(dim=0)[rows, 20:40].abs().mean(), restored.diff(dim=1)[24:44, columns].abs().mean()
        return float(sum(across))

    assert 0.8 < steps(0) / (0.5 * (steps(1) + steps(-1))) < 1.25


@pytest.mark.slow
def test_the_border_of_a_padded_photo_is_as_good_as_its_middle():
    clean = torch.nn.functional.interpolate(photo().movedim(-1, 1), size=(67, 65), mode="bicubic").movedim(1, -1)
    (A,) = call("LineBlur", length=7.0, angle=30.0, boundary="reflect")
    bad = call("Measure", image=clean.clamp(0, 1), operator=A, noise="gaussian", sigma=0.02, seed=7)[1]
    error = (restore(bad, "sharpen: motion", strength=7.0, angle=30.0)[0] - clean).square().mean(-1)[0]
    middle = error[8:-8, 8:-8].mean()
    for ring in (error[:4], error[-4:], error[:, :4], error[:, -4:]):
        assert ring.mean() < 1.5**2 * middle


@pytest.mark.slow
def test_a_sharp_photo_that_is_sharpened_is_told_so():
    assert "The photo is sharper than such a blur leaves one" in restore(photo(), "sharpen: out of focus")[1]
    (A,) = call("GaussianBlur", sigma=1.5, kernel_size=13, boundary="reflect")
    soft = call("Measure", image=photo(), operator=A, noise="gaussian", sigma=0.02, seed=7)[1]
    assert "sharper" not in restore(soft, "sharpen: out of focus")[1]
