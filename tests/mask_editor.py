"""ComfyUI's mask editor in a browser, as a person paints in it."""

from __future__ import annotations

from typing import Any

PATIENCE = 20_000
"""Milliseconds for an answer of the mask editor."""
STROKE = 0.7
"""How far down the photo a stroke is painted."""


def paint(page: Any, tries: int = 4) -> None:
    """A stroke in the mask editor and Save; again where nothing comes of it.

    The editor answers nothing while it starts, and closes by itself where the photo does not come in time.
    """
    from playwright.sync_api import TimeoutError as NoAnswer

    painted = """() => window.app.graph._nodes.find(node => node.type === 'LoadImage')
        .widgets[0].value.includes('clipspace')"""
    for left in reversed(range(tries)):
        try:
            stroke(page)
            page.wait_for_function(painted, timeout=PATIENCE)
            return
        except NoAnswer:
            if page.evaluate(painted):
                return
            if not left:
                raise


def stroke(page: Any) -> None:
    """In the mask editor, which is opened unless it is: from left to right over the lower half of the photo, and Save.
    """
    photo = page.locator("canvas.absolute.top-0:visible").last
    if not photo.is_visible():
        page.keyboard.press("Escape")
        page.evaluate("""() => {
            window.app.canvas.selectNode(window.app.graph._nodes.find(node => node.type === 'LoadImage'))
            void window.app.extensionManager.command.execute('Comfy.MaskEditor.OpenMaskEditor')
        }""")
        photo.wait_for(timeout=PATIENCE)
        page.wait_for_timeout(1000)  # the photo is laid out when the dialog has its size
    box = photo.bounding_box(timeout=PATIENCE)
    y = box["y"] + STROKE * box["height"]
    page.mouse.move(box["x"] + 0.2 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], y, steps=8)
    page.mouse.up()
    page.get_by_role("button", name="Save", exact=True).locator("visible=true").last.click(timeout=PATIENCE)
