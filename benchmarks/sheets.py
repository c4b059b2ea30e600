"""The pictures of a quality run: kept as files while it goes on, drawn as one comparison sheet per task."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from ..drawing.sheet import INK, PALE, PAPER, font
from ..operators import LinearOperator
from .images import TestImage, picture_from_pixels
from .table import Row, groups

PICTURE, GAP, HEADER, CAPTION = 160, 12, 56, 26  # pixels
GIVEN = ("truth", "y", "A^+ y")


class Gallery:
    """Keeps some images' pictures in a folder beside the results file, so that a resumed run can still show them."""

    def __init__(self, out: Path, images: list[TestImage], seed: int) -> None:
        self.out, self.seed = out, seed
        self.images = [image.name for image in images]
        self.folder = out.with_suffix("")

    def keep(self, row: Row, image: TestImage, y: Tensor, pinv: Tensor, A: LinearOperator, x: Tensor) -> None:
        """Saves the pictures that belong to a row, where its image and seed are to be shown."""
        if row["image"] not in self.images or row["seed"] != self.seed:
            return
        self.folder.mkdir(exist_ok=True)
        measured = y if y.ndim == 4 else A.adjoint(y)
        for name, pixels in zip((*GIVEN, label(row)), (image.x, measured, pinv, x), strict=True):
            picture_from_pixels(pixels).save(self.file(row, name))

    def file(self, row: Row, name: str) -> Path:
        """Where a picture lies."""
        words = [row["task"], f"{row['sigma_y']:g}", row["image"], str(row["seed"]), name]
        return self.folder / (re.sub(r"[^\w.+-]+", "_", "-".join(words)) + ".png")

    def draw(self, rows: list[Row]) -> list[Path]:
        """Draws a sheet for each task and noise level: its files."""
        shown = [row for row in rows if row["image"] in self.images and row["seed"] == self.seed]
        sheets = []
        for task, sigma_y in groups(shown, "task", "sigma_y"):
            here = [row for row in shown if (row["task"], row["sigma_y"]) == (task, sigma_y)]
            sheets.append(self.out.with_name(f"{self.out.stem}_{task}_{sigma_y:g}.png"))
            draw_sheet(f"{task}, sigma_y {sigma_y:g}", *self.pictures(here)).save(sheets[-1])
        return sheets

    def pictures(self, rows: list[Row]) -> tuple[list[str], list[list[tuple[Path, str]]]]:
        """The names of a task's columns and, for each image, the files and captions of its pictures."""
        names = list(dict.fromkeys(label(row) for row in rows))
        lines = []
        for image in self.images:
            mine = {label(row): row for row in rows if row["image"] == image}
            if mine:
                first = next(iter(mine.values()))
                captions = dict(zip(GIVEN, (image, "", f"{first['psnr_pinv']:.2f} dB"), strict=True))
                captions |= {name: caption(mine.get(name)) for name in names}
                lines.append([(self.file(first, name), text) for name, text in captions.items()])
        return [*GIVEN, *names], lines


def label(row: Row) -> str:
    """A method and its steps."""
    return f"{row['method']}@{row['steps']}"


def caption(row: Row | None) -> str:
    """The numbers under a restored picture."""
    if row is None:
        return ""
    return "failed" if row["psnr"] is None else f"{row['psnr']:.2f} dB, {row['lpips']:.3f}"


def draw_sheet(title: str, columns: list[str], lines: list[list[tuple[Path, str]]]) -> Image.Image:
    """Pictures under the columns' names, with PSNR and LPIPS below each; one that is missing leaves a gap."""
    width = GAP + len(columns) * (PICTURE + GAP)
    sheet = Image.new("RGB", (width, 2 * HEADER + len(lines) * (PICTURE + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, HEADER // 2), f"{title}: PSNR, LPIPS", INK, font(22), anchor="lm")
    for column, name in enumerate(columns):
        method, _, steps = name.partition("@")
        draw.text((middle(column), HEADER + 14), method, INK, font(15), anchor="mm")
        draw.text((middle(column), HEADER + 36), f"{steps} steps" if steps else "", PALE, font(14), anchor="mm")
    for number, line in enumerate(lines):
        top = 2 * HEADER + number * (PICTURE + CAPTION + GAP)
        for column, (file, text) in enumerate(line):
            if file.exists():
                sheet.paste(enlarged(file), (middle(column) - PICTURE // 2, top))
            draw.text((middle(column), top + PICTURE + CAPTION // 2), text, INK, font(14), anchor="mm")
    return sheet


def middle(column: int) -> int:
    """The centre of a column."""
    return GAP + column * (PICTURE + GAP) + PICTURE // 2


def enlarged(file: Path) -> Image.Image:
    """The picture at the sheet's size; small ones keep their pixels, so that nothing is prettier than it is."""
    with Image.open(file) as picture:
        small = max(picture.size) <= PICTURE
        return picture.resize((PICTURE, PICTURE), Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC)
