"""The pack's icon and banner for the Comfy Registry: one hand, blurred on the left and clean on the right."""

from __future__ import annotations

from PIL import Image, ImageDraw

from ..devkit import ROOT
from .samples import FOLDER as PHOTOS
from .samples import sample
from .sheet import INK, PAPER, font

FOLDER = ROOT / "docs" / "registry"
ICON, BANNER = 256, (1260, 540)  # pixels; at most 400 x 400, and 21:9


def halves(side: int) -> Image.Image:
    """A square: the left half of the blurred sample and the right half of the clean one, with a line between."""
    before, after = (
        Image.open(PHOTOS / sample("ldm", kind)).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        for kind in ("blurred", "clean")
    )
    after.paste(before.crop((0, 0, side // 2, side)), (0, 0))
    after.paste(PAPER, (side // 2 - 1, 0, side // 2 + 2, side))
    return after


def banner() -> Image.Image:
    """The square, and the pack's name beside it."""
    sheet = Image.new("RGB", BANNER, PAPER)
    sheet.paste(halves(BANNER[1]), (0, 0))
    draw, left = ImageDraw.Draw(sheet), BANNER[1] + 60
    draw.text((left, 190), "PSLD", INK, font(110))
    draw.text((left, 320), "restores photos with the\nmodel you have", INK, font(44))
    return sheet


def write() -> str:
    """Writes both, in few colours."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, picture in (("icon", halves(ICON)), ("banner", banner())):
        picture.quantize(64, dither=Image.Dither.FLOYDSTEINBERG).save(FOLDER / f"{name}.png", optimize=True)
    return f"{FOLDER}: icon and banner"
