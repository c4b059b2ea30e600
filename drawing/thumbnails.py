"""Before and after: the `.jpg` beside each workflow, from what its embedded twin makes; `dev.py draw thumbnails`.

A workflow for a checkpoint shows its twin's picture and says so, as no checkpoint is at hand where this is drawn.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any

from PIL import Image, ImageDraw

from ..devkit.client import Client, node_titled
from ..devkit.server import comfyui_server
from .comparisons import GRID
from .litegraph import offered
from .sheet import PALE, PAPER, font
from .template import Template
from .workflows import FOLDER, templates

SIDE, GAP, CAPTION = 192, 4, 20  # pixels
TWIN = "no download"
SHOWN = {  # of a room: the nodes whose pictures are shown from left to right
    "Try it": ("save measurement", "save restored"),
    "Compare": ("shown", "save restored"),
}


def write() -> str:
    """Runs every embedded workflow on a server, and writes all thumbnails."""
    every = templates()
    with comfyui_server() as server:
        pictures = asyncio.run(run_all(server.address, [one for one in every.values() if TWIN in one.title]))
    for title in every:
        stem, _, prior = title.rpartition(" (")
        twin = pictures[f"{stem} ({TWIN})"]
        thumbnail(twin, prior.rstrip(")")).save(FOLDER / f"{title}.jpg", quality=88, optimize=True)
    return f"{FOLDER}: {len(every)} thumbnails"


async def run_all(address: str, embedded: list[Template]) -> dict[str, list[Image.Image]]:
    """The pictures to show, by title."""
    async with Client(address) as client:
        return {template.title: await run(client, template) for template in embedded}


async def run(client: Client, template: Template) -> list[Image.Image]:
    """What one workflow shows: nine of a grid, else two, the first of which may be the photo itself."""
    workflow = template.api(offered())
    outputs = (await client.run(workflow)).outputs

    async def picture(name: str) -> Image.Image:
        content = await client.image(outputs.get(node_titled(workflow, name), {}))
        return Image.open(io.BytesIO(content)).convert("RGB")

    if template.title == GRID:
        return [await picture(name) for name in template.nodes if name.startswith("gamma")]
    before, after = SHOWN.get(template.title.split(" - ")[0], ("", "save restored"))
    return [await picture(before) if before else loaded(template.nodes["photo"].inputs), await picture(after)]


def loaded(inputs: dict[str, Any]) -> Image.Image:
    """The photo of Load Image, transparent parts white."""
    photo = Image.open(FOLDER / "input" / inputs["image"]).convert("RGBA")
    paper = Image.new("RGBA", photo.size, PAPER)
    paper.alpha_composite(photo)
    return paper.convert("RGB")


def thumbnail(pictures: list[Image.Image], prior: str) -> Image.Image:
    """Two side by side, or nine in columns; pixels stay pixels. Under those of a twin, a line that says so."""
    rows = 3 if len(pictures) == 9 else 1
    side = 2 * SIDE // 3 if rows == 3 else SIDE
    columns = len(pictures) // rows
    caption = 0 if prior == TWIN else CAPTION
    size = (columns * (side + GAP) - GAP, rows * (side + GAP) - GAP + caption)
    sheet = Image.new("RGB", size, PAPER)
    for i, picture in enumerate(pictures):
        place = (i // rows * (side + GAP), i % rows * (side + GAP))
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), place)
    if caption:
        words = "by the embedded prior, to show what is meant"
        ImageDraw.Draw(sheet).text((size[0] // 2, size[1] - caption // 2), words, PALE, font(13), anchor="mm")
    return sheet
