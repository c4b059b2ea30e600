"""The plot of `dev.py bench models`: seconds of a step as bars, of which the networks' own passes are the dark part."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageDraw, ImageFont

Row = dict[str, Any]
GAP, NAME, METHOD, BAR, NOTE, LINE, HEADER = 16, 230, 150, 420, 420, 24, 64  # pixels
INK, PALE, PAPER, DARK, LIGHT = "#1f2328", "#656d76", "#ffffff", "#0969da", "#b6e3ff"


def draw(rows: list[Row]) -> Image.Image:
    """A line per row; bars of one family have the same scale, since families differ by orders of magnitude."""
    families = list(dict.fromkeys(row["family"] for row in rows))
    sheet = Image.new("RGB", (GAP + NAME + METHOD + BAR + NOTE, HEADER + LINE * (len(rows) + len(families))), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 20), "Seconds of a step: dark, the networks alone; light, the rest", INK, font(18), anchor="lm")
    device = rows[0]["device"] if rows else ""
    pen.text((GAP, 44), f"{device}; bars of a family share a scale; memory at the peak", PALE, font(14), anchor="lm")
    top = HEADER
    for family in families:
        here = [row for row in rows if row["family"] == family]
        pen.text((GAP, top + LINE // 2), family, INK, font(16), anchor="lm")
        longest = max(row["seconds"] for row in here)
        for row in here:
            bar(pen, top, row, longest)
            top += LINE
        top += LINE
    return sheet


def bar(pen: ImageDraw.ImageDraw, top: int, row: Row, longest: float) -> None:
    """One row."""
    middle, left = top + LINE // 2, GAP + NAME + METHOD
    pen.text((GAP + NAME, middle), f"{row['method']}, {row['size']}", INK, font(13), anchor="lm")
    whole, alone = (max(1, round(BAR * row[name] / longest)) for name in ("seconds", "networks"))
    pen.rectangle((left, top + 4, left + whole, top + LINE - 4), LIGHT)
    pen.rectangle((left, top + 4, left + min(alone, whole), top + LINE - 4), DARK)
    note = f"{row['seconds']:.3g} s, {row['peak_gib']:.1f} GiB, {row['tier']}"
    pen.text((left + BAR + GAP, middle), note, PALE, font(13), anchor="lm")


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, the same on every machine."""
    return ImageFont.load_default(size)
