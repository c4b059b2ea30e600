"""A person's way through ComfyUI's real frontend, in headless Chromium: templates, Run, the saved picture."""

from __future__ import annotations

import asyncio
import copy
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
from psld.drawing import restoring, workflows
from psld.drawing.priors import PRIORS

pytestmark = pytest.mark.timeout(600)
QUIET = ["gpu", "quic", "background-networking", "component-update", "sync", "dev-shm-usage"]
JOBS = ("Sharpen a blurry photo", "Enlarge a small photo", "Erase something")
STEPS = "fast"


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


def browse(page: Any, title: str) -> None:
    """Opens a template by Browse Templates."""
    page.evaluate("() => void window.app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_text(PACK, exact=True).first.click()
    page.get_by_placeholder("Search...").first.fill(title)
    page.get_by_text(title, exact=True).first.click()
    page.wait_for_function("() => window.app.graph._nodes.some(node => node.type === 'PSLD_RestorePhoto')")


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
    """The saved picture of the same prompt over the API, after one of another seed: nothing is taken from a cache."""
    other = copy.deepcopy(sent)
    (restore,) = (number for number, node in sent.items() if node["class_type"] == "PSLD_RestorePhoto")
    (save,) = (number for number, node in sent.items() if node["class_type"] == "SaveImage")
    other[restore]["inputs"]["seed"] += 1

    async def both() -> bytes:
        async with Client(server.address) as client:
            await client.run(other)
            return await client.image((await client.run(sent)).outputs[save])

    with ThreadPoolExecutor() as threads:  # playwright has an event loop in this one
        return threads.submit(asyncio.run, both()).result()


@pytest.mark.parametrize("job", JOBS)
def test_from_the_list_of_templates_to_the_picture_and_back(job: str, page: Any, server: Server) -> None:
    browse(page, restoring.title(job, "ldm"))
    assert not missing(page)
    page.evaluate(f"""() => {{
        const node = window.app.graph._nodes.find(node => node.type === 'PSLD_RestorePhoto')
        node.widgets.find(widget => widget.name === 'quality').value = '{STEPS}'
    }}""")
    sent = prompt(page)
    seen = run(page)
    assert seen["error"] is None and seen["previews"] > 0 and seen["steps"] > 3
    picture = saved(page, seen["saved"])
    stored = json.loads(Image.open(io.BytesIO(picture)).info["prompt"])
    assert {number: node["inputs"] for number, node in stored.items()} == {
        number: node["inputs"] for number, node in sent.items()
    }
    assert pixels(picture).std() > 5
    if job == JOBS[0]:
        assert np.array_equal(pixels(picture), pixels(by_api(server, sent)))
    page.evaluate("() => window.app.graph.clear()")
    page.evaluate("""async bytes => {
        const file = new File([new Uint8Array(bytes)], 'restored.png', {type: 'image/png'})
        const dropped = new DataTransfer()
        dropped.items.add(file)
        document.querySelector('#graph-canvas').dispatchEvent(
            new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: dropped, clientX: 600, clientY: 400}))
    }""", list(picture))
    page.wait_for_function("() => window.app.graph._nodes.some(node => node.type === 'PSLD_RestorePhoto')")
    assert prompt(page) == sent


def test_every_template_opens_without_a_missing_node_and_says_what_its_api_sibling_says(page: Any) -> None:
    for title, template in workflows.templates().items():
        workflow = json.loads((workflows.FOLDER / f"{title}.json").read_text())
        page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)
        page.wait_for_timeout(100)
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
    page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)
    page.wait_for_timeout(500)
    assert missing(page)
    page.keyboard.press("Escape")


def test_the_help_pages_are_found(page: Any) -> None:
    text = page.request.get(f"/extensions/{PACK}/docs/PSLD_KSampler.md").text()
    assert text == (Path(workflows.FOLDER).parent / "web" / "docs" / "PSLD_KSampler.md").read_text()
