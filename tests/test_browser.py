"""A person's way through ComfyUI's real frontend, in headless Chromium: templates, Run, the saved picture."""

from __future__ import annotations

import asyncio
import io
import json
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from psld.devkit.client import Client
from psld.devkit.environment import chromium
from psld.devkit.server import PACK, Server, comfyui_server
from psld.drawing import blueprints, old_photo, restoring, workflows
from psld.drawing.priors import PRIORS
from psld.drawing.samples import sample
from psld.tests.mask_editor import STROKE, paint
from psld.tests.prompts import node as api_node

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
QUIET = ["gpu", "quic", "background-networking", "component-update", "sync", "dev-shm-usage"]
JOBS = ("Sharpen a blurry photo", "Enlarge a small photo", "Erase something")
STEPS = "fast"
SCREENS, LEGIBLE = ((1366, 700), (1600, 900)), 0.6
"""Widths and heights in pixels, and the scale of the canvas at which text can be read."""
FOUND = {
    "restore": ("Restore Photo", old_photo.NAME),
    "repair": ("Destripe (Repair Dead Lines)", "Repair a damaged photo"),
    "photo": ("Restore Photo", "Sharpen a blurry photo"),
    "erase": ("Inpaint Mask (Erase, Fill)", "Erase something"),
    "remove": ("Denoise (Remove Noise)", "Remove scratches"),
    "upscale": ("Upscale, Enlarge (Super-Resolution)", "Upscale a photo to twice its size"),
    "enlarge": ("Upscale, Enlarge (Super-Resolution)", "Enlarge a small photo"),
    "sharpen": ("Deblur, Sharpen: Out of Focus", "Sharpen a blurry photo"),
    "colorize": ("Colorize (Greyscale)", "Colorize a black-and-white photo"),
}
"""The node and the template that a word finds, by what ComfyUI 0.3.75 searches: names alone."""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A real server whose checkpoints are only listed."""
    base = tmp_path_factory.mktemp("base")
    (base / "models" / "checkpoints").mkdir(parents=True)
    for prior in PRIORS.values():
        if not prior.embedded:
            (base / "models" / "checkpoints" / prior.file).touch()
    settings = base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"Comfy.TutorialCompleted": True, "Comfy.Validation.Workflows": True}))
    with comfyui_server(base) as running:
        yield running


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Any]:
    """ComfyUI's real frontend in headless Chromium."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium(), args=arguments)
        page = browser.new_page(base_url=f"http://{server.address}", viewport={"width": 1366, "height": 700})
        page.set_default_timeout(120_000)
        page.goto("/")
        page.wait_for_function("!!window.app?.graph && 'PSLD_KSampler' in window.LiteGraph.registered_node_types")
        yield page
        browser.close()


def gallery(page: Any, words: str) -> None:
    """Searches Browse Templates."""
    page.evaluate("() => void window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_text(PACK, exact=True).first.click()
    page.get_by_placeholder("Search...").first.fill(words)


def close_gallery(page: Any) -> None:
    """Closes Browse Templates, which does not hear Escape: what is clicked before it is gone would open a template."""
    cross = page.get_by_role("dialog").get_by_role("button").filter(has=page.locator(".pi-times"))
    cross.first.click()
    page.get_by_placeholder("Search...").first.wait_for(state="hidden")


def browse(page: Any, title: str) -> None:
    """Opens a template by Browse Templates."""
    gallery(page, title)
    page.get_by_text(title, exact=True).first.click()
    page.wait_for_function("() => window.app.graph._nodes.some(node => node.type === 'PSLD_RestorePhoto')")


def load(page: Any, workflow: dict[str, Any]) -> None:
    """Opens a workflow. The page keeps its promise, which an idle browser would clear away."""
    page.evaluate(
        """workflow => {
        window.loaded = false
        window.loading = window.app.loadGraphData(workflow).then(() => window.loaded = true)
    }""",
        workflow,
    )
    page.wait_for_function("() => window.loaded")
    page.wait_for_timeout(100)


def missing(page: Any) -> str:
    """What the frontend says of missing nodes or models."""
    lines = page.locator("body").inner_text().splitlines()
    return "; ".join(line for line in lines if "missing" in line.lower())


def prompt(page: Any) -> dict[str, Any]:
    """What Run would send."""
    return page.evaluate("async () => (await window.app.graphToPrompt()).output")


def run(page: Any) -> dict[str, Any]:
    """Presses Run and waits: how many previews and steps were seen, and the saved file."""
    page.evaluate("""() => {
        window.seen = {previews: 0, steps: 0, saved: null, error: null}
        const api = window.app.api
        api.addEventListener('b_preview', () => window.seen.previews++)
        api.addEventListener('progress', () => window.seen.steps++)
        api.addEventListener('executed', e => {
            for (const image of e.detail.output?.images ?? []) if (image.type === 'output') window.seen.saved = image
        })
        api.addEventListener('execution_error', e => window.seen.error = e.detail.exception_message)
    }""")
    page.get_by_test_id("queue-button").get_by_role("button").first.click()
    page.wait_for_function("() => window.seen.saved || window.seen.error", timeout=240_000)
    return page.evaluate("() => window.seen")


def saved(page: Any, image: dict[str, str]) -> bytes:
    """A saved picture's bytes."""
    return page.request.get("/view?" + urllib.parse.urlencode(image)).body()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def by_api(server: Server, sent: dict[str, Any]) -> bytes:
    """The saved picture of the same prompt over the API, after another prompt: nothing is taken from a cache."""
    (save,) = (number for number, node in sent.items() if node["class_type"] == "SaveImage")
    (restore,) = (number for number, node in sent.items() if node["class_type"] == "PSLD_RestorePhoto")
    other = {"1": api_node("LoadImage", image=sample("ldm", "clean")), "2": api_node("PreviewImage", images=["1", 0])}

    async def both() -> bytes:
        ran = set()
        async with Client(server.address) as client:
            await client.run(other)
            result = await client.run(sent, lambda event: ran.add(event.node))
            assert restore in ran
            return await client.image(result.outputs[save])

    with ThreadPoolExecutor() as threads:  # playwright has an event loop in this one
        return threads.submit(asyncio.run, both()).result()


def loaded(page: Any, sent: dict[str, Any]) -> np.ndarray:
    """The photo of Load Image with what is painted, RGBA."""
    (name,) = (node["inputs"]["image"] for node in sent.values() if node["class_type"] == "LoadImage")
    folder, _, file = name.removesuffix(" [input]").rpartition("/")
    content = saved(page, {"filename": file, "subfolder": folder, "type": "input"})
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def drop(page: Any, picture: bytes) -> None:
    """Drags a file onto the canvas."""
    page.evaluate(
        """async bytes => {
        const file = new File([new Uint8Array(bytes)], 'restored.png', {type: 'image/png'})
        const dropped = new DataTransfer()
        dropped.items.add(file)
        document.querySelector('#graph-canvas').dispatchEvent(
            new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: dropped, clientX: 600, clientY: 400}))
    }""",
        list(picture),
    )
    page.wait_for_function("() => window.app.graph._nodes.some(node => node.type === 'PSLD_RestorePhoto')")


@pytest.mark.parametrize("job", JOBS)
def test_from_the_list_of_templates_to_the_picture_and_back(job: str, page: Any, server: Server) -> None:
    browse(page, restoring.title(job, "ldm"))
    assert not missing(page)
    page.evaluate(f"""() => {{
        const node = window.app.graph._nodes.find(node => node.type === 'PSLD_RestorePhoto')
        node.widgets.find(widget => widget.name === 'quality').value = '{STEPS}'
    }}""")
    if painted := job == "Erase something":
        paint(page)
    sent = prompt(page)
    seen = run(page)
    assert seen["error"] is None and seen["previews"] > 0 and seen["steps"] > 3
    page.wait_for_function("""() => {
        const [picture] = window.app.graph._nodes.find(node => node.type === 'PSLD_RestorePhoto').imgs
        return picture.naturalHeight >= 256 && picture.naturalWidth > 2 * picture.naturalHeight
    }""")  # before and after, not the last live picture
    picture = saved(page, seen["saved"])
    stored = json.loads(Image.open(io.BytesIO(picture)).info["prompt"])
    assert {number: node["inputs"] for number, node in stored.items()} == {
        number: node["inputs"] for number, node in sent.items()
    }
    restored = pixels(picture)
    assert restored.std() > 5 and np.array_equal(restored, pixels(by_api(server, sent)))
    if painted:
        *colours, alpha = np.moveaxis(loaded(page, sent), -1, 0)
        known, side = alpha == 255, len(alpha)
        assert 0.3 < known.mean() < 0.9 and not known[round(STROKE * side), side // 4 : side * 3 // 4].any()
        assert np.array_equal(restored[known], np.stack(colours, -1)[known])
    page.evaluate("() => window.app.graph.clear()")
    drop(page, picture)
    assert prompt(page) == sent


@pytest.mark.parametrize("word", FOUND)
def test_what_people_type_finds_a_node_and_a_template(word: str, page: Any) -> None:
    name, title = FOUND[word]
    page.evaluate("() => void window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.get_by_placeholder("Search Nodes...").fill(word)
    page.get_by_role("option").filter(has_text=name).first.wait_for()
    page.keyboard.press("Escape")
    gallery(page, word)
    for prior in PRIORS:
        page.get_by_text(restoring.title(title, prior), exact=True).first.wait_for(state="attached")
    close_gallery(page)


def test_the_box_with_a_model_in_it_can_be_put_on_the_canvas(page: Any) -> None:
    page.evaluate("""() => {
        window.app.graph.clear()
        void window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle')
    }""")
    page.get_by_placeholder("Search Nodes...").fill(blueprints.title("ldm"))
    page.get_by_role("option").filter(has_text=blueprints.title("ldm")).first.click()
    page.get_by_placeholder("Search Nodes...").wait_for(state="hidden")
    page.mouse.click(500, 300)
    page.wait_for_function("() => window.app.graph._nodes.length")
    sent = prompt(page)
    (restore,) = (node for node in sent.values() if node["class_type"] == "PSLD_RestorePhoto")
    assert [sent[restore["inputs"][key][0]]["class_type"] for key in ("model", "vae")] == ["PSLD_LoadLDM"] * 2
    shown = page.evaluate("() => window.app.graph._nodes[0].widgets.map(widget => widget.value)")
    assert shown[:4] == [restore["inputs"][key] for key in ("problem", "strength", "quality", "seed")]


@pytest.mark.parametrize(("width", "height"), SCREENS)
@pytest.mark.parametrize("job", ("Erase something", old_photo.NAME))
def test_text_is_legible_when_a_template_opens(job: str, width: int, height: int, page: Any) -> None:
    page.set_viewport_size({"width": width, "height": height})
    workflow = json.loads((workflows.FOLDER / f"{restoring.title(job, 'sd15')}.json").read_text())
    load(page, workflow)
    assert page.evaluate("() => window.app.canvas.ds.scale") >= LEGIBLE
    page.set_viewport_size(dict(zip(("width", "height"), SCREENS[0], strict=True)))


def test_every_template_opens_without_a_missing_node_and_says_what_its_api_sibling_says(page: Any) -> None:
    for title, template in workflows.templates().items():
        workflow = json.loads((workflows.FOLDER / f"{title}.json").read_text())
        load(page, workflow)
        assert not missing(page), title
        known = "node => node.type in window.LiteGraph.registered_node_types && !node.has_errors"
        opened = page.evaluate(f"() => window.app.graph._nodes.map({known})")
        assert all(opened) and len(opened) == len(workflow["nodes"]), title
        ours = json.loads((workflows.FOLDER / "api" / f"{title}.json").read_text())
        for number, node in prompt(page).items():
            given = {key: value for key, value in node["inputs"].items() if key in ours[number]["inputs"]}
            wanted = ours[number]["inputs"]
            if node["class_type"] == "PreviewImage":
                wanted = {"images": wanted["images"]}
            assert given == wanted, title
        assert template.title == title


def test_the_frontend_would_complain_of_a_missing_node(page: Any) -> None:
    title = restoring.title(JOBS[0], "ldm")
    workflow = json.loads((workflows.FOLDER / f"{title}.json").read_text())
    workflow["nodes"][1]["type"] = "PSLD_NoSuchNode"
    load(page, workflow)
    page.wait_for_timeout(500)
    assert missing(page)
    page.keyboard.press("Escape")


def test_the_help_pages_are_found(page: Any) -> None:
    text = page.request.get(f"/extensions/{PACK}/docs/PSLD_KSampler.md").text()
    assert text == (Path(workflows.FOLDER).parent / "web" / "docs" / "PSLD_KSampler.md").read_text()
