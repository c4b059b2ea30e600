"""The JPEG that a picture once was, found from its pixels, on Pillow's files."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from psld.operators.jpeg_search import find_jpeg
from psld.tests.prompts import call
from psld.tests.test_jpeg import photo, pixels, saved

HALVED = {0: (1, 1), 1: (1, 2), 2: (2, 2)}


@pytest.mark.parametrize("quality", [5, 20, 50, 90])
@pytest.mark.parametrize("sampling", HALVED)
def test_quality_and_sub_sampling_are_found(quality, sampling):
    """Tables of neighbouring qualities may differ in nothing but what all of them round to zero."""
    found = find_jpeg(pixels(saved(photo(90, 125), quality=quality, subsampling=sampling)))
    assert abs(found.quality - quality) <= 1 and found.halved == HALVED[sampling]
    assert found.maker((3, 16, 16)).halved == found.halved


@pytest.mark.parametrize(
    "picture",
    [
        photo(96, 128),
        saved(photo(96, 128), quality=100, subsampling=0),
        saved(photo(96, 128), quality=20).convert("RGB").crop((3, 5, 128, 96)),
        saved(photo(96, 128), quality=20).convert("RGB").resize((100, 75)),
        Image.new("RGB", (64, 64), "white"),
        Image.new("RGB", (7, 7), "grey"),
    ],
    ids=["no JPEG", "the best", "cropped", "scaled", "white", "small"],
)
def test_where_there_is_no_grid_none_is_found(picture):
    assert find_jpeg(pixels(picture)) is None


def test_a_known_quality_is_taken():
    for picture in (saved(photo(64, 64), quality=30, subsampling=0), Image.new("RGB", (7, 7))):
        assert find_jpeg(pixels(picture), 33).quality == 33


def test_what_is_cut_off_at_white_does_not_mislead():
    bright = photo(96, 128).point(lambda value: min(255, value + 60))
    assert find_jpeg(pixels(saved(bright, quality=15))).quality == 15


def test_restore_photo_says_where_it_finds_no_jpeg_and_refuses_no_quality():
    with torch.inference_mode():
        model, vae, _ = call("LoadLDM", ckpt_name="[embedded] hands64.safetensors")
    settings = dict(image=torch.rand(1, 32, 32, 3), model=model, vae=vae, problem="fix JPEG", quality="fast", seed=0,
                    prompt="")  # fmt: skip
    with pytest.raises(ValueError, match="strength: the photo shows no 8 x 8 grid of a JPEG.*give the quality"):
        call("RestorePhoto", strength=0.0, **settings)
    with pytest.raises(ValueError, match="strength: 101 is no JPEG quality; give 1 to 100"):
        call("RestorePhoto", strength=101.0, **settings)
