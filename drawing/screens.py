"""Workflows after a run, as ComfyUI's frontend shows them in headless Chromium; `dev.py draw screens`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ..devkit import ROOT
from ..devkit.environment import chromium
from ..devkit.server import comfyui_server
from . import old_photo, restoring
from .workflows import FOLDER

SHOTS = {
    "restore_photo": restoring.title(old_photo.NAME, "ldm"),
    "workflow": "Try it - super-resolution (no download)",
}
"""The picture's name in `docs`, and the workflow's."""
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}
SCREEN, MARGIN = {"width": 1900, "height": 1150}, 28
"""In pixels, the latter around the nodes: wires pass there too."""


def write() -> str:
    """Runs each workflow in a browser and takes its picture."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="psld-screens-") as base, sync_playwright() as player:
        settings = Path(base) / "user" / "default" / "comfy.settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(SETTINGS))
        with comfyui_server(Path(base)) as server:
            browser = player.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(base_url=f"http://{server.address}", viewport=SCREEN)
            page.set_default_timeout(240_000)
            page.goto("/")
            page.wait_for_function("!!window.app?.graph && 'PSLD_KSampler' in window.LiteGraph.registered_node_types")
            for name, title in SHOTS.items():
                shoot(page, json.loads((FOLDER / f"{title}.json").read_text()), ROOT / "docs" / f"{name}.png")
            browser.close()
    return f"{ROOT / 'docs'}: {', '.join(SHOTS)}"


def shoot(page: Any, workflow: dict[str, Any], file: Path) -> None:
    """Opens a workflow, presses Run, and takes the picture of its nodes."""
    page.evaluate(
        """workflow => {
        window.done = window.app.loadGraphData(workflow).then(() => new Promise((resolve, reject) => {
            window.app.api.addEventListener('execution_success', resolve)
            window.app.api.addEventListener('execution_error', event => reject(event.detail.exception_message))
            window.app.queuePrompt(0)
        }))
    }""",
        workflow,
    )
    page.evaluate("() => window.done.then(() => null)")
    page.wait_for_timeout(6000)  # until "job completed" has faded
    page.evaluate("() => void window.app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.wait_for_timeout(1500)
    left, top, right, bottom = page.evaluate("""() => {
        const {scale, offset} = window.app.canvas.ds
        const boxes = window.app.graph._nodes.map(node => node.boundingRect)
        const ends = (find, side, wide) => find(...boxes.map(box => box[side] + (wide ? box[wide] : 0)))
        return [ends(Math.min, 0), ends(Math.min, 1), ends(Math.max, 0, 2), ends(Math.max, 1, 3)].map(
            (place, i) => (place + offset[i % 2]) * scale)
    }""")
    size = {"width": right - left + 2 * MARGIN, "height": bottom - top + 2 * MARGIN}
    page.screenshot(path=file, clip={"x": left - MARGIN, "y": top - MARGIN, **size})
