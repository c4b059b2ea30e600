"""The pictures of the help pages, `web/docs/pictures`: an operator's as in the gallery, another node's of its work."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from PIL import Image, ImageDraw

from ..devkit import ROOT
from . import figures, gallery, panels
from .sheet import INK, PAPER, font

FOLDER = ROOT / "web" / "docs" / "pictures"
SIDE, GAP, CAPTION = 192, 8, 22  # pixels, as the gallery's
LARGEST, QUALITIES = 30_000, range(80, 20, -5)  # bytes, and of JPEGs: the best that fits


def write() -> str:
    """Writes them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for node, draw in pictures().items():
        (FOLDER / f"PSLD_{node}.jpg").write_bytes(jpeg(draw()))
    return f"{FOLDER}: {len(pictures())} pictures"


def jpeg(picture: Image.Image) -> bytes:
    """A file that is small: noise takes a lower quality."""
    for quality in QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= LARGEST:
            break
    return file.getvalue()


def pictures() -> dict[str, Callable[[], Image.Image]]:
    """What draws the picture of each node."""
    operators = {example.node: example for example in reversed(gallery.EXAMPLES)}  # the first of each
    drawn = {node: lambda example=example: operator(example) for node, example in operators.items()}
    return drawn | {node: lambda show=show: grid(show()) for node, show in figures.FIGURES.items()}


def operator(example: gallery.Example) -> Image.Image:
    """The panels of an operator's strip in the gallery, two in a row and captioned in words: a help page is narrow."""
    with Image.open(gallery.FOLDER / example.file) as file:
        strip = file.convert("RGB")
    known = gallery.maker(example.node, example.inputs)((3, gallery.SIDE, gallery.SIDE))
    captions = ["photo", f"known of it: {panels.size(known)}", "adjoint, A^T y", "without a model, A^+ y"]
    lefts = range(0, strip.width if known.linear else strip.width // 2, SIDE + GAP)
    parts = [strip.crop((left, 0, left + SIDE, SIDE)) for left in lefts]
    return tiled([captioned(part, caption) for part, caption in zip(parts, captions, strict=False)])


def grid(shown: figures.Panels | Image.Image) -> Image.Image:
    """Captioned panels, two in a row; a picture of its own as it is."""
    if isinstance(shown, Image.Image):
        return shown
    return tiled([captioned(picture, caption) for caption, picture in shown.items()])


def tiled(tiles: list[Image.Image]) -> Image.Image:
    """Pictures of one size, two in a row."""
    width, height = tiles[0].size
    sheet = Image.new("RGB", (2 * width + GAP, -(-len(tiles) // 2) * (height + GAP) - GAP), PAPER)
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % 2 * (width + GAP), number // 2 * (height + GAP)))
    return sheet


def captioned(picture: Image.Image | torch.Tensor, caption: str) -> Image.Image:
    """A panel: pixels stay pixels, and a transparent part is white."""
    panel = Image.new("RGB", (SIDE, SIDE + CAPTION), PAPER)
    panel.paste(panels.fitted(figures.pillow(picture), SIDE, SIDE), (0, 0))
    ImageDraw.Draw(panel).text((SIDE // 2, SIDE + CAPTION // 2), caption, INK, font(13), anchor="mm")
    return panel
