"""The spoilt photos of `workflows/input`, made from the clean ones; `dev.py draw samples` writes them.

ComfyUI's input folder gets a copy of each when the pack is loaded, so every name begins with `psld_`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from ..devkit import ROOT

CLEAN = ROOT / "workflows" / "samples"
FOLDER = ROOT / "workflows" / "input"
SIGMA_BLUR, SIGMA_NOISE = {"ldm": 1.5, "sd15": 3.0}, 0.2
"""Of the blurred photo in pixels, and of the noisy one in [-1, 1]"""
RADIUS = {"ldm": 2.5, "sd15": 6.0}
"""Of the photo of a lens out of focus, in pixels."""
SIGMA_OLD, GRAIN = {"ldm": 1.0, "sd15": 2.0}, 0.05
"""Blur and noise of the old photo."""
CAMERA_NOISE = 0.02
SMALLER = 4
QUALITY = 10
"""Of the JPEG."""


class Photo(NamedTuple):
    """A clean photo, and what spoils it: the hole's box in it, scratches of each tone, and dead columns."""

    file: str
    name: str
    hole: tuple[int, int, int, int]
    scratches: int
    columns: tuple[int, ...]


PHOTOS = {
    "ldm": Photo("hand_five.png", "psld_hand", (22, 14, 46, 40), 1, (12, 13, 37, 52)),
    "sd15": Photo("hands_512.png", "psld_hands", (110, 120, 190, 195), 4, (100, 101, 102, 300, 301, 411)),
}


def sample(prior: str, kind: str) -> str:
    """The name of a sample photo for a prior; `kind` is "clean" or one of `SPOILT`."""
    lossless = kind != "coarse" if prior == "ldm" else kind in LOSSLESS
    suffix = ".png" if lossless else ".jpg"
    return PHOTOS[prior].name + ("" if kind == "clean" else f"_{kind}") + suffix


def clean(prior: str) -> Image.Image:
    """The photo as it was."""
    return Image.open(CLEAN / PHOTOS[prior].file).convert("RGB")


def measured(prior: str, operator: Callable, sigma: float) -> Image.Image:
    """A x + noise, as a picture of 8 bits."""
    from ..operators import GaussianNoise

    x = torch.from_numpy(np.array(clean(prior))).movedim(-1, 0)[None].double() / 127.5 - 1
    y = GaussianNoise(sigma).sample(operator(tuple(x.shape[1:]))(x), seed=0)
    return Image.fromarray(((y[0].movedim(0, -1).clamp(-1, 1) + 1) * 127.5).round().byte().numpy())


def blurred(prior: str) -> Image.Image:
    """Out of focus."""
    from ..operators import GaussianBlur

    sigma = SIGMA_BLUR[prior]
    return measured(prior, lambda shape: GaussianBlur(shape, sigma, 2 * round(4 * sigma) + 1), CAMERA_NOISE)


def small(prior: str, factor: int = SMALLER) -> Image.Image:
    """A quarter of the size."""
    from ..operators import SuperResolution

    return measured(prior, lambda shape: SuperResolution(shape, float(factor)), CAMERA_NOISE)


def noisy(prior: str) -> Image.Image:
    """Taken in the dark."""
    from ..operators import Denoise

    return measured(prior, Denoise, SIGMA_NOISE)


def hole(prior: str) -> Image.Image:
    """RGBA with a transparent hole, whose colour is lost."""
    photo = clean(prior).convert("RGBA")
    ImageDraw.Draw(photo).ellipse(PHOTOS[prior].hole, fill=(0, 0, 0, 0))
    return photo


def torn(prior: str) -> Image.Image:
    """RGBA, a corner torn off."""
    photo = clean(prior).convert("RGBA")
    across, down = (np.array([0.45, 0.38, 0.33, 0.24, 0.2, 0.09, 0.0]) * n for n in photo.size)
    edge = list(zip(across, down[::-1], strict=True))
    ImageDraw.Draw(photo).polygon([(0, 0), *edge], fill=(0, 0, 0, 0))
    return photo


def grey(prior: str) -> Image.Image:
    """Black and white."""
    return clean(prior).convert("L").convert("RGB")


def scratched(prior: str) -> Image.Image:
    """Black and white scratches and black columns."""
    return scratch(clean(prior), prior)


def old(prior: str) -> Image.Image:
    """A print in a drawer: soft, grainy, and scratched."""
    from ..operators import GaussianBlur

    sigma = SIGMA_OLD[prior]
    soft = measured(prior, lambda shape: GaussianBlur(shape, sigma, 2 * round(4 * sigma) + 1), GRAIN)
    return scratch(soft, prior)


def defocused(prior: str) -> Image.Image:
    """Taken by a lens that was out of focus: points are discs."""
    from ..operators import DefocusBlur

    return measured(prior, lambda shape: DefocusBlur(shape, RADIUS[prior], boundary="reflect"), CAMERA_NOISE)


def coarse(prior: str) -> Image.Image:
    """Saved as a JPEG of low quality."""
    file = io.BytesIO()
    clean(prior).save(file, "JPEG", quality=QUALITY)
    return Image.open(file)


def scratch(photo: Image.Image, prior: str) -> Image.Image:
    """The photo with the scratches of a prior's sample."""
    random, draw = np.random.default_rng(1), ImageDraw.Draw(photo)
    for tone in ["black", "white"] * PHOTOS[prior].scratches:
        top, bottom = photo.height * random.uniform((0, 0.6), (0.4, 1))
        waver = random.normal(0, photo.width / 60, 8).cumsum()
        x = photo.width * random.uniform(0.1, 0.9) + waver
        draw.line(list(zip(x, np.linspace(top, bottom, 8), strict=True)), fill=tone)
    for x in PHOTOS[prior].columns:
        draw.line((x, 0, x, photo.height), fill="black")
    return photo


SPOILT = {
    "blurred": blurred,
    "small": small,
    "noisy": noisy,
    "hole": hole,
    "scratched": scratched,
    "defocused": defocused,
    "coarse": coarse,
    "old": old,
    "half": partial(small, factor=2),
    "torn": torn,
    "grey": grey,
}
LOSSLESS = ("hole", "torn", "scratched", "old")
"""Those that are no JPEG, though they are large: they have transparent pixels, or thin lines."""


def write() -> str:
    """Writes them anew."""
    FOLDER.mkdir(exist_ok=True)
    well = {"optimize": True, "quality": 95, "subsampling": 0}
    for prior in PHOTOS:
        clean(prior).save(FOLDER / sample(prior, "clean"), **well)
        for kind, spoil in SPOILT.items():
            photo = spoil(prior)
            photo.save(FOLDER / sample(prior, kind), **({"quality": "keep"} if photo.format == "JPEG" else well))
    return f"{FOLDER}: {len(list(FOLDER.iterdir()))} photos"
