"""A small client of ComfyUI's HTTP and websocket API: post an API-format workflow, follow it, fetch what it made."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from . import DevError

Workflow = dict[str, dict[str, Any]]
PROGRESS_TEXT = 3  # the type of a binary message that is no picture
HEARTBEAT = 120  # seconds; a server answers with half of it to spare unless its machine is gone


@dataclass(frozen=True)
class Event:
    """One sign of life: `node` has done `value` of `total` (both 0 when it has only begun)."""

    node: str
    value: int = 0
    total: int = 0


@dataclass
class Result:
    """`outputs` as in ComfyUI's history, by node id; `seconds` each node ran; `previews` counts live pictures."""

    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    previews: int = 0


class Interrupted(DevError):
    """The prompt was cancelled in mid-run."""


class Refused(DevError):
    """ComfyUI's validator did not take the workflow."""


class Closed(DevError):
    """ComfyUI went away in mid-run."""


def node_titled(workflow: Workflow, title: str) -> str:
    """The id of the node with this title (`_meta.title`). Raises DevError when there is none."""
    for node_id, node in workflow.items():
        if node.get("_meta", {}).get("title") == title:
            return node_id
    raise DevError(f'The workflow has no node titled "{title}".')


def describe(workflow: Workflow, node_id: str) -> str:
    """A node as a person would name it."""
    node = workflow.get(node_id, {})
    return f"{node.get('_meta', {}).get('title') or node.get('class_type', 'node')} (node {node_id})"


class Client:
    """An asynchronous client, used as `async with Client(address) as client`. All methods raise DevError."""

    def __init__(self, address: str) -> None:
        self.url, self.id = f"http://{address}", uuid.uuid4().hex

    async def __aenter__(self) -> Client:
        self.session = aiohttp.ClientSession()
        try:
            self.socket = await self.session.ws_connect(
                f"{self.url}/ws?clientId={self.id}", max_msg_size=0, heartbeat=HEARTBEAT
            )
        except BaseException:
            await self.session.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()
        await self.session.close()

    async def run(self, workflow: Workflow, on_event: Callable[[Event], Any] | None = None) -> Result:
        """Queues an API-format workflow and follows it to its end; raises for invalid, failed or cancelled ones."""
        return await self.finish(workflow, await self.queue(workflow), on_event)

    async def finish(
        self, workflow: Workflow, prompt: str, on_event: Callable[[Event], Any] | None = None
    ) -> Result:
        """Follows a queued prompt to its end."""
        result = await self.follow(workflow, prompt, on_event or (lambda event: None))
        result.outputs = (await self.json("GET", f"/history/{prompt}"))[prompt]["outputs"]
        return result

    async def queue(self, workflow: Workflow) -> str:
        """Posts the workflow; the prompt id. Validation errors come as one sentence each."""
        body = {"prompt": workflow, "client_id": self.id}
        async with self.session.post(f"{self.url}/prompt", json=body) as answer:
            content = await answer.json(content_type=None)
            if answer.status != 200:
                raise Refused(validation_message(workflow, content or {}))
            return content["prompt_id"]

    async def follow(self, workflow: Workflow, prompt: str, on_event: Callable[[Event], Any]) -> Result:
        """Reads the websocket until the prompt is done."""
        clock, result, current = NodeClock(), Result(), None
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                result.previews += int.from_bytes(message.data[:4], "big") != PROGRESS_TEXT
                continue
            kind, data = (event := json.loads(message.data))["type"], event.get("data") or {}
            if data.get("prompt_id") != prompt:
                continue
            if kind == "executing":
                current = data["node"]
                clock.enter(current)
                if current is None:
                    result.seconds = clock.seconds
                    return result
                on_event(Event(current))
            elif kind == "progress":
                on_event(Event(data.get("node") or current or "", int(data["value"]), int(data["max"])))
            elif kind == "execution_error":
                raise DevError(execution_message(workflow, data))
            elif kind == "execution_interrupted":
                raise Interrupted(f"The run was cancelled in {describe(workflow, data.get('node_id', ''))}.")
        raise Closed("ComfyUI closed the connection in mid-run; its log says why.")

    async def interrupt(self, prompt: str | None = None) -> None:
        """Cancels the running prompt, as the Cancel button does; where one is named, only that."""
        await self.post("interrupt", {"prompt_id": prompt} if prompt else {})

    async def free(self) -> None:
        """Unloads all models and forgets what nodes gave, as the Manager's button does."""
        await self.post("free", {"unload_models": True, "free_memory": True})

    async def forget(self, prompt: str) -> None:
        """Takes a prompt out of the server's history."""
        await self.post("history", {"delete": [prompt]})

    async def post(self, path: str, body: dict[str, Any]) -> None:
        """Posts JSON that has no answer."""
        async with self.session.post(f"{self.url}/{path}", json=body) as answer:
            answer.raise_for_status()

    async def upload(self, name: str, content: bytes, subfolder: str = "", folder: str = "input") -> str:
        """Puts a picture into ComfyUI's input (or "temp") folder; the name LoadImage knows it by."""
        form = aiohttp.FormData({"overwrite": "true", "subfolder": subfolder, "type": folder})
        form.add_field("image", content, filename=name, content_type="application/octet-stream")
        async with self.session.post(f"{self.url}/upload/image", data=form) as answer:
            answer.raise_for_status()
            stored = await answer.json()
        return f"{stored['subfolder']}/{stored['name']}" if stored.get("subfolder") else stored["name"]

    async def image(self, output: dict[str, Any]) -> bytes:
        """The bytes of the first picture among a node's outputs."""
        if not output.get("images"):
            raise DevError("A node that should have saved a picture saved none.")
        return await self.view(output["images"][0])

    async def view(self, file: dict[str, str]) -> bytes:
        """The bytes of a file as an output names it."""
        query = {key: file[key] for key in ("filename", "subfolder", "type")}
        async with self.session.get(f"{self.url}/view", params=query) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def json(self, method: str, path: str) -> Any:
        """A JSON resource of the server."""
        async with self.session.request(method, self.url + path) as answer:
            answer.raise_for_status()
            return await answer.json()


class NodeClock:
    """Adds up the wall-clock seconds between one node's start and the next one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.node: str | None = None
        self.since = 0.0

    def enter(self, node: str | None) -> None:
        """Notes that `node` runs from now on (None: nothing does)."""
        now = time.perf_counter()
        if self.node is not None:
            self.seconds[self.node] = self.seconds.get(self.node, 0.0) + now - self.since
        self.node, self.since = node, now


def validation_message(workflow: Workflow, answer: dict[str, Any]) -> str:
    """What ComfyUI's validator objects to, one line per complaint."""
    lines = []
    for node_id, report in (answer.get("node_errors") or {}).items():
        lines += [f"{describe(workflow, node_id)}: {e['message']}: {e['details']}" for e in report["errors"]]
    error = answer.get("error") or {}
    lines = lines or [f"{error.get('message', 'no reason given')}: {error.get('details', '')}"]
    return "ComfyUI refused the workflow: " + "\n    ".join(lines)


def execution_message(workflow: Workflow, data: dict[str, Any]) -> str:
    """The exception a node raised, as a sentence."""
    where = describe(workflow, data.get("node_id", ""))
    return f"{where} failed: {str(data.get('exception_message', 'no message')).strip()} [{data.get('exception_type')}]"


def load_workflow(file: Path) -> Workflow:
    """Reads an API-format workflow. Raises DevError when it is missing or not in that format."""
    if not file.is_file():
        raise DevError(f"There is no workflow {file}.")
    workflow = json.loads(file.read_text())
    if not all(isinstance(node, dict) and "class_type" in node for node in workflow.values()):
        raise DevError(f"{file} is not in API format (export it with File > Export (API)).")
    return workflow
