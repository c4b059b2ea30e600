"""The demo's comparison sheet: a row per task, a column per picture, numbers under the pictures."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageDraw, ImageFont

COLUMNS = {"truth": "truth", "measured": "measurement y", "pinv": "A^+ y", "restored": "restored"}
PICTURE, GAP, LABEL, HEADER, CAPTION = 256, 16, 210, 48, 30  # pixels
INK, PALE, GOOD, PAPER = "#1f2328", "#656d76", "#116329", "#ffffff"

Row = tuple[dict[str, Any], dict[str, Image.Image]]


def comparison_sheet(rows: list[Row]) -> Image.Image:
    """Draws the sheet from (metrics, pictures by name) of each task."""
    height = PICTURE + CAPTION + GAP
    sheet = Image.new("RGB", (LABEL + len(COLUMNS) * (PICTURE + GAP) + GAP, HEADER + len(rows) * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(COLUMNS.values()):
        draw.text((left(column) + PICTURE // 2, HEADER // 2), title, INK, font(20), anchor="mm")
    for index, (metrics, pictures) in enumerate(rows):
        top = HEADER + index * height
        draw_label(draw, top, metrics)
        for column, name in enumerate(COLUMNS):
            sheet.paste(enlarged(pictures[name]), (left(column), top))
            text, colour = caption(name, pictures[name], metrics)
            draw.text((left(column) + PICTURE // 2, top + PICTURE + CAPTION // 2), text, colour, font(16), anchor="mm")
    return sheet


def left(column: int) -> int:
    """The left edge of a column."""
    return LABEL + column * (PICTURE + GAP)


def enlarged(picture: Image.Image) -> Image.Image:
    """The picture at sheet size: pixels stay pixels, so that nothing is prettier than it is."""
    return picture.resize((PICTURE, PICTURE), Image.Resampling.NEAREST)


def draw_label(draw: ImageDraw.ImageDraw, top: int, metrics: dict[str, Any]) -> None:
    """The task, and how it was solved, left of its pictures."""
    title = metrics["task"].replace("super_resolution", "super-resolution").replace("gaussian", "Gaussian")
    words = title.split("_")
    for line, word in enumerate(words):
        draw.text((GAP, top + 84 + 26 * line), word, INK, font(22))
    formats = {"method": "{}", "nfe": "{} NFE", "seconds": "{:.1f} s", "sigma_y": "noise {:.2g}"}
    facts = [form.format(metrics[name]) for name, form in formats.items() if metrics.get(name) is not None]
    for line, fact in enumerate(facts):
        draw.text((GAP, top + 94 + 26 * len(words) + 21 * line), fact, PALE, font(16))


def caption(name: str, picture: Image.Image, metrics: dict[str, Any]) -> tuple[str, str]:
    """The line under a picture, and its colour: green where the restoration beats A^+ y."""
    if name in ("truth", "measured"):
        return f"{picture.width} x {picture.height} px", PALE
    if name == "pinv":
        return f"{metrics['psnr_measurement']:.2f} dB{hole(metrics, 'psnr_hole_measurement')}", INK
    text = f"{metrics['psnr']:.2f} dB{hole(metrics, 'psnr_hole')}, SSIM {metrics['ssim']:.3f}"
    return text, GOOD if metrics["psnr"] > metrics["psnr_measurement"] else INK


def hole(metrics: dict[str, Any], name: str) -> str:
    """The PSNR inside an inpainting's hole, in brackets."""
    return f" (hole {metrics[name]:.2f})" if name in metrics else ""


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, the same on every machine."""
    return ImageFont.load_default(size)
