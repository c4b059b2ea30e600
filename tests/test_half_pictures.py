"""ComfyUI's --fp16-intermediates hands out pictures in half precision: every node takes them as the same in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import pytest
import torch
from psld.nodes import NODES
from psld.operators.fit import Fit
from psld.operators.measurement import Measurement
from psld.runtime.report import Report
from psld.tests.ldm import photo
from psld.tests.prompts import call
from torch import Tensor

pytestmark = pytest.mark.usefixtures("single_thread")

PRIOR = "[embedded] hands64.safetensors"
FIT = dict(method="around mask", factor=1.0, size=16, margin=2)
LINES = dict(tone="any", threshold=0.08, max_width=6, min_length=20, grow=1)
RESTORED = dict(problem="fill a mask", strength=0.0, quality="fast", seed=1, prompt="")


def prior() -> dict[str, Any]:
    return dict(zip(("model", "vae"), call("LoadLDM", ckpt_name=PRIOR), strict=False))


def operator() -> Callable:
    return call("Denoise")[0]


def measurement(x: Tensor) -> Measurement:
    return call("MeasurementFromImage", image=x.float(), operator=operator(), sigma=0.05)[0]


def undone(x: Tensor, m: Tensor) -> list:
    fit = call("FitToModel", image=x.float(), vae=prior()["vae"], mask=m.float(), **FIT)[2]
    return call("UndoFit", image=[x.flip(2)[:, :16, :16]], photo=[x], fit=fit, mask=[m], feather=[3])


CASES: dict[str, Callable[[Tensor, Tensor], list]] = {
    "RestorePhoto": lambda x, m: call("RestorePhoto", image=x, mask=m, **prior(), **RESTORED),
    "KernelBlur": lambda x, m: call("KernelBlur", kernel=x[:, :9, :9].contiguous(), threshold=0.1, boundary="zero"),
    "InpaintMask": lambda x, m: call("InpaintMask", mask=m),
    "Measure": lambda x, m: call("Measure", image=x, operator=operator(), noise="gaussian", sigma=0.05, seed=1),
    "MeasurementFromImage": lambda x, m: call("MeasurementFromImage", image=x, operator=operator(), sigma=-1.0),
    "ApplyOperator": lambda x, m: call("ApplyOperator", image=x, operator=operator(), call="forward", rcond=0.1),
    "DataConsistency": lambda x, m: call(
        "DataConsistency", image=x, measurement=measurement(x / 2), method="noise-aware", rcond=0.1, error=0.1
    ),
    "EstimateBlur": lambda x, m: call(
        "EstimateBlur", image=x, **prior(), kind="Gaussian", largest=5, sigma=0.05, steps=4, seed=1
    ),
    "FitToModel": lambda x, m: call("FitToModel", image=x, vae=prior()["vae"], mask=m, **FIT),
    "UndoFit": undone,
    "FindLines": lambda x, m: call("FindLines", image=x, **LINES),
    "ImageMetrics": lambda x, m: call("ImageMetrics", image=x, reference=x.flip(1), measurement=measurement(x)),
    "Compare": lambda x, m: call("Compare", image=x, measurement=measurement(x.flip(1)), report=Report("PSLD")),
}


def made(value: object) -> object:
    """What can be compared of an output: an operator by what it measures."""
    if isinstance(value, list):
        return [made(part) for part in value]
    if isinstance(value, Measurement):
        return value.y
    if isinstance(value, Fit):
        return astuple(value)
    return value((3, 32, 32))(torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)) if callable(value) else value


def test_no_node_that_takes_pictures_is_missing():
    schemas = [node.define_schema() for node in NODES]
    takers = {s.node_id for s in schemas if {"IMAGE", "MASK"} & {known.io_type for known in s.inputs}}
    assert takers == {f"PSLD_{name}" for name in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_pictures_in_half_precision_give_what_they_give_in_single(name):
    x, m = photo()[:, 16:48, 16:48].half().contiguous(), torch.zeros(1, 32, 32).half()
    x[:, :, 20], m[:, 10:16, 12:20] = 0.02, 0.7
    half, single = CASES[name](x, m), CASES[name](x.float(), m.float())
    assert len(half) == len(single) > 0
    for one, other in zip(map(made, half), map(made, single), strict=True):
        if isinstance(one, Tensor | list):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        elif not isinstance(one, str):  # a report says seconds
            assert one == other
