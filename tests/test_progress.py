"""What is shown while a sampler runs: live pictures where ComfyUI was told to show them, the time left, the verdict."""

from __future__ import annotations

import comfy.utils
import pytest
import torch
from comfy.cli_args import LatentPreviewMethod, args
from psld.nodes.progress import LAST_SIZE, PREVIEW_SIZE, last_picture, time_left
from psld.tests.ldm import photo
from psld.tests.prompts import call


@pytest.fixture
def shown():
    """(value, total, live picture) of each step."""
    reports = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview=None, **_: reports.append((value, preview)))
    before = args.preview_method
    yield reports
    args.preview_method = before
    comfy.utils.set_progress_bar_global_hook(None)


@pytest.mark.parametrize(("method", "pictures"), [("NoPreviews", 0), ("Auto", 3), ("Latent2RGB", 3)])
def test_pictures_are_shown_only_where_they_are_asked_for(method, pictures, shown):
    args.preview_method = LatentPreviewMethod[method]
    with torch.inference_mode():
        model, vae, _ = call("LoadLDM", ckpt_name="[embedded] hands64.safetensors")
    (operator,) = call("Denoise")
    measurement = call("Measure", image=photo(), operator=operator, noise="gaussian", sigma=0.1, seed=0)[0]
    settings = dict(seed=0, steps=3, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, method="PSLD")
    report = call("KSampler", model=model, vae=vae, measurement=measurement, **settings)[2]
    assert [value for value, _ in shown] == [1, 2, 3]
    assert sum(picture is not None for _, picture in shown) == pictures
    assert report.verdict == "matches the photo up to its noise"


@pytest.mark.parametrize(("width", "size"), [(520, 520), (3000, LAST_SIZE)])
def test_the_last_picture_takes_the_live_ones_place(width, size, shown):
    args.preview_method = LatentPreviewMethod.Auto
    last_picture(torch.rand(2, 256, width, 3), 20)
    ((steps, (_, picture, longest)),) = shown
    assert steps == 20 and picture.size == (width, 256) and longest == size > PREVIEW_SIZE
    args.preview_method = LatentPreviewMethod.NoPreviews
    last_picture(torch.rand(1, 256, width, 3), 20)
    assert len(shown) == 1


@pytest.mark.parametrize(("ends", "words"), [([0, 1, 3, 5], "about 20 s"), ([0, 9, 69], "about 6 min")])
def test_the_time_left_is_told_by_the_last_two_steps(ends, words):
    assert time_left([float(end) for end in ends], 10) == words
