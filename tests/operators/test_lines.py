"""Scratches and stripes are found, and nothing else: precision and recall on photos spoilt by a known mask."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from psld import operators as ops
from psld.devkit import ROOT
from psld.operators.lines import find_lines


def photo(size: int = 256) -> torch.Tensor:
    """Hands before a light wall, with a black disc, a white box and dark, noisy hair: large areas that are no lines."""
    picture = Image.open(ROOT / "workflows" / "samples" / "hands_512.png").convert("RGB").crop((0, 0, size, size))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 30, 80, 100), fill="black")
    draw.rectangle((150, 150, 240, 200), fill="white")
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    image[..., 200:240, 20:100] = 0.04 * torch.rand(3, 40, 80)
    return image


def slanted(image_shape: ops.base.Shape, width: int) -> ops.InpaintMask:
    """Straight lines in four directions, which cross."""
    height, columns = image_shape[-2:]
    picture = Image.new("L", (columns, height), 255)
    for ends in [(0.05, 0, 0.45, 1), (1, 0.1, 0.3, 1), (0.4, 0, 1, 0.5), (0, 0.55, 1, 0.62)]:
        points = [n * size for n, size in zip(ends, 2 * (columns, height), strict=True)]
        ImageDraw.Draw(picture).line(points, fill=0, width=width)
    return ops.InpaintMask(image_shape, torch.from_numpy(np.array(picture)) / 255)


def precision_and_recall(found: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    hits = (found & truth).sum()
    return float(hits / found.sum()), float(hits / truth.sum())


SPOILT = {
    "thin scratches": partial(ops.InpaintScratches, count=6, width=1.5),
    "wide scratches": partial(ops.InpaintScratches, count=4, width=5.0, seed=3),
    "slanted lines": partial(slanted, width=2),
    "wide slanted lines": partial(slanted, width=5),
    "regular columns": partial(ops.Destripe, axis="columns", width=2, spacing=8),
    "alternating rows": partial(ops.InpaintLines, axis="rows", period=2),
    "random rows": partial(ops.Destripe, axis="rows", width=3, drop=0.15, seed=2),
}


@pytest.mark.parametrize("white", [False, True], ids=["black", "white"])
@pytest.mark.parametrize("lines", SPOILT)
def test_lines_are_found_and_large_areas_are_not(lines, white):
    clean = photo()
    truth = SPOILT[lines](clean.shape[1:]).mask.value[0] < 0.5
    spoilt = torch.where(truth, torch.tensor(float(white)), clean)
    noisy = (spoilt + 0.015 * torch.randn(clean.shape)).clamp(0, 1)
    tone = "bright" if white else "dark"
    found = find_lines(noisy, tone=tone, min_length=15, grow=0)[0]
    hidden = (clean.amin(1) >= 0.92 if white else clean.amax(1) <= 0.08)[0] & truth  # cannot be told from the area
    precision, recall = precision_and_recall(found, truth & ~hidden | found & truth)
    whole = isinstance(SPOILT[lines].func, type) and issubclass(SPOILT[lines].func, ops.Destripe)
    assert precision > (0.96 if whole else 0.86)  # where a line enters an area, a little of the area goes along
    assert recall > (0.99 if whole else 0.9)


def test_a_clean_photo_has_no_lines():
    assert not find_lines(photo()).any()


def test_blurred_scratches_are_covered_by_growing():
    clean = photo()[..., 110:150, :].repeat(1, 1, 4, 1)
    truth = SPOILT["wide scratches"](clean.shape[1:]).mask.value < 0.5
    soft = torch.nn.functional.avg_pool2d(truth.float(), 3, 1, 1, count_include_pad=False)
    spoilt = clean * (1 - soft)
    missed = [((soft > 0) & ~find_lines(spoilt, "dark", grow=n)).sum() / (soft > 0).sum() for n in range(4)]
    assert missed[0] > 0.2 and missed[2] < 0.05 and missed[0] > missed[1] > missed[2] >= missed[3]


def test_width_length_tone_and_threshold_limit_what_counts():
    image = torch.full((1, 3, 60, 60), 0.5)
    image[..., 10:12, 5:50] = 0.0  # 2 wide, 45 long, black
    image[..., 25:37, 5:50] = 1.0  # 12 wide, white
    image[..., 50, 5:15] = 0.1  # 10 long, nearly black
    count = partial(find_lines, image, grow=0)
    assert count().sum() == 90
    assert count(max_width=12).sum() == 90 + 12 * 45
    assert count("bright", max_width=12).sum() == 12 * 45
    assert count(min_length=46).sum() == 0
    assert count(threshold=0.11, min_length=10).sum() == 100
    assert count("dark", grow=2).sum() == 6 * 49


def test_a_batch_equals_its_single_runs_and_small_images_pass():
    spoilt = torch.stack([torch.where(SPOILT[name]((3, 256, 256)).mask.value < 0.5, 0.0, photo()[0])
                          for name in ("thin scratches", "slanted lines")])  # fmt: skip
    together = find_lines(spoilt)
    assert torch.equal(together, torch.cat([find_lines(one[None]) for one in spoilt]))
    assert find_lines(torch.zeros(1, 3, 2, 3)).shape == (1, 2, 3)


def test_another_tone_is_refused():
    with pytest.raises(ValueError, match="tone must be one of dark, bright, both"):
        find_lines(photo(), tone="red")
