"""Photos of any size in the real executor: fitted, restored, and back at their own size with their known pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from psld.tests.prompts import Failed, node

EMBEDDED = "[embedded] hands64.safetensors"


def noisy_photo(width: int, height: int, seed: int = 0) -> np.ndarray:
    """An RGB photo (H, W, 3) of shading and noise, which takes on all 256 values."""
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([x / width, y / height, 0.5 + 0.5 * np.sin(x / 40) * np.cos(y / 60)], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    return (255 * ramps + noise).clip(0, 255).astype(np.uint8)


def save_with_hole(file: Path, photo: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Saves an RGBA photo that is transparent in the box (left, top, right, bottom); returns where it is known."""
    known = np.ones(photo.shape[:2], bool)
    known[box[1] : box[3], box[0] : box[2]] = False
    Image.fromarray(np.dstack([photo, 255 * known.astype(np.uint8)])).save(file, compress_level=1)
    return known


def repair(photo: str, method: str, restored: list, **settings) -> dict:
    """Load Image to Save Image, around the node that restores; 8-bit in, 8-bit out."""
    sampler = dict(seed=1, steps=2, cfg=1.0, scheduler="karras", gamma=0.1, omega=0.1, method="PSLD") | settings
    fit = dict(method=method, factor=1.0, size=64, margin=8)
    return {
        "photo": node("LoadImage", image=photo),
        "prior": node("PSLD_LoadLDM", ckpt_name=EMBEDDED),
        "fit": node("PSLD_FitToModel", image=["photo", 0], vae=["prior", 1], mask=["photo", 1], **fit),
        "operator": node("PSLD_InpaintMask", mask=["fit", 1]),
        "measurement": node(
            "PSLD_MeasurementFromImage", image=["fit", 0], operator=["operator", 0], sigma=0.02
        ),
        "pinv": node("PSLD_ViewMeasurement", measurement=["measurement", 0], view="pseudo-inverse", rcond=0.1),
        "sampler": node(
            "PSLD_KSampler", model=["prior", 0], vae=["prior", 1], measurement=["measurement", 0], **sampler
        ),
        "consistent": node(
            "PSLD_DataConsistency", image=restored, measurement=["measurement", 0], method="exact", rcond=0.1, error=0.1
        ),
        "undo": node("PSLD_UndoFit", image=["consistent", 0], photo=["photo", 0], fit=["fit", 2]),
        "save": node("SaveImage", images=["undo", 0], filename_prefix=f"repaired_{method.replace(' ', '_')}"),
    }


def saved_pictures(base: Path, prefix: str, count: int) -> list[np.ndarray]:
    """The pictures last saved under a prefix, HWC, the oldest first."""
    return [np.asarray(Image.open(file)) for file in sorted((base / "output").glob(f"{prefix}_*.png"))[-count:]]


def saved_picture(base: Path, prefix: str) -> np.ndarray:
    """The picture last saved under a prefix, HWC."""
    return saved_pictures(base, prefix, 1)[0]


@pytest.mark.slow
def test_a_large_photo_with_an_alpha_hole_is_restored_and_keeps_its_size_and_known_pixels(run_prompt, comfy_base):
    """The embedded prior restores the hole in a window of its own size: sampling 1,537 x 2,049 takes a GPU."""
    photo = noisy_photo(1537, 2049)
    known = save_with_hole(comfy_base / "input" / "large.png", photo, (700, 1001, 731, 1030))
    outputs = run_prompt(repair("large.png", "around mask", ["sampler", 1]))
    assert outputs["fit"][0].shape == (1, 64, 64, 3) and int(outputs["fit"][1].sum()) == 31 * 29
    restored, loaded = outputs["undo"][0][0], outputs["photo"][0][0]
    assert restored.shape == (2049, 1537, 3)
    assert torch.equal(restored[known], loaded[known])
    saved = saved_picture(comfy_base, "repaired_around_mask")
    assert (saved[known] == photo[known]).all() and (saved[~known] != photo[~known]).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pad", "crop"])
def test_a_large_photo_passes_every_node_but_the_sampler_as_a_whole(run_prompt, comfy_base, method):
    photo = noisy_photo(1537, 2049)
    known = save_with_hole(comfy_base / "input" / "large.png", photo, (300, 0, 700, 900))
    prompt = repair("large.png", method, ["pinv", 0])
    del prompt["sampler"]
    prompt["save"] = node("PreviewImage", images=["undo", 0])
    outputs = run_prompt(prompt)
    assert outputs["fit"][0].shape == ((1, 2052, 1540, 3) if method == "pad" else (1, 2048, 1536, 3))
    restored, loaded = outputs["undo"][0][0], outputs["photo"][0][0]
    assert torch.equal(restored[known], loaded[known])
    middle = restored[1:899, 301:699]
    assert (middle == 0.5).all()  # what the pseudo-inverse puts into a hole


def test_a_padded_photo_is_restored_and_keeps_its_size_and_known_pixels(run_prompt, comfy_base):
    photo = noisy_photo(71, 53)
    known = save_with_hole(comfy_base / "input" / "small.png", photo, (20, 10, 50, 53))
    outputs = run_prompt(repair("small.png", "pad", ["sampler", 1]))
    assert outputs["fit"][0].shape == (1, 56, 72, 3)
    assert int(outputs["fit"][1].sum()) == 30 * 43 + 56 * 72 - 53 * 71
    restored, loaded = outputs["undo"][0][0], outputs["photo"][0][0]
    assert torch.equal(restored[known], loaded[known]) and not torch.equal(restored, loaded)
    assert (saved_picture(comfy_base, "repaired_pad")[known] == photo[known]).all()


def test_without_a_mask_only_the_padding_is_unknown(run_prompt, comfy_base):
    Image.fromarray(noisy_photo(70, 50)).save(comfy_base / "input" / "opaque.png")  # Load Image gives a 64 x 64 mask
    prompt = repair("opaque.png", "pad", ["pinv", 0])
    del prompt["sampler"]
    outputs = run_prompt(prompt)
    assert int(outputs["fit"][1].sum()) == 72 * 52 - 70 * 50
    assert torch.equal(outputs["undo"][0], outputs["photo"][0])


@pytest.mark.parametrize(("factor", "size"), [(4.0, (148, 180)), (2.5, (92, 112))])
def test_a_small_photo_of_any_size_comes_out_larger_by_the_factor(run_prompt, comfy_base, factor, size):
    Image.fromarray(noisy_photo(45, 37)).save(comfy_base / "input" / "thumbnail.png")
    sampler = dict(seed=1, steps=1, cfg=1.0, scheduler="karras", gamma=0.1, omega=0.1, method="LDPS")
    outputs = run_prompt(
        {
            "photo": node("LoadImage", image="thumbnail.png"),
            "prior": node("PSLD_LoadLDM", ckpt_name=EMBEDDED),
            "fit": node(
                "PSLD_FitToModel",
                image=["photo", 0],
                vae=["prior", 1],
                mask=["photo", 1],
                method="pad",
                factor=factor,
                size=64,
                margin=8,
            ),
            "operator": node("PSLD_SuperResolution", factor=factor, kernel="bicubic"),
            "measurement": node(
                "PSLD_MeasurementFromImage", image=["fit", 0], operator=["operator", 0], sigma=-1.0
            ),
            "sampler": node(
                "PSLD_KSampler", model=["prior", 0], vae=["prior", 1], measurement=["measurement", 0], **sampler
            ),
            "consistent": node(
                "PSLD_DataConsistency",
                image=["sampler", 1],
                measurement=["measurement", 0],
                method="exact",
                rcond=0.001,
                error=0.1,
            ),
            "undo": node("PSLD_UndoFit", image=["consistent", 0], photo=["photo", 0], fit=["fit", 2]),
            "again": node("PSLD_ApplyOperator", image=["consistent", 0], operator=["operator", 0], call="forward",
                          rcond=0.1),
            "preview": node("PreviewImage", images=["undo", 0]),
            "preview again": node("PreviewImage", images=["again", 0]),
        }
    )  # fmt: skip
    assert outputs["undo"][0].shape == (1, *size, 3)
    assert outputs["measurement"][2] == pytest.approx(2 * 12 / 255, rel=0.2)
    # Where black or white were not clipped, the enlarged photo is the small one once it is made small again.
    difference = (outputs["again"][0] - outputs["fit"][0]).abs()
    assert float(difference.median()) < 0.01


def test_scratches_are_found_and_restored(run_prompt, comfy_base):
    photo = noisy_photo(64, 64).clip(40, 220)
    scratched = photo.copy()
    scratched[5:60, 20:22], scratched[40, :] = 0, 255
    Image.fromarray(scratched).save(comfy_base / "input" / "scratched.png")
    prompt = repair("scratched.png", "pad", ["sampler", 1])
    prompt["fit"]["inputs"]["mask"] = ["lines", 0]
    prompt["lines"] = node("PSLD_FindLines", image=["photo", 0], tone="both", threshold=0.08, max_width=3,
                           min_length=15, grow=0)  # fmt: skip
    outputs = run_prompt(prompt)
    lines = (scratched != photo).any(-1)
    assert (outputs["lines"][0][0].numpy() == lines).all()
    restored = saved_picture(comfy_base, "repaired_pad")
    assert (restored[~lines] == photo[~lines]).all() and (restored[lines] != scratched[lines]).any(-1).mean() > 0.5


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("mask: it is 20 x 20, but the image is 71 x 53", {"fit": {"mask": ["other", 1]}}),
        ("mask: it is all zero, and marks nothing", {"fit": {"method": "around mask", "mask": ["opaque", 1]}}),
        ("method: 'stretch' is not one of pad, crop, around mask", {"fit": {"method": "stretch"}}),
        ("cannot be cropped; choose pad", {"fit": {"image": ["other", 0], "method": "crop", "factor": 1.01}}),
        ("photo: it is 20 x 20, but a photo of 71 x 53 went", {"undo": {"photo": ["other", 0]}}),
        ("image: the restored image is 71 x 53.* no multiple of the fitted 72 x 56", {"undo": {"image": ["photo", 0]}}),
        ("mask: it is all zero", {"operator": {"mask": ["opaque", 1]}}),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(run_prompt, comfy_base, message, change):
    save_with_hole(comfy_base / "input" / "small.png", noisy_photo(71, 53), (20, 10, 50, 53))
    save_with_hole(comfy_base / "input" / "other.png", noisy_photo(20, 20), (5, 5, 9, 9))
    Image.fromarray(noisy_photo(71, 53)).save(comfy_base / "input" / "opaque.png")
    prompt = repair("small.png", "pad", ["pinv", 0])
    del prompt["sampler"]
    prompt["other"] = node("LoadImage", image="other.png")
    prompt["opaque"] = node("LoadImage", image="opaque.png")
    for name, inputs in change.items():
        prompt[name]["inputs"] |= inputs
        if inputs.get("image") == ["other", 0]:
            prompt[name]["inputs"]["mask"] = ["other", 1]
    with pytest.raises(Failed, match=message):
        run_prompt(prompt)
