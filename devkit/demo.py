"""`dev.py demo`: degrades photos and restores them, by the five LDM workflows that a real ComfyUI runs.

Each workflow in `workflows/api/` names the nodes the demo touches by their titles: "photo" (LoadImage), "sampler",
"metrics", and one SaveImage each for the pictures in `PICTURES`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from . import ROOT, DevError, sibling, trial
from .client import Client, Event, Result, Workflow, load_workflow, node_titled
from .server import comfyui_server

comparison_sheet = sibling("drawing.sheet").comparison_sheet

OUTPUT = ROOT / "output" / "demo"
PICTURES = {"truth": "save truth", "measured": "save measurement", "pinv": "save pinv", "restored": "save restored"}
MID_GREY = (127, 128)  # how 0 in [-1, 1] may be stored in 8 bits
COLUMNS = ("method", "nfe", "seconds", "psnr_measurement", "psnr", "ssim", "residual", "sigma_y")


@dataclass
class Restoration:
    """What one workflow made: its four pictures by name and a row of metrics.json."""

    task: str
    pictures: dict[str, Image.Image]
    metrics: dict[str, Any]


def main(args: argparse.Namespace) -> int:
    """Runs the tasks one after the other; 0 when all of them were restored, else 1."""
    workflows = {task: load_workflow(ROOT / "workflows" / "api" / f"{trial(task)}.json") for task in args.task}
    photo = read_photo(Path(args.image)) if args.image else None
    OUTPUT.mkdir(parents=True, exist_ok=True)
    print("starting ComfyUI ...", flush=True)
    with comfyui_server() as server:
        restorations, failures = asyncio.run(restore_all(server.address, workflows, args, photo))
    if restorations:
        write(restorations)
        print(f"\n{table(restorations)}\n")
        if worse := [one.task for one in restorations if one.metrics["psnr"] <= one.metrics["psnr_measurement"]]:
            print(f"No better than A^+ y: {', '.join(worse)} (more steps may help).")
        print(f"comparison sheet: {OUTPUT / 'sheet.png'}")
    if failures:
        what = f"{len(failures)} of {len(workflows)} tasks failed (ComfyUI's log: {server.log}):"
        raise DevError("\n  ".join([what, *failures]))
    return 0


def read_photo(file: Path) -> bytes:
    """A picture file's bytes; the workflows crop and resize it. Raises DevError where it is none."""
    try:
        with Image.open(file) as picture:
            picture.load()
    except OSError as error:
        raise DevError(f"--image: {file} cannot be read as a picture ({error}); give a JPEG or PNG file.") from None
    return file.read_bytes()


async def restore_all(
    address: str, workflows: dict[str, Workflow], args: argparse.Namespace, photo: bytes | None
) -> tuple[list[Restoration], list[str]]:
    """Runs every task, also after one has failed: the restorations, and a sentence for each failure."""
    restorations, failures = [], []
    async with Client(address) as client:
        name = await client.upload("demo_photo", photo) if photo else None
        for task, workflow in workflows.items():
            try:
                restorations.append(await restore(client, task, customised(workflow, args, name)))
            except DevError as error:
                failures.append(f"{task}: {error}")
    return restorations, failures


def customised(workflow: Workflow, args: argparse.Namespace, photo: str | None) -> Workflow:
    """The workflow with the command line's wishes put in, in place."""
    wishes = [("photo", "image", photo), ("sampler", "steps", args.steps), ("sampler", "seed", args.seed)]
    for title, name, value in wishes:
        if value is not None:
            workflow[node_titled(workflow, title)]["inputs"][name] = value
    return workflow


async def restore(client: Client, task: str, workflow: Workflow) -> Restoration:
    """Runs one workflow under a progress bar, and collects its pictures and metrics."""
    sampler = node_titled(workflow, "sampler")
    with tqdm(desc=f"{task:<18}", unit="step", disable=None) as bar:
        result = await client.run(workflow, lambda event: show(bar, event, sampler))
        if bar.disable:  # no terminal: one line in place of the bar
            print(f"{task}: done", flush=True)
    pictures = {}
    for name, title in PICTURES.items():
        content = await client.image(result.outputs.get(node_titled(workflow, title), {}))
        pictures[name] = Image.open(io.BytesIO(content)).convert("RGB")
    return Restoration(task, pictures, metrics_row(task, pictures, reported(workflow, result)))


def show(bar: tqdm, event: Event, sampler: str) -> None:
    """Moves the bar to where the sampler is."""
    if event.node == sampler and event.total:
        bar.total, bar.n = event.total, event.value
        bar.refresh()


def reported(workflow: Workflow, result: Result) -> dict[str, Any]:
    """What the metrics node says, with the sampler's seconds as seen from here where it does not say."""
    output = result.outputs.get(node_titled(workflow, "metrics"), {}).get("metrics")
    if not output:
        raise DevError("The metrics node reported nothing.")
    metrics = output[0] if isinstance(output[0], dict) else json.loads(output[0])
    return {"seconds": result.seconds.get(node_titled(workflow, "sampler")), **metrics}


def metrics_row(task: str, pictures: dict[str, Image.Image], metrics: dict[str, Any]) -> dict[str, Any]:
    """One row of metrics.json: the metrics node's numbers, and PSNRs of the saved pictures where it has none."""
    truth, pinv, restored = (pixels(pictures[name]) for name in ("truth", "pinv", "restored"))
    measured = {"psnr_measurement": psnr(pinv, truth), "psnr": psnr(restored, truth), **metrics}
    row = {"task": task, **{name: rounded(measured.get(name)) for name in COLUMNS}}
    hole = np.isin(np.asarray(pictures["pinv"]), MID_GREY).all(axis=-1)
    if "inpainting" in task and hole.any():
        row["psnr_hole_measurement"] = rounded(psnr(pinv[hole], truth[hole]))
        row["psnr_hole"] = rounded(psnr(restored[hole], truth[hole]))
    return row


def pixels(image: Image.Image) -> np.ndarray:
    """HWC in [0, 1]."""
    return np.asarray(image, dtype=np.float64) / 255


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [0, 1]."""
    return float(-10 * np.log10(max(np.mean((image - truth) ** 2), 1e-12)))


def rounded(value: Any) -> Any:
    """Four decimals are more than these numbers are good for."""
    return round(value, 4) if isinstance(value, float) else value


def write(restorations: list[Restoration]) -> None:
    """Writes the pictures, the sheet and metrics.json."""
    for one in restorations:
        for name, picture in one.pictures.items():
            picture.save(OUTPUT / f"{one.task}_{name}.png")
    comparison_sheet([(one.metrics, one.pictures) for one in restorations]).save(OUTPUT / "sheet.png")
    (OUTPUT / "metrics.json").write_text(json.dumps([one.metrics for one in restorations], indent=2) + "\n")


def table(restorations: list[Restoration]) -> str:
    """metrics.json for the terminal."""
    titles = {"psnr_measurement": "PSNR A^+ y", "psnr": "PSNR", "ssim": "SSIM", "nfe": "NFE", "seconds": "s"}
    rows = [("task", *(titles.get(name, name) for name in COLUMNS))]
    rows += [(one.task, *(cell(name, one.metrics[name]) for name in COLUMNS)) for one in restorations]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = [str.ljust, str.ljust, *[str.rjust] * len(widths)]
    return "\n".join("  ".join(to(*cell) for to, *cell in zip(align, row, widths, strict=False)) for row in rows)


def cell(name: str, value: Any) -> str:
    """A number with as many decimals as one cares to read."""
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.1f}" if name == "seconds" else f"{value:.2f}" if "psnr" in name else f"{value:.3f}"
