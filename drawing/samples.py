"""The spoilt sample photos of `workflows/samples`, made from the clean ones; `dev.py draw samples` writes them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from ..devkit import ROOT

FOLDER = ROOT / "workflows" / "samples"
HOLES = {  # clean photo, crop and, in the crop, the transparent ellipse: left, top, right, bottom
    "hand_hole.png": ("hand_zero.png", (1, 0, 62, 63), (22, 14, 46, 40)),
    "hands_hole.png": ("hands_512.png", (0, 0, 509, 403), (110, 120, 190, 195)),
}
LINES = {  # clean photo, number of scratches of each tone, dead columns
    "hand_lines.png": ("hand_four.png", 1, (12, 13, 37, 52)),
    "hands_lines.png": ("hands_512.png", 4, (100, 101, 102, 300, 301, 411)),
}


def with_hole(name: str) -> Image.Image:
    """A cropped RGBA photo with a transparent hole, whose colour is lost."""
    source, crop, hole = HOLES[name]
    photo = Image.open(FOLDER / source).convert("RGBA").crop(crop)
    ImageDraw.Draw(photo).ellipse(hole, fill=(0, 0, 0, 0))
    return photo


def with_lines(name: str) -> Image.Image:
    """An RGB photo with black and white scratches and black columns."""
    source, count, columns = LINES[name]
    photo = Image.open(FOLDER / source).convert("RGB")
    random, draw = np.random.default_rng(1), ImageDraw.Draw(photo)
    for tone in ["black", "white"] * count:
        top, bottom = photo.height * random.uniform((0, 0.6), (0.4, 1))
        waver = random.normal(0, photo.width / 60, 8).cumsum()
        x = photo.width * random.uniform(0.1, 0.9) + waver
        draw.line(list(zip(x, np.linspace(top, bottom, 8), strict=True)), fill=tone)
    for x in columns:
        draw.line((x, 0, x, photo.height), fill="black")
    return photo


def write() -> str:
    """Writes them anew."""
    for name in HOLES:
        with_hole(name).save(FOLDER / name, optimize=True)
    for name in LINES:
        with_lines(name).save(FOLDER / name, optimize=True)
    return f"{FOLDER}: {len(HOLES) + len(LINES)} spoilt photos"
