"""The pack inside a real ComfyUI server process, over HTTP and the websocket, as a browser would use it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from psld.devkit import ROOT, DevError, soak
from psld.devkit.client import Client, Event, Interrupted, Workflow
from psld.devkit.server import PACK, Server, comfyui_server
from psld.nodes import NODES
from psld.nodes.operators import NODES as OPERATORS
from psld.tests.bad_values import INPUTS, good, sockets

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with comfyui_server(tmp_path_factory.mktemp("base")) as running:
        yield running


def talk(server: Server, scenario: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    """Runs an asynchronous scenario with a connected client."""

    async def connected() -> Any:
        async with Client(server.address) as client:
            return await asyncio.wait_for(scenario(client), 120)

    return asyncio.run(connected())


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def restoration(steps: int) -> Workflow:
    """Super-resolution of a sample photo with the embedded prior."""
    return {
        "photo": node("LoadImage", image="psld_hand.png"),
        "prior": node("PSLD_LoadLDM", ckpt_name="[embedded] hands64.safetensors"),
        "operator": node("PSLD_SuperResolution", factor=4.0, kernel="bicubic"),
        "measure": node(
            "PSLD_Measure", image=["photo", 0], operator=["operator", 0], noise="gaussian", sigma=0.05, seed=0
        ),
        "sampler": node(
            "PSLD_KSampler", model=["prior", 0], vae=["prior", 1], measurement=["measure", 0], seed=0, steps=steps,
            cfg=1.0, scheduler="ddim_uniform", gamma=1.0, omega=10.0, method="PSLD",
        ),
        "save": node("SaveImage", images=["sampler", 1], filename_prefix="restored"),
    }  # fmt: skip


def test_the_api_client_restores_a_photo(server: Server, tmp_path: Path) -> None:
    client, photo = ROOT / "workflows" / "api" / "api_client.py", ROOT / "workflows" / "samples" / "hand_one.png"
    title, out = "Sharpen a blurry photo (no download)", tmp_path / "restored.png"
    settings = ["--server", server.address, "--set", "restore.quality=fast"]
    subprocess.run([sys.executable, client, title, photo, out, *settings], check=True, timeout=200)
    restored, given = Image.open(out), Image.open(photo)
    assert restored.size == given.size and restored.tobytes() != given.convert("RGB").tobytes()


def test_every_node_is_offered(server: Server) -> None:
    offered = server.get("/object_info")
    for ours in NODES:
        assert offered[ours.GET_SCHEMA().node_id]["category"].startswith("inverse problems")


def test_every_workflow_is_a_template_that_can_be_fetched(server: Server) -> None:
    files = {file.stem: file for file in (ROOT / "workflows").glob("*.json")}
    listed = server.get("/workflow_templates").get(PACK, [])
    assert sorted(listed) == sorted(files)
    for name, file in files.items():
        assert server.get(f"/api/workflow_templates/{PACK}/{quote(name)}.json") == json.loads(file.read_text())


def test_a_restoration_reports_progress_and_previews(server: Server) -> None:
    events: list[Event] = []

    async def scenario(client: Client) -> tuple[Any, bytes]:
        result = await client.run(restoration(steps=4), events.append)
        return result, await client.image(result.outputs["save"])

    result, content = talk(server, scenario)
    assert [(e.value, e.total) for e in events if e.node == "sampler" and e.total] == [(i, 4) for i in range(1, 5)]
    assert result.previews > 0 and result.seconds["sampler"] > 0
    picture = Image.open(BytesIO(content))
    assert picture.size == (64, 64)
    assert all(low < high for low, high in picture.getextrema()[:3])


def test_an_interrupt_stops_in_mid_run_and_the_next_prompt_runs(server: Server) -> None:
    events: list[Event] = []

    async def scenario(client: Client) -> None:
        def cancel_at_third_step(event: Event) -> None:
            events.append(event)
            if event.value == 3:
                tasks.append(asyncio.ensure_future(client.interrupt()))

        tasks: list[asyncio.Future] = []
        with pytest.raises(Interrupted, match="PSLD_KSampler"):
            await client.run(restoration(steps=1000), cancel_at_third_step)
        await client.run(restoration(steps=2))

    talk(server, scenario)
    assert 3 <= max(event.value for event in events) < 500


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"operator": node("PSLD_NoSuchNode")}, "PSLD_NoSuchNode does not exist"),
        ({"photo": node("LoadImage", image="absent.png")}, r"LoadImage \(node photo\).*absent.png"),
        ({"operator": node("PSLD_SuperResolution", factor=0.5, kernel="bicubic")}, "0.5 smaller than min.*factor"),
        ({"save": node("PreviewAny", source=["operator", 3])}, "ComfyUI refused the workflow"),
    ],
)
def test_a_bad_workflow_is_refused_with_a_readable_error(server: Server, change: Workflow, sentence: str) -> None:
    with pytest.raises(DevError, match=sentence):
        talk(server, lambda client: client.run({**restoration(steps=2), **change}))


def test_a_node_that_fails_is_named_with_its_reason(server: Server) -> None:
    odd = node("ImageScale", image=["photo", 0], width=60, height=62, upscale_method="area", crop="disabled")
    workflow = {**restoration(steps=2), "odd": odd}
    workflow["measure"]["inputs"]["image"] = ["odd", 0]
    with pytest.raises(DevError, match=r"PSLD_\w+ \(node \w+\) failed: .*62"):
        talk(server, lambda client: client.run(workflow))


def rows_for_the_api() -> list[list[Any]]:
    """Some rows of the table of operators that need nothing connected; the server makes 2.5 and "yes" 2 and true."""
    names = {node.GET_SCHEMA().node_id.removeprefix("PSLD_") for node in OPERATORS}
    alone = {name for name in names if not any(known.io_type in sockets() for known in INPUTS[name].values())}
    rows = [row for row in json.loads((ROOT / "tests" / "bad_inputs.json").read_text()) if row[0] in alone]
    sent = [row for row in rows if isinstance(row[2], (int, float, str)) and row[2] not in (2.5, True)]
    sent = [row for row in sent if INPUTS[row[0]][row[1]].io_type not in ("BOOLEAN", "STRING")]
    return sent[:: max(1, len(sent) // 60)]


def test_bad_inputs_are_answered_over_the_api(server: Server) -> None:
    """By ComfyUI's validator where it looks, else by the node; either names the input, and nobody raises raw errors."""

    async def scenario(client: Client) -> list[str]:
        answers = []
        for name, key, value, _ in rows_for_the_api():
            bad = node(f"PSLD_{name}", **(good(name) | {key: value}))
            prompt = {"bad": bad, "photo": node("LoadImage", image="psld_hand.png")}
            prompt["measure"] = node(
                "PSLD_Measure", image=["photo", 0], operator=["bad", 0], noise="none", sigma=0.0, seed=0
            )
            prompt["save"] = node("PreviewImage", images=["measure", 1])
            with pytest.raises(DevError) as refused:
                await client.run(prompt)
            answers.append((key, value, str(refused.value)))
        return answers

    answers = talk(server, scenario)
    assert len(answers) >= 50
    for key, value, said in answers:
        assert key in said and not any(raw in said for raw in ("Traceback", "TypeError", "tensor")), (key, value, said)


def test_a_short_soak_by_eight_clients(server: Server) -> None:
    log = asyncio.run(soak.soak(server, seconds=10, clients=8))
    assert not log.wrong and len(log.clients) == 8 and min(log.clients) >= 1
    found = soak.summary(log)
    assert found["prompts"] == sum(log.clients) and found["median_seconds"]
    assert found["slowest_cancel_seconds"] is None or found["slowest_cancel_seconds"] < 2


def test_an_uploaded_photo_can_be_loaded(server: Server) -> None:
    photo = (ROOT / "workflows" / "samples" / "hand_one.png").read_bytes()

    async def scenario(client: Client) -> bytes:
        name = await client.upload("mine.png", photo)
        save = node("SaveImage", images=["photo", 0], filename_prefix="uploaded")
        result = await client.run({"photo": node("LoadImage", image=name), "save": save})
        return await client.image(result.outputs["save"])

    pictures = [Image.open(BytesIO(content)).convert("RGB") for content in (photo, talk(server, scenario))]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_a_pack_that_cannot_be_loaded_is_reported_with_its_reason(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "__init__.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.setattr("psld.devkit.server.ROOT", broken)
    with pytest.raises(DevError, match="(?s)could not load this pack.*no_such_module_anywhere"):
        with comfyui_server(tmp_path / "base"):
            pass


def test_a_server_that_does_not_start_is_reported_with_its_log(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.py").write_text("raise SystemExit('no luck today')\n")
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(DevError, match="(?s)exit code 1.*no luck today"):
        with comfyui_server(tmp_path / "base"):
            pass
