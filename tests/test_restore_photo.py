"""Restore Photo in the real executor: every problem on the embedded prior, in a job of four nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from psld.benchmarks.shakes import likeness
from psld.nodes import repair
from psld.nodes.problems import PROBLEMS
from psld.nodes.repair import Task, blur_of
from psld.operators.kernels import motion_kernel
from psld.tests.ldm import photo, psnr
from psld.tests.prompts import call, node

EMBEDDED = "[embedded] hands64.safetensors"


def save(file: Path, image: torch.Tensor, hole: tuple[int, int, int, int] | None = None) -> None:
    """An IMAGE of one as PNG, transparent in the box (left, top, right, bottom)."""
    picture = Image.fromarray((image[0] * 255).round().byte().numpy())
    if hole is not None:
        picture.putalpha(255)
        picture.paste((0, 0, 0, 0), hole)
    picture.save(file)


def job(name: str, problem: str, **settings) -> dict:
    """Load Image, a loader, Restore Photo, Save Image."""
    settings = dict(strength=0.0, quality="fast", seed=1, prompt="") | settings
    return {
        "photo": node("LoadImage", image=name),
        "prior": node("PSLD_LoadLDM", ckpt_name=EMBEDDED),
        "restore": node("PSLD_RestorePhoto", image=["photo", 0], mask=["photo", 1], model=["prior", 0],
                        vae=["prior", 1], problem=problem, **settings),
        "save": node("SaveImage", images=["restore", 0], filename_prefix="restored"),
    }  # fmt: skip


def spoilt(problem: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A photo as it should be and as it is, in sizes that are no multiple of 4 where they are not enlarged."""
    clean = photo() if PROBLEMS[problem].factor > 1 else photo()[:, 3:58, 5:62].clamp(0.15, 0.85)
    operator, parameters = {
        "sharpen: out of focus": ("GaussianBlur", dict(sigma=1.5, kernel_size=13, boundary="reflect")),
        "sharpen: motion": ("LineBlur", dict(length=5.0, angle=30.0, boundary="reflect")),
        "enlarge x2": ("SuperResolution", dict(factor=2.0, kernel="bicubic")),
        "enlarge x4": ("SuperResolution", dict(factor=4.0, kernel="bicubic")),
        "add colour": ("Greyscale", dict(red=0.299, green=0.587, blue=0.114)),
        "sharpen: unknown blur": ("GaussianBlur", dict(sigma=1.5, kernel_size=13, boundary="reflect")),
        "fix JPEG": ("JPEG", dict(quality=5, subsample=True)),
        "restore old photo": ("GaussianBlur", dict(sigma=1.2, kernel_size=11, boundary="reflect")),
        "enlarge x2: unknown blur": ("SuperResolution", dict(factor=2.0, kernel="bicubic")),
        "enlarge x4: unknown blur": ("SuperResolution", dict(factor=4.0, kernel="bicubic")),
    }.get(problem, ("Denoise", {}))
    sigma = {"remove noise": 0.2, "fix JPEG": 0.0}.get(problem, 0.02)
    (A,) = call(operator, **parameters)
    if "enlarge" in problem and "unknown blur" in problem:
        (A,) = call("Compose", first=call("GaussianBlur", sigma=1.5, kernel_size=13, boundary="reflect")[0], second=A)
    bad = call("Measure", image=clean, operator=A, noise="gaussian", sigma=sigma, seed=7)[1].clone()
    if problem in ("remove scratches", "restore old photo"):
        bad[:, :, 20:22] = 0
    return clean, bad


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_four_nodes_restore_a_photo(problem, run_prompt, comfy_base):
    clean, bad = spoilt(problem)
    save(comfy_base / "input" / "bad.png", bad, (20, 10, 40, 30) if problem == "fill a mask" else None)
    settings = dict(strength=5.0, angle=30.0) if problem == "sharpen: motion" else {}
    outputs = run_prompt(job("bad.png", problem, **settings))
    restored, pair, report = outputs["restore"]
    loaded = outputs["photo"][0]
    assert restored.shape == clean.shape and pair.shape[2] > 2 * restored.shape[2]
    assert torch.equal(pair[:, :, -restored.shape[2] :], restored)
    assert report.startswith(problem) and "Verdict: matches the photo" in report
    if PROBLEMS[problem].masked:
        hole = torch.zeros(restored.shape[1:3], dtype=torch.bool)
        hole[(slice(10, 30), slice(20, 40)) if problem == "fill a mask" else (slice(None), slice(19, 23))] = True
        assert torch.equal(restored[0][~hole], loaded[0][~hole])
        assert not torch.equal(restored[0][hole], loaded[0][hole])
    else:
        shown = pair[:, :, : restored.shape[2]]  # the photo at the restored one's size
        assert psnr(restored, clean) > psnr(shown, clean) + {"add colour": 0, "fix JPEG": 0.5}.get(problem, 1)


@pytest.mark.slow
def test_it_does_as_well_as_the_parts_by_hand(run_prompt, comfy_base):
    """The parts are told the noise, and the photo needs no fit."""
    clean = photo()
    (A,) = call("GaussianBlur", sigma=1.5, kernel_size=13, boundary="reflect")
    bad = call("Measure", image=clean, operator=A, noise="gaussian", sigma=0.02, seed=7)[1]
    save(comfy_base / "input" / "soft.png", bad)
    prompt = job("soft.png", "sharpen: out of focus", strength=1.5)
    prompt |= {
        "operator": node("PSLD_GaussianBlur", sigma=1.5, kernel_size=13, boundary="reflect"),
        "measurement": node("PSLD_MeasurementFromImage", image=["photo", 0], operator=["operator", 0], sigma=0.02),
        "sampler": node("PSLD_KSampler", model=["prior", 0], vae=["prior", 1], measurement=["measurement", 0], seed=1,
                        steps=10, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, method="Glued MAP", candidates=1),
        "by hand": node("PreviewImage", images=["sampler", 1]),
    }  # fmt: skip
    outputs = run_prompt(prompt)
    by_hand, restored = psnr(outputs["sampler"][1], clean), psnr(outputs["restore"][0], clean)
    assert restored > by_hand - 0.2 and restored > psnr(bad, clean) + 5


@pytest.mark.slow
def test_a_batch_equals_its_single_runs():
    with torch.inference_mode():
        model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    hole = torch.zeros(2, 64, 64)
    hole[0, 10:20, 30:40] = hole[1, 40:50, 5:30] = 1
    photos = torch.cat([photo(), photo().flip(2)])
    settings = dict(model=model, vae=vae, problem="fill a mask", strength=1.0, quality="fast", prompt="")
    restored, pair, report = call("RestorePhoto", image=photos, mask=hole, seed=4, **settings)
    assert len(pair) == 2 and report.count("Verdict") == 2
    for i in range(2):
        alone = call("RestorePhoto", image=photos[i, None], mask=hole[i, None], seed=4 + i, **settings)[0]
        assert torch.equal(alone[0], restored[i])


@pytest.mark.slow
def test_holes_far_apart_have_windows_of_their_own():
    """A window around both would be of 576 x 384 pixels."""
    with torch.inference_mode():
        model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    image = photo().repeat(1, 6, 9, 1)[:, :384, :576]
    holes = torch.zeros(1, 384, 576)
    holes[0, 10:20, 10:20] = holes[0, 364:374, 556:566] = 1
    settings = dict(model=model, vae=vae, problem="fill a mask", strength=0.0, quality="fast", seed=0, prompt="")
    restored, _, report = call("RestorePhoto", image=image, mask=holes, **settings)
    assert "in 2 windows" in report
    changed = (restored != image).any(-1)
    assert changed.any() and not (changed & (holes == 0)).any()


@pytest.mark.slow
def test_best_finds_a_blur_of_any_shape():
    model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    kernel = motion_kernel(13, 0.5, 2)
    (A,) = call("MotionBlur", kernel_size=13, intensity=0.5, seed=2, boundary="reflect")
    shaken = call("Measure", image=photo(), operator=A, noise="gaussian", sigma=0.02, seed=7)[1]
    task = Task(model, vae, PROBLEMS["sharpen: unknown blur"], 0.0, 0.0, "best", None, None)
    with torch.inference_mode():
        found = blur_of(task, shaken, torch.zeros(1, 64, 64, dtype=torch.bool), 0, 15)
    assert likeness(found.kernel, kernel) > 0.85, found


@pytest.mark.slow
def test_an_old_photo_keeps_less_of_scratches_that_were_not_found(monkeypatch):
    """Of a light tone, which remove scratches does not look for; less than if all of it were trusted.

    The blur is found once, for both runs.
    """
    with torch.inference_mode():
        model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    (A,) = call("GaussianBlur", sigma=1.2, kernel_size=11, boundary="reflect")
    bad = call("Measure", image=photo(), operator=A, noise="gaussian", sigma=0.02, seed=7)[1].clamp(0, 1).clone()
    bad[:, 10:12, 8:50] = bad[:, 14:58, 40:42] = torch.tensor((0.85, 0.82, 0.75))
    settings = dict(strength=0.0, quality="fast", seed=0, prompt="")
    settings |= dict(image=bad, model=model, vae=vae, problem="restore old photo")
    blur_of, found = repair.blur_of, []
    monkeypatch.setattr(repair, "blur_of", lambda *a: found[0] if found else found.append(blur_of(*a)) or found[0])
    restored = call("RestorePhoto", **settings)[0]
    monkeypatch.setattr(repair, "robust", lambda measurement: measurement)
    assert psnr(restored, photo()) > psnr(call("RestorePhoto", **settings)[0], photo()) + 1
