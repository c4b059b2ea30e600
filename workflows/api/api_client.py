#!/usr/bin/env python3
"""Restores a photo of yours with one of the workflows beside this file, on a running ComfyUI; standard library only.

    python3 api_client.py "Sharpen a blurry photo (no download)" photo.jpg restored.png --set "restore.strength=2.5"
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
TEXT, PING, PONG = 1, 9, 10  # kinds of websocket frames


def request(server: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
    """GET, or POST where there is a body; exits with the server's own words where it refuses."""
    asked = urllib.request.Request(f"http://{server}{path}", body, {"Content-Type": kind} if body else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"ComfyUI refused {path}: {error.read().decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"There is no ComfyUI at {server} ({error}); start it, or name it with --server.")


def upload(server: str, photo: Path) -> str:
    """Sends a photo to ComfyUI's input folder and returns its name there; an equal one is not stored twice."""
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{photo.name}"\r\n\r\n'
    body = head.encode() + photo.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    return json.loads(request(server, "/upload/image", body, f"multipart/form-data; boundary={edge}"))["name"]


def prepare(workflow: dict[str, Any], photo: str, changes: list[str]) -> dict[str, Any]:
    """The workflow with the photo, and changes of the form TITLE.INPUT=VALUE; VALUE is JSON or, failing that, text."""
    for change in ["photo.image=" + json.dumps(photo), *changes]:
        target, _, text = change.partition("=")
        title, _, name = target.rpartition(".")
        nodes = [node for node in workflow.values() if node["_meta"]["title"] == title and name in node["inputs"]]
        if not nodes:
            sys.exit(f"The workflow has no input {target}.")
        try:
            nodes[0]["inputs"][name] = json.loads(text)
        except json.JSONDecodeError:
            nodes[0]["inputs"][name] = text
    return workflow


def messages(server: str, client: str) -> Iterator[dict[str, Any]]:
    """What ComfyUI tells this client, over a websocket; the first answer only says that it is open."""
    host, _, port = server.partition(":")
    connection = socket.create_connection((host, int(port or 80)))
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = f"GET /ws?clientId={client} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.sendall(f"{upgrade}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    stream = connection.makefile("rb")
    while stream.readline().strip():
        pass  # the answer's headers
    while head := stream.read(2):
        kind, size = head[0] & 15, head[1] & 127
        if size > 125:
            size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
        content = stream.read(size)
        if kind == PING:
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(content))
            connection.sendall(bytes([128 | PONG, 128 | size]) + mask + masked)
        elif kind == TEXT:
            yield json.loads(content)
    sys.exit("ComfyUI closed the connection.")


def follow(server: str, workflow: dict[str, Any]) -> str:
    """Runs the workflow, shows how far it is, and returns its id."""
    client = uuid.uuid4().hex
    told = messages(server, client)
    next(told)
    body = json.dumps({"prompt": workflow, "client_id": client}).encode()
    prompt = json.loads(request(server, "/prompt", body))["prompt_id"]
    for message in told:
        data = message["data"]
        if data.get("prompt_id", prompt) != prompt:
            continue
        if message["type"] == "progress":
            print(f"\r{workflow[data['node']]['_meta']['title']}: {data['value']}/{data['max']}", end="", flush=True)
        elif message["type"] == "execution_error":
            sys.exit(f"\n{data['node_type']}: {data['exception_message']}")
        elif message["type"] == "execution_interrupted":
            sys.exit("\nSomeone pressed Cancel.")
        elif message["type"] == "execution_success":
            print()
            return prompt
    raise AssertionError("messages() never ends by itself")


def saved(server: str, prompt: str, workflow: dict[str, Any]) -> bytes:
    """The picture that the node titled "save restored" wrote."""
    history: dict[str, Any] = {}
    while prompt not in history:  # it is written a moment after the last message
        time.sleep(0.1)
        history = json.loads(request(server, f"/history/{prompt}"))
    outputs = history[prompt]["outputs"]
    (node,) = (number for number, node in workflow.items() if node["_meta"]["title"] == "save restored")
    return request(server, "/view?" + urllib.parse.urlencode(outputs[node]["images"][0]))


def main() -> None:
    """Reads the command line and does it."""
    names = sorted(file.stem for file in FOLDER.glob("*.json"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workflow", choices=names, metavar="WORKFLOW", help="; ".join(names))
    parser.add_argument("photo", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--server", default="127.0.0.1:8188", metavar="HOST:PORT")
    parser.add_argument("--set", action="append", default=[], metavar="TITLE.INPUT=VALUE", help="may be repeated")
    args = parser.parse_args()
    workflow = json.loads((FOLDER / f"{args.workflow}.json").read_text(encoding="utf-8"))
    workflow = prepare(workflow, upload(args.server, args.photo), args.set)
    args.result.write_bytes(saved(args.server, follow(args.server, workflow), workflow))
    print(f"{args.result}")


if __name__ == "__main__":
    main()
