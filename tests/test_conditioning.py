"""A model that takes a text is told zeros of its own size where nobody connects a CLIP."""

from __future__ import annotations

import pytest
import torch
from psld.runtime.conditioning import empty_conditioning
from psld.tests.families import ALL, HERE, NO_GRADIENT, load
from psld.tests.ldm import photo
from psld.tests.prompts import call

WORKING = [family for family in HERE if family.works in (ALL, NO_GRADIENT)]
POOLED = {"SDXL", "SDXL refiner", "SD 3.5", "FLUX.1 dev"}
pytestmark = pytest.mark.usefixtures("single_thread")


def test_the_empty_text_has_the_size_that_each_family_takes():
    known = set()
    for family in WORKING:
        model, _, conditioning = load(family)
        empty = empty_conditioning(model)
        if empty is None:
            continue
        known.add(family.name)
        (text, extra), (expected, given) = empty[0], conditioning[0]
        assert text.shape[-1] == expected.shape[-1] and not text.any(), family.name
        if family.name in POOLED or ("pooled_output" in extra and family.pooled):
            assert extra["pooled_output"].shape == given["pooled_output"].shape, family.name
    assert known >= POOLED | {"SD 1.5", "SD 2.1"}


def test_a_photo_is_restored_without_a_clip_and_a_prompt_without_one_is_refused():
    family = WORKING[0]
    model, vae, _ = load(family)
    hole = torch.zeros(1, 64, 64)
    hole[:, 20:30, 20:30] = 1
    settings = dict(image=photo(), model=model, vae=vae, problem="fill a mask", strength=0.0, quality="fast", seed=0)
    restored, _, report = call("RestorePhoto", **settings, prompt="", mask=hole)
    assert torch.equal(restored[hole == 0], photo()[hole == 0])
    assert "Note: No CLIP is connected" in report
    with pytest.raises(ValueError, match="prompt: nothing can read it without a CLIP; connect clip"):
        call("RestorePhoto", **settings, prompt="a hand", mask=hole)
