"""Values that a node must not take, by name, and values that it takes: what the table of bad inputs is written in."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import folder_paths
import torch
from PIL import Image
from psld.nodes import NODES
from psld.runtime.report import Report
from psld.tests.prompts import call

NODE = {node.GET_SCHEMA().node_id.removeprefix("PSLD_"): node for node in NODES}
INPUTS = {name: {i.id: i for i in node.GET_SCHEMA().inputs} for name, node in NODE.items()}
SMALL = {"width": 16, "height": 16, "kernel_size": 9, "steps": 1, "cfg": 1.0}
SPECIAL = {
    "EstimateBlur": {"steps": 4, "largest": 3},
    "Destripe": {"width": 2},
    "KernelBlur": {},
    "EmptyLatent": {"width": 64, "height": 64},
    "RestorePhoto": {"quality": "fast"},
}


@cache
def sockets() -> dict[str, Any]:
    """Something good for every type of socket."""
    image, mask = torch.rand(1, 64, 64, 3), torch.zeros(1, 64, 64)
    mask[:, 10:20, 10:20] = 1
    model, vae, text = call("LoadLDM", ckpt_name="[embedded] hands64.safetensors")
    (operator,) = call("Denoise")
    measurement = call("Measure", image=image, operator=operator, noise="gaussian", sigma=0.05, seed=0)[0]
    fit = call("FitToModel", image=image, vae=vae, method="pad", factor=1.0, size=64, margin=8, mask=mask)[2][0]
    return {
        "IMAGE": image, "MASK": mask, "MODEL": model, "VAE": vae, "CONDITIONING": text, "PSLD_OPERATOR": operator,
        "PSLD_MEASUREMENT": measurement, "PSLD_FIT": fit, "PSLD_REPORT": Report("PSLD"),
        "LATENT": {"samples": torch.zeros(1, 4, 16, 16)},
    }  # fmt: skip


@cache
def images() -> dict[str, Any]:
    """Pictures and masks that are none."""
    image, mask = sockets()["IMAGE"], sockets()["MASK"]
    spoilt = {"NaN": math.nan, "infinity": math.inf}
    pictures = {f"image with {name}": image.masked_fill(torch.arange(3) == 1, value) for name, value in spoilt.items()}
    masks = {f"mask with {name}": mask.masked_fill(mask > 0, value) for name, value in spoilt.items()}
    return pictures | masks | {
        "image without batch": image[0], "image of 5 dimensions": image[None], "image of 2 channels": image[..., :2],
        "image with alpha": torch.rand(1, 64, 64, 4), "image of no picture": image[:0],
        "image of no rows": image[:, :0], "image in bytes": (image * 255).byte(),
        "image as a list": image[0, 0].tolist(),
        "mask of no picture": mask[:0], "mask of no rows": mask[:, :0], "mask in bytes": mask.byte(),
        "mask in booleans": mask.bool(), "mask of 32 x 32": torch.ones(1, 32, 32), "mask of zeros": mask * 0,
    }  # fmt: skip


def value(written: Any) -> Any:
    """A value as the table writes it: "@IMAGE" and "@image with NaN" stand for tensors and the like."""
    if isinstance(written, str) and written.startswith("@"):
        return sockets().get(written[1:], images().get(written[1:]))
    return written


def good(name: str) -> dict[str, Any]:
    """Inputs that a node takes, as small as may be."""
    found = {}
    for known in INPUTS[name].values():
        if known.io_type in sockets():
            found[known.id] = sockets()[known.io_type]
        elif getattr(known, "default", None) is not None:
            found[known.id] = known.default
    if name == "LoadJPEG":
        found["image"] = "small.jpg"
        Image.new("RGB", (64, 64)).save(Path(folder_paths.get_input_directory()) / "small.jpg")
    if name == "KernelBlur":
        found["kernel"] = torch.rand(1, 5, 5, 3)
    return found | {key: small for key, small in (SMALL | SPECIAL.get(name, {})).items() if key in found}


def run(name: str, inputs: dict[str, Any]) -> None:
    """Runs a node; an operator first meets its picture in a Measure."""
    if NODE[name].GET_SCHEMA().is_input_list:
        inputs = {key: [value] for key, value in inputs.items()}
    outputs = call(name, **inputs)
    if NODE[name].GET_SCHEMA().outputs[0].io_type == "PSLD_OPERATOR":
        call("Measure", image=sockets()["IMAGE"], operator=outputs[0], noise="none", sigma=0.0, seed=0)
