"""Every operator node with inputs to try, what it must measure, and the prompt that runs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from psld import operators as o
from psld.nodes.operators import NODES
from psld.operators.colour import BAYER
from psld.operators.resize import KERNELS
from psld.operators.strokes import STROKES
from psld.tests.prompts import node

HEIGHT, WIDTH = 64, 72
NODE_CLASSES = {node.GET_SCHEMA().node_id.removeprefix("PSLD_"): node for node in NODES}


class Case(NamedTuple):
    """node: id without prefix. inputs: where they differ from the defaults. expected: the operator that must result.

    An input may be a link, or another operator node as (node, inputs).
    """

    node: str
    inputs: dict[str, Any]
    expected: Callable[[tuple[int, int, int]], o.Operator]

    @property
    def linear(self) -> bool:
        return "non-linear" not in NODE_CLASSES[self.node].GET_SCHEMA().display_name and "JPEG" not in str(self.inputs)


def photo() -> torch.Tensor:
    """A smooth picture with an edge, (1, H, W, 3) in [0, 1], in steps that 8 bits can hold."""
    y, x = torch.meshgrid(torch.linspace(0.1, 0.9, HEIGHT), torch.linspace(0.1, 0.9, WIDTH), indexing="ij")
    picture = torch.stack([x, y, 0.2 + 0.6 * ((x + y) > 0.8).float()], dim=-1)
    return ((picture * 255).round() / 255)[None]


def hole() -> torch.Tensor:
    """A mask (H, W), 1 = to restore."""
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[10:30, 20:50] = 1
    return mask


def kernel() -> torch.Tensor:
    """A lopsided kernel (6, 5): even and odd sides, and a dark corner."""
    values = torch.zeros(6, 5)
    values[1, 2], values[2, 3], values[5, 0] = 1.0, 0.6, 0.2
    return values


def write_pictures(folder: Path) -> None:
    """photo.png, hole.png (transparent where it is to be restored) and kernel.png, for LoadImage."""
    rgb = (photo()[0] * 255).round().byte().numpy()
    alpha = ((1 - hole()) * 255).byte().numpy()
    Image.fromarray(rgb).save(folder / "photo.png")
    Image.fromarray(np.dstack([rgb, alpha])).save(folder / "hole.png")
    Image.fromarray((kernel() * 255).round().byte().numpy()).save(folder / "kernel.png")


def operator_nodes(name: str, inputs: dict[str, Any], id: str = "operator") -> dict[str, Any]:
    """The API nodes of an operator and of those that it is made of, all inputs given."""
    defaults = {i.id: i.default for i in NODE_CLASSES[name].GET_SCHEMA().inputs if hasattr(i, "default")}
    nodes, given = {}, defaults | inputs
    for key, value in given.items():
        if isinstance(value, tuple):
            nodes |= operator_nodes(*value, id=f"{id}.{key}")
            given[key] = [f"{id}.{key}", 0]
    return {**nodes, id: node(f"PSLD_{name}", **given)}


def measuring(case: Case) -> dict[str, Any]:
    """A prompt that measures the photo without noise."""
    return {
        "photo": node("LoadImage", image="photo.png"),
        "hole": node("LoadImage", image="hole.png"),
        "kernel": node("LoadImage", image="kernel.png"),
        **operator_nodes(case.node, case.inputs),
        "measure": node("PSLD_Measure", image=["photo", 0], operator=["operator", 0], noise="none", sigma=0.0, seed=0),
        "picture": node("PreviewImage", images=["measure", 1]),
    }


BOX = {"width": 16, "height": 24}
MIX = [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]
BLUR = partial(o.GaussianBlur, sigma=3.0)
SMALL = partial(o.SuperResolution, factor=4.0)

CASES = [
    Case("SuperResolution", {}, SMALL),
    *(
        Case("SuperResolution", {"factor": 2.5, "kernel": k}, partial(o.SuperResolution, factor=2.5, kernel=k))
        for k in KERNELS
    ),
    Case("InpaintGrid", {}, partial(o.InpaintGrid, factor=2)),
    Case("InpaintGrid", {"factor": 5}, partial(o.InpaintGrid, factor=5)),
    Case("InpaintMask", {"mask": ["hole", 1]}, partial(o.InpaintMask, mask=1 - hole())),
    Case("InpaintBox", BOX, partial(o.InpaintBox, size=(24, 16), margin=16, seed=0)),
    Case("InpaintBox", BOX | {"margin": 3, "seed": 5}, partial(o.InpaintBox, size=(24, 16), margin=3, seed=5)),
    Case("InpaintBox", BOX | {"left": 50, "top": 8}, partial(o.InpaintBox, size=(24, 16), position=(8, 50))),
    Case("InpaintRandom", {}, partial(o.InpaintRandom, low=0.7, high=0.7)),
    Case("InpaintRandom", {"low": 0.2, "high": 0.6, "seed": 4}, partial(o.InpaintRandom, low=0.2, high=0.6, seed=4)),
    *(Case("InpaintHalf", {"side": s}, partial(o.InpaintHalf, side=s)) for s in ("left", "right", "top", "bottom")),
    Case("Outpaint", {}, partial(o.Outpaint, keep=0.5)),
    Case("Outpaint", {"keep": 0.25}, partial(o.Outpaint, keep=0.25)),
    *(Case("InpaintStrokes", {"style": s, "seed": 2}, partial(o.InpaintStrokes, style=s, seed=2)) for s in STROKES),
    Case("InpaintScratches", {}, partial(o.InpaintScratches, count=8, width=2.0)),
    Case(
        "InpaintScratches",
        {"count": 3, "width": 4.5, "seed": 9},
        partial(o.InpaintScratches, count=3, width=4.5, seed=9),
    ),
    Case("InpaintLines", {}, partial(o.InpaintLines, axis="rows", period=2)),
    Case("InpaintLines", {"axis": "columns", "period": 3}, partial(o.InpaintLines, axis="columns", period=3)),
    Case("InpaintRandomLines", {}, partial(o.Destripe, axis="rows", width=1, drop=0.5)),
    Case(
        "InpaintRandomLines",
        {"axis": "columns", "drop": 0.3, "seed": 6},
        partial(o.Destripe, axis="columns", width=1, drop=0.3, seed=6),
    ),
    Case("Destripe", {}, partial(o.Destripe, axis="columns", width=2, spacing=8)),
    Case("Destripe", {"axis": "rows", "width": 5, "spacing": 9}, partial(o.Destripe, axis="rows", width=5, spacing=9)),
    Case(
        "Destripe",
        {"pattern": "random", "width": 3, "drop": 0.4, "seed": 8},
        partial(o.Destripe, width=3, drop=0.4, seed=8),
    ),
    Case("GaussianBlur", {}, BLUR),
    Case(
        "GaussianBlur",
        {"sigma": 1.5, "kernel_size": 5, "boundary": "zero"},
        partial(o.GaussianBlur, sigma=1.5, kernel_size=5, boundary="zero"),
    ),
    Case("AnisotropicBlur", {}, partial(o.AnisotropicBlur, sigma_x=6.0, sigma_y=1.0)),
    Case(
        "AnisotropicBlur",
        {"sigma_x": 1.0, "sigma_y": 3.0, "angle": 30.0, "kernel_size": 13, "boundary": "reflect"},
        partial(o.AnisotropicBlur, sigma_x=1.0, sigma_y=3.0, angle=30.0, kernel_size=13, boundary="reflect"),
    ),
    Case("UniformBlur", {}, partial(o.UniformBlur, kernel_size=9)),
    Case(
        "UniformBlur",
        {"kernel_size": 3, "boundary": "circular"},
        partial(o.UniformBlur, kernel_size=3, boundary="circular"),
    ),
    Case("MotionBlur", {}, partial(o.MotionBlur, kernel_size=61)),
    Case(
        "MotionBlur",
        {"kernel_size": 9, "intensity": 0.2, "seed": 3, "boundary": "replicate"},
        partial(o.MotionBlur, kernel_size=9, intensity=0.2, seed=3, boundary="replicate"),
    ),
    Case("LineBlur", {}, partial(o.LineBlur, length=15.0)),
    Case(
        "LineBlur",
        {"length": 6.0, "angle": 60.0, "boundary": "zero"},
        partial(o.LineBlur, length=6.0, angle=60.0, boundary="zero"),
    ),
    Case("DefocusBlur", {}, partial(o.DefocusBlur, radius=5.0)),
    Case("DefocusBlur", {"radius": 1.7, "boundary": "reflect"}, partial(o.DefocusBlur, radius=1.7, boundary="reflect")),
    Case("KernelBlur", {"kernel": ["kernel", 0]}, partial(o.Blur, kernel=kernel())),
    Case(
        "KernelBlur",
        {"kernel": ["kernel", 0], "threshold": 0.5, "boundary": "reflect"},
        partial(o.Blur, kernel=kernel() * (kernel() > 0.5), boundary="reflect"),
    ),
    Case("Greyscale", {}, o.Greyscale),
    Case("Greyscale", {"red": 0.0, "blue": 0.4}, partial(o.Greyscale, weights=(0.0, 0.587, 0.4))),
    Case("ChannelMix", {}, partial(o.ChannelMix, matrix=MIX)),
    Case("ChannelMix", {"matrix": "1, 0, -0.5\n\n 0 .5 1"}, partial(o.ChannelMix, matrix=[[1, 0, -0.5], [0, 0.5, 1]])),
    *(Case("BayerMosaic", {"pattern": p}, partial(o.BayerMosaic, pattern=p)) for p in BAYER),
    Case("Denoise", {}, o.Denoise),
    Case("CompressedSensing", {}, o.CompressedSensing),
    Case("CompressedSensing", {"ratio": 0.5, "seed": 7}, partial(o.CompressedSensing, ratio=0.5, seed=7)),
    Case("JPEG", {}, o.JPEG),
    Case("JPEG", {"quality": 5, "subsample": False}, partial(o.JPEG, quality=5, subsample=False)),
    Case("Gamma", {}, o.Gamma),
    Case("Gamma", {"gamma": 0.5}, partial(o.Gamma, gamma=0.5)),
    Case("HighDynamicRange", {}, o.HighDynamicRange),
    Case("HighDynamicRange", {"scale": 3.0}, partial(o.HighDynamicRange, scale=3.0)),
    Case("PhaseRetrieval", {}, o.PhaseRetrieval),
    Case("PhaseRetrieval", {"oversample": 0.0}, partial(o.PhaseRetrieval, oversample=0.0)),
    Case(
        "Compose",
        {"first": ("GaussianBlur", {}), "second": ("SuperResolution", {})},
        partial(o.Compose, makers=[BLUR, SMALL]),
    ),
    Case(
        "Compose",
        {
            "first": ("Compose", {"first": ("Greyscale", {}), "second": ("GaussianBlur", {})}),
            "second": ("Compose", {"first": ("SuperResolution", {}), "second": ("InpaintHalf", {})}),
        },
        partial(o.Compose, makers=[o.Greyscale, BLUR, SMALL, o.InpaintHalf]),
    ),
    Case(
        "Compose",
        {"first": ("GaussianBlur", {}), "second": ("JPEG", {})},
        partial(o.Compose, makers=[BLUR, o.JPEG]),
    ),
    Case(
        "Stack",
        {"first": ("Greyscale", {}), "second": ("SuperResolution", {})},
        partial(o.Stack, makers=[o.Greyscale, SMALL]),
    ),
    Case(
        "Stack",
        {
            "first": ("Stack", {"first": ("InpaintHalf", {}), "second": ("Outpaint", {})}),
            "second": ("Compose", {"first": ("GaussianBlur", {}), "second": ("SuperResolution", {})}),
        },
        partial(o.Stack, makers=[o.InpaintHalf, o.Outpaint, partial(o.Compose, makers=[BLUR, SMALL])]),
    ),
]


def name(case: Case) -> str:
    """A test id."""
    values = (value[0] if isinstance(value, tuple) else value for value in case.inputs.values())
    return "-".join([case.node, *(str(value).replace("\n", ";") for value in values)])
