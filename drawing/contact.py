"""Contact sheets of a restored folder: each photo beside what was made of it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageOps

from .sheet import GAP, INK, PALE, PAPER, font

SIDE, CAPTION, COLUMNS, ROWS = 160, 22, 4, 12  # pixels, pixels; photos across and down a sheet
BAD = "#b42318"


def write(folder: Path, out: Path, entries: list[dict[str, Any]]) -> list[Path]:
    """Draws `contact_sheet_1.jpg` and so on in `out` from the journal's entries."""
    for old in out.glob("contact_sheet_*.jpg"):
        old.unlink()
    sheets = []
    for start in range(0, len(entries), COLUMNS * ROWS):
        sheets.append(out / f"contact_sheet_{len(sheets) + 1}.jpg")
        sheet(folder, out, entries[start : start + COLUMNS * ROWS]).save(sheets[-1], quality=88)
    return sheets


def sheet(folder: Path, out: Path, entries: list[dict[str, Any]]) -> Image.Image:
    """One sheet."""
    columns, rows = min(COLUMNS, len(entries)), -(-len(entries) // COLUMNS)
    width, height = 2 * SIDE + GAP, SIDE + CAPTION + GAP
    page = Image.new("RGB", (columns * width + GAP, rows * height + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for index, entry in enumerate(entries):
        left, top = GAP + index % COLUMNS * width, GAP + index // COLUMNS * height
        draw.text((left, top + SIDE + 4), entry["photo"][-40:], PALE, font(14))
        if entry["state"] == "failed":
            draw.multiline_text((left, top), "\n".join(textwrap.wrap(entry["why"], 46)[:8]), BAD, font(14))
            continue
        for column, file in enumerate((folder / entry["photo"], out / entry["files"][-1])):
            page.paste(thumbnail(file), (left + column * SIDE, top))
    return page


def thumbnail(file: Path) -> Image.Image:
    """A square picture of a file; plain where it is gone by now."""
    square = Image.new("RGB", (SIDE, SIDE), PAPER)
    try:
        with Image.open(file) as picture:
            square.paste(ImageOps.contain(picture.convert("RGB"), (SIDE - 2, SIDE - 2)))
    except OSError:
        ImageDraw.Draw(square).rectangle((0, 0, SIDE - 3, SIDE - 3), outline=INK)
    return square
