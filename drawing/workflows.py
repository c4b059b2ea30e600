"""The workflows of `workflows/`, described once; `dev.py draw workflows` writes both formats again after a change.

`workflows/api/<prior>_<task>.json` is ComfyUI's API format, `workflows/<prior>_<task>.json` its UI format (a template).
"""

from __future__ import annotations

import json
from typing import Any

from ..devkit import ROOT, TASKS
from . import repairs
from .litegraph import Catalogue, Node, Note, offered, ui_format
from .priors import ADVICE, PICTURE_SIZE, prior_nodes, sampler
from .samples import PHOTOS, sample

FOLDER = ROOT / "workflows"


def operator(prior: str, task: str) -> Node:
    """The node that says how the photo is degraded; lengths in pixels of the prior's size."""
    ldm = prior == "ldm"
    side, margin = (32, 8) if ldm else (256, 16)
    sigma, gaussian, motion = (1.5, 13, 13) if ldm else (3.0, 61, 61)
    box = {"width": side, "height": side, "left": -1, "top": -1, "margin": margin, "seed": 0}
    return {
        "super_resolution": Node("PSLD_SuperResolution", {"factor": 4.0, "kernel": "bicubic"}),
        "random_inpainting": Node("PSLD_InpaintRandom", {"low": 0.7, "high": 0.7, "seed": 0}),
        "box_inpainting": Node("PSLD_InpaintBox", box),
        "gaussian_deblur": Node("PSLD_GaussianBlur", {"sigma": sigma, "kernel_size": gaussian, "boundary": "reflect"}),
        "motion_deblur": Node(
            "PSLD_MotionBlur", {"kernel_size": motion, "intensity": 0.5, "seed": 0, "boundary": "circular"}
        ),
    }[task]


def graph(prior: str, task: str) -> dict[str, Node]:
    """Degrade a photo, restore it, compare: the nodes by name, each after those that it takes its inputs from."""
    size, photo = PICTURE_SIZE[prior], ("size", 0)
    measurement = ("measure", 0)
    return {
        "photo": Node("LoadImage", {"image": sample(prior, "clean")}),
        "size": Node(
            "ImageScale",
            {"image": ("photo", 0), "upscale_method": "area", "width": size, "height": size, "crop": "center"},
            f"crop to the prior's {size} x {size}",
        ),
        **prior_nodes(prior),
        "operator": operator(prior, task),
        "measure": Node(
            "PSLD_Measure",
            {"image": photo, "operator": ("operator", 0), "noise": "gaussian", "sigma": 0.05, "seed": 0},
        ),
        "view": Node("PSLD_ViewMeasurement", {"measurement": measurement, "view": "pseudo-inverse", "rcond": 0.1}),
        "sampler": sampler(prior, measurement),
        "save truth": picture(prior, task, "truth", photo),
        "save measurement": picture(prior, task, "measurement", ("measure", 1), "measurement"),
        "save pinv": picture(prior, task, "pinv", ("view", 0), "without a prior: pseudo-inverse"),
        "save restored": picture(prior, task, "restored", ("sampler", 1), "restored"),
        "metrics": Node(
            "PSLD_ImageMetrics",
            {"image": ("sampler", 1), "reference": photo, "measurement": measurement, "report": ("sampler", 2)},
        ),
        "text": Node("PreviewAny", {"source": ("metrics", 3)}, "metrics"),
    }


def picture(prior: str, task: str, name: str, image: tuple[str, int], title: str | None = None) -> Node:
    """A picture to save."""
    return Node("SaveImage", {"images": image, "filename_prefix": f"psld/{prior}_{task}_{name}"}, title)


def api_format(nodes: dict[str, Node]) -> dict[str, dict[str, Any]]:
    """The graph as the server takes it; the names in our description become titles, which `devkit.demo` goes by."""
    ids = {name: str(i) for i, name in enumerate(nodes, start=1)}

    def plain(value: Any) -> Any:
        return [ids[value[0]], value[1]] if isinstance(value, tuple) else value

    return {
        ids[name]: {
            "class_type": node.class_type,
            "inputs": {key: plain(value) for key, value in node.inputs.items()},
            "_meta": {"title": name},
        }
        for name, node in nodes.items()
    }


NOTES = {
    "super_resolution": "A photo is made {factor:g} times smaller and noisy, and restored. **factor** and **kernel** "
    "of Super-Resolution say how it was made smaller.",
    "random_inpainting": "{low:.0%} of a photo's pixels are lost, the others noisy, and the photo is restored. "
    "**low** and **high** of Inpaint Random say how many pixels are lost, its **seed** which.",
    "box_inpainting": "A box of a photo is lost, the rest is noisy, and the photo is restored. To choose the area "
    "yourself, connect Inpaint Mask instead of Inpaint Box and paint on the photo (Open in MaskEditor).",
    "gaussian_deblur": "A photo is blurred by a Gaussian and noisy, and restored. **sigma** of Gaussian Blur says how "
    "strong the blur is; keep **kernel_size** at about 6 sigma or more.",
    "motion_deblur": "A photo is blurred by the camera's motion and noisy, and restored. **kernel_size** and "
    "**intensity** of Motion Blur say how far and how jerkily the camera moved, its **seed** along which path.",
}
TEXT = """{task}

Choose any photo and press **Run**. A photo that is degraded already goes into Measurement from Image, not Measure.

What matters in PSLD KSampler: **method** (Glued MAP is the best in few steps; Proximal gluing takes less memory; PSLD \
is the paper's) and **steps**. Other **seeds** give other answers. {prior}
"""
COLUMNS = (
    ("photo", "size", "operator"),
    ("measure", "save measurement"),
    ("prior", "positive", "negative", "view", "save pinv"),
    ("sampler",),
    ("save restored", "metrics", "text"),
)
PREVIEWED = ("save measurement", "save pinv")  # keep the user's output folder clean
LEFT_OUT = ("save truth",)  # the photo shows it already


def ui_workflow(prior: str, task: str, catalogue: Catalogue) -> dict[str, Any]:
    """The graph as the frontend opens it, with a note."""
    nodes = graph(prior, task)
    ids = {name: i for i, name in enumerate(nodes, start=1)}
    for name in PREVIEWED:
        nodes[name] = Node("PreviewImage", {"images": nodes[name].inputs["images"]}, nodes[name].title)
    for name in LEFT_OUT:
        del nodes[name]
    text = NOTES[task].format(**nodes["operator"].inputs)
    note = Note(TEXT.format(task=text, prior=ADVICE[prior]), height=340)
    columns = [[name for name in column if name in nodes] for column in COLUMNS]
    return ui_format(f"{prior}_{task}", nodes, ids, [[note], *columns], catalogue)


def written(catalogue: Catalogue) -> dict[str, str]:
    """The text of every workflow file by its path in `FOLDER`."""
    workflows = {}
    for prior in PHOTOS:
        for task in TASKS:
            workflows[f"api/{prior}_{task}.json"] = api_format(graph(prior, task))
            workflows[f"{prior}_{task}.json"] = ui_workflow(prior, task, catalogue)
        for repair in repairs.REPAIRS:
            nodes, name = repairs.graph(prior, repair), f"{prior}_{repair}"
            ids = {key: i for i, key in enumerate(nodes, start=1)}
            workflows[f"api/{name}.json"] = api_format(nodes)
            workflows[f"{name}.json"] = ui_format(name, nodes, ids, repairs.layout(prior, repair, nodes), catalogue)
    return {path: json.dumps(workflow, indent=2) + "\n" for path, workflow in workflows.items()}


def write() -> str:
    """Writes every file anew."""
    texts = written(offered())
    for path, text in texts.items():
        (FOLDER / path).write_text(text)
    return f"{FOLDER}: {len(texts)} files"
