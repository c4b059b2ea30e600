"""One ComfyUI server that restores photos, one at a time: a server of its own, or one that runs already."""

from __future__ import annotations

import asyncio
import copy
import json
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp

from . import DevError
from .client import Client, Closed, Workflow
from .environment import HOME
from .server import comfyui_server, prepare_base

FOLDER = "restore"  # below the server's folder of temporary files
REACHABLE = 60  # seconds in which a server of somebody else's may come back


class Lost(DevError):
    """The server is gone, and nothing is known about the photo."""


class Worker:
    """Restores photos by `workflow` at `address`, or by a server of its own, which ends with `close` or with us.
    Raises Lost where no server comes up.
    """

    def __init__(self, workflow: Workflow, address: str | None = None) -> None:
        self.workflow, self.photo, self.stack = workflow, load_image(workflow), ExitStack()
        self.prompt: str | None = None
        self.address = self.named_server(address) if address else self.own_server()

    def own_server(self) -> str:
        """Starts a server with the models and inputs of `dev.py ui`, and all else in a folder that goes with it."""
        usual = HOME / "base"
        prepare_base(usual)
        base = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="psld-restore-")))
        for name in ("models", "input"):
            (base / name).symlink_to(usual / name, target_is_directory=True)
        try:
            return self.stack.enter_context(comfyui_server(base)).address
        except DevError as error:
            self.stack.close()
            raise Lost(str(error)) from error

    def named_server(self, address: str) -> str:
        """Waits a while for a server of somebody else's."""
        deadline = time.monotonic() + REACHABLE
        while not answers(f"http://{address}/queue"):
            if time.monotonic() > deadline:
                raise Lost(f"--server: nothing answers at {address}; start ComfyUI there, or leave --server out.")
            time.sleep(1)
        return address

    def restore(self, name: str, content: bytes) -> dict[str, bytes]:
        """The pictures made of a photo, by the end of their names ("" where there is but one).

        `name` is the photo's for the server. Raises DevError where this photo cannot be restored, Refused where none
        can, and Lost where the server is gone.
        """
        try:
            return asyncio.run(self.run(name, content))
        except aiohttp.ClientResponseError as error:
            where = error.request_info.url.path
            raise DevError(f"ComfyUI answered {error.status} ({error.message}) at {where}.") from error
        except (Closed, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Lost(f"ComfyUI at {self.address} is gone ({error or type(error).__name__}).") from error

    async def run(self, name: str, content: bytes) -> dict[str, bytes]:
        workflow = copy.deepcopy(self.workflow)
        async with Client(self.address) as client:
            stored = await client.upload(name, content, FOLDER, "temp")
            workflow[self.photo]["inputs"]["image"] = f"{stored} [temp]"
            self.prompt = await client.queue(workflow)
            result = await client.finish(workflow, self.prompt)
            self.prompt = None
            pictures = list(saved(workflow, result.outputs))
            return {end if len(pictures) > 1 else "": await client.view(file) for end, file in pictures}

    def close(self) -> None:
        """Takes back what the server may still be at, and ends a server of our own."""
        if self.prompt:
            for path, body in (("queue", {"delete": [self.prompt]}), ("interrupt", {"prompt_id": self.prompt})):
                answers(f"http://{self.address}/{path}", body)
        self.stack.close()


def load_image(workflow: Workflow) -> str:
    """The id of the workflow's one Load Image. Raises DevError where there is none, or more."""
    found = [number for number, node in workflow.items() if node["class_type"] == "LoadImage"]
    if len(found) != 1:
        raise DevError(f"--workflow: it has {len(found) or 'no'} Load Image nodes; there has to be exactly one.")
    return found[0]


def saved(workflow: Workflow, outputs: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """The pictures that a run saved, or previewed where it saved none: the end of the name, and where it lies."""
    files = [(number, file) for number, output in outputs.items() for file in output.get("images", ())]
    kept = [(number, file) for number, file in files if file["type"] == "output"] or files
    if not kept:
        raise DevError("The workflow saved no picture; give it a Save Image.")
    counts: dict[str, int] = {}
    for number, file in sorted(kept, key=lambda pair: list(workflow).index(pair[0])):
        counts[number] = counts.get(number, 0) + 1
        title = workflow[number].get("_meta", {}).get("title") or workflow[number]["class_type"]
        plain = "".join(c if c.isalnum() else "_" for c in title.removeprefix("save "))
        yield f"_{plain}_{number}_{counts[number]}", file


def answers(url: str, body: dict[str, Any] | None = None) -> bool:
    """Whether a GET, or a POST of JSON, finds somebody; past any proxy."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5).close()
    except OSError:
        return False
    return True
