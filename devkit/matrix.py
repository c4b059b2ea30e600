"""`dev.py matrix PATH...`: does this pack load and run in other versions of ComfyUI, and leave stock sampling alone?"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import ROOT, DevError
from .client import Client, Workflow, load_workflow, node_titled
from .interface import changes, interface
from .server import Server, comfyui_server
from .stock import stock

OUTPUT = ROOT / "output" / "matrix"
COMPLAINT = re.compile(r"(?i)(warning|error|traceback|deprecat)")


def main(args: argparse.Namespace) -> int:
    """Tries every checkout; 0 when all that could be started passed."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in map(Path, args.paths):
        rows.append(tried(path.expanduser().resolve()))
        print(line(rows[-1]), flush=True)
    (OUTPUT / "matrix.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if any(row["wrong"] for row in rows) else 0


def line(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    if row["skipped"]:
        return f"{row['version']}: skipped, {row['skipped']}"
    found = f"{row['nodes']} nodes, {row['workflows']} workflows run, stock sampling the same: {row['stock_equal']}"
    return "\n    ".join([f"{row['version']}: {found}", *row["wrong"]])


def tried(checkout: Path) -> dict[str, Any]:
    """What one checkout makes of this pack; a checkout's own virtual environment is used where it has one."""
    row = {"version": version(checkout), "skipped": None, "wrong": []}
    pythons = (checkout / name / "bin" / "python" for name in (".venv", "venv"))
    python = next((str(file) for file in pythons if file.exists()), sys.executable)
    with tempfile.TemporaryDirectory(prefix="psld-matrix-") as base:
        try:
            with comfyui_server(Path(base), comfyui=checkout, python=python) as server:
                return row | asyncio.run(checks(server, row["version"]))
        except DevError as error:
            return row | {"skipped": str(error)}


def version(checkout: Path) -> str:
    """As the checkout says it, or its folder's name."""
    file = checkout / "comfyui_version.py"
    found = re.search(r'__version__ = "(.+)"', file.read_text()) if file.is_file() else None
    return found[1] if found else checkout.name


async def checks(server: Server, name: str) -> dict[str, Any]:
    """Runs every workflow that needs no checkpoint, between two stock samplings whose pictures must be equal."""
    info = server.get("/object_info")
    ours = {node: info[node] for node in sorted(info) if node.startswith("PSLD_")}
    (OUTPUT / f"object_info_{name}.json").write_text(json.dumps(ours, indent=1) + "\n")
    wrong, ran = changes(interface(ours)), 0
    async with Client(server.address) as client:
        before = await sampled(client)
        for file in sorted((ROOT / "workflows" / "api").glob("*.json")):
            workflow = load_workflow(file)
            if any(node["class_type"].endswith("Loader") or "CheckpointLoader" in node["class_type"]
                   for node in workflow.values()):  # fmt: skip
                continue
            try:
                await client.run(shortened(workflow))
                ran += 1
            except DevError as error:
                wrong.append(f"{file.stem}: {error}")
        await client.free()
        equal = await sampled(client) == before
    if not equal:
        wrong.append("Stock sampling gives another picture after our workflows.")
    wrong += complaints(server.log)
    return {"nodes": len(ours), "workflows": ran, "stock_equal": equal, "wrong": wrong}


def shortened(workflow: Workflow) -> Workflow:
    """The workflow in as few steps as its methods take."""
    for node in workflow.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 3
    return workflow


async def sampled(client: Client) -> str:
    """The digest of what ComfyUI's own KSampler draws with the embedded prior."""
    workflow = stock(seed=5)
    result = await client.run(workflow)
    return hashlib.sha256(await client.image(result.outputs[node_titled(workflow, "save")])).hexdigest()


def complaints(log: Path) -> list[str]:
    """Lines of the log that complain of this pack."""
    lines = log.read_text(errors="replace").splitlines()
    about_us = [text for text in lines if re.search(r"(?i)psld", text) and COMPLAINT.search(text)]
    return [f"log: {text.strip()[:200]}" for text in about_us]
