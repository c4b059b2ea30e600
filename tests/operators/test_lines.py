"""Scratches and stripes are found, and nothing else: precision and recall on photos spoilt by a known mask."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from psld import operators as ops
from psld.devkit import ROOT
from psld.operators.lines import dilate, find_lines


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


FACES = sorted((ROOT / "workflows" / "samples").glob("face*.png"))
TONES = ((0.42, 0.42, 0.42), (0.8, 0.3, 0.2), (0.3, 0.3, 0.8))


def damaged(damage) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Nine faces with (image shape, number) -> damage (H, W) of some tone: photo, damage, and where it shows."""
    cases = []
    for i, file in enumerate(FACES):
        clean = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)[None] / 255
        truth, colour = damage(clean.shape[1:], i), torch.tensor(TONES[i % 3]).view(1, 3, 1, 1)
        spoilt = torch.where(truth, colour, clean) + 0.01 * torch.randn(clean.shape)
        cases.append((spoilt.clamp(0, 1), truth, truth & ((colour - clean).abs().amax(1)[0] > 0.12)))
    return cases


def scores(cases: list, **settings) -> tuple[float, float]:
    """Mean precision and recall over photos; a pixel beside the damage is not wrong."""
    found = [(find_lines(photo, grow=0, **settings)[0], truth, seen) for photo, truth, seen in cases]
    precision = [float((f & dilate(t[None], 1)[0]).sum() / f.sum().clamp_min(1)) for f, t, _ in found]
    return float(np.mean(precision)), float(np.mean([float((f & s).sum() / s.sum()) for f, _, s in found]))


def test_scratches_of_any_tone_are_found_on_real_photos():
    """Two thirds of them, and two thirds of what is found are theirs; black and white are looked for as before."""
    cases = damaged(lambda s, i: ops.InpaintScratches(s, count=4, width=2.0, seed=i).mask.value[0] < 0.5)
    assert scores(cases, tone="both", max_width=3)[1] < 0.01
    precision, recall = scores(cases, tone="any", max_width=3)
    assert precision > 0.6 and recall > 0.55
    black = [(torch.where(truth, 0.0, photo), truth, truth) for photo, truth, _ in cases]
    assert scores(black, tone="any", max_width=3)[1] >= scores(black, tone="both", max_width=3)[1] > 0.8


def specks(shape, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*map(torch.arange, shape[1:]), indexing="ij")
    discs = [(*(torch.rand(2, generator=generator) * shape[1]).tolist(), 0.8 + 0.1 * i) for i in range(15)]
    return torch.stack([(y - row) ** 2 + (x - column) ** 2 <= r * r for row, column, r in discs]).any(0)


def test_dust_is_found_on_real_photos():
    precision, recall = scores(damaged(specks), tone="dust", max_width=5, threshold=0.12)
    assert precision > 0.25 and recall > 0.6


def test_a_scratch_across_a_smooth_photo_is_found_and_an_edge_is_not():
    image = torch.linspace(0.2, 0.8, 90).expand(1, 3, 90, 90).clone()
    image[..., 60:, :] = 0.3  # an edge
    image[:, 0, range(5, 50), range(10, 55)] = 0.9
    found = find_lines(image, "any", max_width=2, grow=0)[0]
    assert found[range(9, 46), range(14, 51)].all() and found.sum() < 100
    assert not find_lines(image, "dust", max_width=2, grow=0)[0, :4].any()


def test_a_batch_equals_its_single_runs_and_small_images_pass():
    spoilt = torch.stack([torch.where(SPOILT[name]((3, 256, 256)).mask.value < 0.5, 0.0, photo()[0])
                          for name in ("thin scratches", "slanted lines")])  # fmt: skip
    together = find_lines(spoilt)
    assert torch.equal(together, torch.cat([find_lines(one[None]) for one in spoilt]))
    for tone in ("any", "dust"):
        singles = [find_lines(one[None], tone) for one in spoilt]
        assert torch.equal(find_lines(spoilt, tone), torch.cat(singles))
        assert find_lines(torch.zeros(1, 3, 2, 3), tone).shape == (1, 2, 3)
    assert find_lines(torch.zeros(1, 3, 2, 3)).shape == (1, 2, 3)


def test_another_tone_is_refused():
    with pytest.raises(ValueError, match="tone must be one of dark, bright, both"):
        find_lines(photo(), tone="red")
