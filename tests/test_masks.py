"""Masks as people paint them and other nodes make them: one rule for what is to be restored."""

from __future__ import annotations

import io as files

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from psld.nodes.masks import painted
from psld.operators import Compose, InpaintMask, Stack, SuperResolution
from psld.operators.measurement import Measurement
from psld.tests.prompts import Failed, call, node
from psld.tests.test_photo import EMBEDDED, noisy_photo, repair, save_with_hole, saved_picture, saved_pictures

HOLE = torch.zeros(24, 32, dtype=torch.bool)
HOLE[4:9, 20:30] = True


@pytest.mark.parametrize(
    "mask",
    [
        HOLE,
        HOLE.float(),
        HOLE.half()[None],
        HOLE.double()[None, None],
        HOLE.float()[None, ..., None],
        HOLE.float()[..., None],
        HOLE.byte(),
        255 * HOLE.byte(),
        HOLE.long(),
    ],
    ids=lambda m: f"{m.dtype} {tuple(m.shape)} {float(m.max()):g}",
)
def test_a_mask_of_any_rank_and_type_says_the_same(mask):
    assert torch.equal(painted(mask), HOLE[None])
    (operator,) = call("InpaintMask", mask=mask)
    assert torch.equal(operator((3, 24, 32))(torch.ones(1, 3, 24, 32))[0, 0] == 0, HOLE)


def test_masks_of_segmentation_nodes_keep_their_batch():
    both = torch.stack((HOLE, ~HOLE))
    assert torch.equal(painted(both[:, None].float()), both)
    assert torch.equal(painted(both[..., None].float()), both)


def test_the_whole_of_a_soft_brush_is_restored():
    """A ramp of 16 px, and a disc that is nowhere above 0.45: the paint is gone wherever 8 bits can show it."""
    ramp = torch.linspace(1, 0, 17).expand(1, 16, 17)
    assert torch.equal(painted(ramp), ramp > 0.04)
    assert torch.equal(painted(ramp, threshold=0.5), ramp > 0.5)
    y, x = torch.meshgrid(*[torch.arange(32.0)] * 2, indexing="ij")
    disc = 0.45 * torch.exp(-((y - 16) ** 2 + (x - 16) ** 2) / 72)[None]
    photo = torch.where(disc[..., None] > 0, torch.tensor([1.0, 0, 1]), torch.tensor([0.5, 0.5, 0.5]))
    (operator,) = call("InpaintMask", mask=disc)
    measurement, picture, *_ = call("MeasurementFromImage", image=photo, operator=operator, sigma=0.02)
    assert torch.equal(measurement.y[0].any(0), disc[0] <= 0.04) and (picture[disc > 0.04] == 0.5).all()


def test_grow_widens_what_is_painted():
    grown = painted(HOLE, grow=2)[0]
    assert grown[2:11, 18:32].all() and int(grown.sum()) == 9 * 14


@pytest.mark.parametrize("quality", [5, 75])
def test_the_ringing_of_a_lossy_mask_is_not_painted(quality):
    disc, file = Image.new("L", (512, 384)), files.BytesIO()
    ImageDraw.Draw(disc).ellipse((200, 150, 240, 190), fill=255)
    disc.save(file, "JPEG", quality=quality)
    mask = torch.from_numpy(np.array(Image.open(file)))[None] / 255
    assert int((mask > 0).sum()) > 1600 and mask[..., 0, 0] == (8 / 255 if quality == 5 else 0)
    rows, columns = painted(mask)[0].nonzero().T
    assert rows.min() >= 144 and rows.max() < 192 and columns.min() >= 200 and columns.max() < 248


def test_a_file_that_is_nearly_opaque_is_not_painted(run_prompt, comfy_base):
    photo = noisy_photo(256, 192)
    alpha = np.full((192, 256), 254, np.uint8)
    alpha[100:110, 50:60] = 0
    Image.fromarray(np.dstack([photo, alpha])).save(comfy_base / "input" / "nearly.png")
    prompt = repair("nearly.png", "around mask", ["pinv", 0])
    del prompt["sampler"]
    outputs = run_prompt(prompt)
    assert outputs["fit"][0].shape == (1, 64, 64, 3) and int(outputs["fit"][1].sum()) == 100


@pytest.mark.parametrize(
    ("message", "mask"),
    [
        ("mask: it is all zero", torch.zeros(2, 64, 64)),
        ("mask: it is nowhere above 0.02, and the threshold is 0.04", torch.full((1, 24, 32), 0.02)),
        ("mask: a tensor .* is connected; connect a MASK .* of finite numbers", torch.full((1, 24, 32), torch.nan)),
        ("mask: an IMAGE is connected; connect a MASK", torch.ones(1, 24, 32, 3)),
        (r"mask: a tensor of shape \(0, 24, 32\)", torch.ones(0, 24, 32)),
    ],
)
def test_what_is_no_mask_is_refused_with_a_sentence(message, mask):
    with pytest.raises(ValueError, match=message):
        call("InpaintMask", mask=mask)


def test_a_mask_of_another_size_is_refused_with_both_sizes():
    (operator,) = call("InpaintMask", mask=HOLE)
    message = r"mask: Inpaint Mask has one of 32 x 24 pixels, but the image is 30 x 20 \(width x height\)"
    with pytest.raises(ValueError, match=message):
        call("MeasurementFromImage", image=torch.rand(1, 20, 30, 3), operator=operator, sigma=0.0)


def test_several_masks_of_one_image_count_together_and_other_numbers_are_refused():
    other = HOLE.flip(1)
    (operator,) = call("InpaintMask", mask=torch.stack((HOLE, other)).float())
    measurement, *_ = call("MeasurementFromImage", image=torch.ones(1, 24, 32, 3), operator=operator, sigma=0.0)
    assert torch.equal(measurement.y[0, 0] == 0, HOLE | other)
    with pytest.raises(ValueError, match="mask: these are 2 masks for 3 images"):
        call("MeasurementFromImage", image=torch.ones(3, 24, 32, 3), operator=operator, sigma=0.0)


@pytest.mark.parametrize(
    "around",
    [
        lambda s, mask: mask(s),
        lambda s, mask: Compose(s, [mask, SuperResolution]),
        lambda s, mask: Compose((3, 96, 128), [SuperResolution, mask]),
        lambda s, mask: Stack(s, [mask, SuperResolution]),
    ],
    ids=["alone", "before another", "after another", "stacked"],
)
def test_a_batch_with_a_mask_each_equals_its_single_runs(around):
    masks = ~torch.stack((HOLE, HOLE.flip(1), HOLE.flip(0)))[:, None]
    masks[1, :, :2] = False

    def operator(chosen: torch.Tensor):
        return around((3, 24, 32), lambda shape: InpaintMask(shape, chosen))

    together = operator(masks)
    x, x0 = torch.rand(2, 3, *together.image_shape)
    y = together(x)
    measurement = Measurement(y, together, 0.1)
    for i in range(3):
        A = operator(masks[i])
        one = Measurement(y[i, None], A, 0.1)
        assert torch.as_tensor(measurement.count).expand(3)[i] == one.count
        torch.testing.assert_close(y[i, None], A(x[i, None]))
        torch.testing.assert_close(together.adjoint(y)[i, None], A.adjoint(one.y))
        torch.testing.assert_close(
            together.prox(x0, y, 3.0)[i, None], A.prox(x0[i, None], one.y, 3.0), atol=1e-3, rtol=0
        )
        torch.testing.assert_close(measurement.rms_residual(x0)[i, None], one.rms_residual(x0[i, None]))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Glued MAP", "PSLD", "Proximal gluing"])
def test_scratched_photos_of_one_size_are_repaired_in_one_run(run_prompt, comfy_base, method):
    """Four photos with other scratches each: Find Scratches gives four masks, every other pixel is saved as it was."""
    photos = [noisy_photo(64, 64, seed).clip(40, 220) for seed in range(4)]
    for i, photo in enumerate(photos):
        photo[4:60, 6 + 15 * i : 8 + 15 * i] = 0
        Image.fromarray(photo).save(comfy_base / "input" / f"scratched{i}.png")
    prompt = repair("scratched0.png", "pad", ["sampler", 1], gamma=-1.0, omega=-1.0, candidates=2)
    prompt["sampler"]["inputs"]["method"] = method
    prompt |= {f"photo{i}": node("LoadImage", image=f"scratched{i}.png") for i in range(4)}
    prompt |= {f"two{i}": node("ImageBatch", image1=[f"photo{i}", 0], image2=[f"photo{i + 1}", 0]) for i in (0, 2)}
    prompt["photo"] = node("ImageBatch", image1=["two0", 0], image2=["two2", 0])
    lines = dict(tone="both", threshold=0.08, max_width=3, min_length=15, grow=0)
    prompt["lines"] = node("PSLD_FindLines", image=["photo", 0], **lines)
    prompt["fit"]["inputs"]["mask"] = ["lines", 0]
    outputs = run_prompt(prompt)
    mask, restored, loaded = outputs["lines"][0] > 0, outputs["undo"][0], outputs["photo"][0]
    assert mask.sum((1, 2)).tolist() == [112] * 4 and not torch.equal(mask[0], mask[1])
    assert torch.equal(restored[~mask], loaded[~mask]) and (restored[mask] > 0.05).float().mean() > 0.6
    for saved, photo, scratch in zip(saved_pictures(comfy_base, "repaired_pad", 4), photos, mask.numpy(), strict=True):
        assert (saved[~scratch] == photo[~scratch]).all()


def test_a_list_of_scratched_photos_of_other_sizes_is_repaired_in_one_run(run_prompt, comfy_base):
    """Each comes out at its size, and what is no scratch is saved as it was, to the bit."""
    sizes = ((64, 64), (90, 70), (41, 53))
    folder = comfy_base / "input" / "album"
    folder.mkdir(exist_ok=True)
    photos = [noisy_photo(*size).clip(40, 220) for size in sizes]
    for i, photo in enumerate(photos):
        photo[2:-2, 10 + 8 * i : 12 + 8 * i] = 0
        Image.fromarray(photo).save(folder / f"{i}.png")
    prompt = repair("", "pad", ["sampler", 1], candidates=1)
    prompt["sampler"]["inputs"]["method"] = "Proximal gluing"
    prompt["photo"] = node("LoadImageDataSetFromFolder", folder="album")
    lines = dict(tone="both", threshold=0.08, max_width=3, min_length=15, grow=0)
    prompt["lines"] = node("PSLD_FindLines", image=["photo", 0], **lines)
    prompt["fit"]["inputs"]["mask"] = ["lines", 0]
    run_prompt(prompt)
    saved = {picture.shape: picture for picture in saved_pictures(comfy_base, "repaired_pad", 3)}
    for photo in photos:
        scratch, repaired = (photo == 0).all(-1), saved[photo.shape]
        assert (repaired[~scratch] == photo[~scratch]).all() and (repaired[scratch] > 10).mean() > 0.6


def test_holes_far_apart_are_restored_one_window_each_and_stitched(run_prompt, comfy_base):
    photo = noisy_photo(300, 200)
    alpha = np.full((200, 300), 255, np.uint8)
    alpha[3:9, 4:10] = alpha[190:196, 280:286] = 0
    Image.fromarray(np.dstack([photo, alpha])).save(comfy_base / "input" / "apart.png")
    outputs = run_prompt(repair("apart.png", "around each hole", ["sampler", 1]))
    known = alpha > 0
    saved = saved_picture(comfy_base, "repaired_around_each_hole")
    assert saved.shape == photo.shape and (saved[known] == photo[known]).all()
    assert (saved[~known] != photo[~known]).mean() > 0.9
    assert outputs["fit"][0].shape == (1, 64, 64, 3)


def test_undo_fit_puts_back_only_what_is_painted(run_prompt, comfy_base):
    """Without Data Consistency the window's other pixels are the VAE's: with the mask they are the photo's."""
    photo = noisy_photo(150, 120)
    alpha = np.full((120, 150), 255, np.uint8)
    alpha[50:60, 70:80] = 0
    Image.fromarray(np.dstack([photo, alpha])).save(comfy_base / "input" / "hole.png")
    prompt = repair("hole.png", "around mask", ["sampler", 1])
    del prompt["consistent"]
    prompt["sampler"]["inputs"]["keep_measured"] = False
    prompt["undo"]["inputs"] |= {"image": ["sampler", 1], "mask": ["photo", 1]}
    run_prompt(prompt)
    known = alpha > 0
    assert (saved_picture(comfy_base, "repaired_around_mask")[known] == photo[known]).all()
    prompt["undo"]["inputs"]["feather"] = 4
    run_prompt(prompt)
    changed = (saved_picture(comfy_base, "repaired_around_mask") != photo).any(-1)
    assert changed[46:64, 66:84].mean() > 0.8 and not changed[:45].any() and not changed[:, 85:].any()


def test_a_window_that_is_missing_is_refused_with_a_sentence(run_prompt, comfy_base):
    photo = torch.rand(1, 100, 120, 3)
    mask = torch.zeros(1, 100, 120)
    mask[:, 2:4, 2:4] = mask[:, 90:92, 110:112] = 1
    vae = call("LoadLDM", ckpt_name=EMBEDDED)[1]
    images, _, windows = call("FitToModel", image=photo, vae=vae, method="around each hole", factor=1.0, size=32,
                              margin=4, mask=mask)  # fmt: skip
    assert len(images) == 2
    (whole,) = call("UndoFit", image=images, photo=[photo], fit=windows)
    assert torch.equal(whole[0], photo)
    with pytest.raises(ValueError, match="image: 1 windows of a photo are connected, but Fit to Model made 2"):
        call("UndoFit", image=images[:1], photo=[photo], fit=windows[:1])


def test_undo_fit_keeps_transparency_and_enlarges_it():
    """Split Image with Alpha, restore the colours, and give Undo Fit the photo with its alpha."""
    photo = torch.rand(1, 10, 12, 4)
    vae = call("LoadLDM", ckpt_name=EMBEDDED)[1]
    fit = dict(vae=vae, method="pad", size=32, margin=4)
    images, _, windows = call("FitToModel", image=photo[..., :3], factor=1.0, **fit)
    (same,) = call("UndoFit", image=images, photo=[photo], fit=windows)
    assert torch.equal(same[0], photo)
    images, _, windows = call("FitToModel", image=photo[..., :3], factor=2.0, **fit)
    enlarged = images[0].repeat_interleave(2, 1).repeat_interleave(2, 2)
    (large,) = call("UndoFit", image=[enlarged], photo=[photo], fit=windows)
    assert large[0].shape == (1, 20, 24, 4)
    halved = large[0][0, ..., 3].unflatten(1, (12, 2)).unflatten(0, (10, 2)).mean((1, 3))
    assert (halved - photo[0, ..., 3]).abs().mean() < 0.1


def test_a_refusal_reaches_the_user_as_a_sentence(run_prompt, comfy_base):
    Image.fromarray(noisy_photo(64, 64)).save(comfy_base / "input" / "opaque.png")
    prompt = repair("opaque.png", "around each hole", ["sampler", 1])
    with pytest.raises(Failed, match="mask: it is all zero, and marks nothing to fit around"):
        run_prompt(prompt)


def test_a_list_of_photos_of_other_sizes_comes_back_each_at_its_own():
    """As ComfyUI runs lists: Fit to Model once for each photo, Undo Fit once with all windows."""
    vae = call("LoadLDM", ckpt_name=EMBEDDED)[1]
    photos = [torch.rand(1, height, width, 3) for height, width in ((64, 64), (120, 90), (33, 47))]
    masks = [torch.zeros(1, *photo.shape[1:3]) for photo in photos]
    masks[0][:, 5:9, 5:9] = masks[1][:, :4, :4] = masks[1][:, -4:, -4:] = masks[2][:, 20:, 30:] = 1
    fit = dict(vae=vae, method="around each hole", factor=1.0, size=32, margin=4)
    images, windows = [], []
    for photo, mask in zip(photos, masks, strict=True):
        fitted, _, found = call("FitToModel", image=photo, mask=mask, **fit)
        images, windows = [*images, *(1 - image for image in fitted)], [*windows, *found]
    assert len(images) == 4
    (wholes,) = call("UndoFit", image=images, photo=photos, fit=windows, mask=masks)
    for whole, photo, mask in zip(wholes, photos, masks, strict=True):
        assert torch.equal(whole, torch.where(mask[..., None] > 0, 1 - photo, photo))


def test_six_repairs_of_one_photo_leave_the_rest_as_it_was(run_prompt, comfy_base):
    photo = noisy_photo(70, 60)
    known = np.ones((60, 70), bool)
    Image.fromarray(photo).save(comfy_base / "input" / "again.png")
    for i in range(6):
        box = (5 + 10 * i, 10, 11 + 10 * i, 30)
        known &= save_with_hole(comfy_base / "input" / "again.png", photo, box)
        prompt = repair("again.png", "pad", ["sampler", 1], candidates=1)
        prompt["sampler"]["inputs"]["method"] = "Proximal gluing"
        run_prompt(prompt)
        photo = saved_picture(comfy_base, "repaired_pad").copy()
    assert (photo[known] == noisy_photo(70, 60)[known]).all() and (~known).sum() == 6 * 6 * 20
