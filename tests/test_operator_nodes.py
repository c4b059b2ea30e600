"""Every operator node in the real executor: what it measures, and how it says no."""

from __future__ import annotations

import inspect

import pytest
import torch
from psld import operators
from psld.nodes.operators import NODES
from psld.tests.operator_nodes import CASES, HEIGHT, WIDTH, Case, measuring, name, node, photo, write_pictures
from psld.tests.prompts import Failed

import nodes


@pytest.fixture(scope="module", autouse=True)
def pictures(comfy_base):
    write_pictures(comfy_base / "input")


def test_every_operator_has_a_node_and_every_node_a_case():
    public = {name: value for name, value in vars(operators).items() if name in operators.__all__}
    makers = {f for name, f in public.items() if inspect.isfunction(f) and name[0].isupper()}
    classes = {c for c in public.values() if inspect.isclass(c) and issubclass(c, operators.Operator)}
    inside = {operators.Robust}  # made by an input of Measurement from Image
    assert {node.make for node in NODES} == makers | {c for c in classes if not inspect.isabstract(c)} - inside
    assert {f"PSLD_{case.node}" for case in CASES} == {node.GET_SCHEMA().node_id for node in NODES}


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_node_measures_what_its_inputs_say(run_prompt, case):
    """The measurement, and what ViewMeasurement makes of it, are those of the operator built by hand."""
    prompt = measuring(case)
    if case.linear:
        prompt["view"] = node("PSLD_ViewMeasurement", measurement=["measure", 0], view="pseudo-inverse", rcond=0.1)
        prompt["seen"] = node("PreviewImage", images=["view", 0])
    outputs = run_prompt(prompt)
    measurement, picture = outputs["measure"][:2]
    x = photo().movedim(-1, 1).double() * 2 - 1
    A = case.expected(tuple(x.shape[1:]))
    assert measurement.operator.linear == A.linear == case.linear
    torch.testing.assert_close(measurement.y, A(x), atol=1e-5, rtol=0, check_dtype=False)
    assert picture.shape[0] == 1 and picture.shape[-1] == 3 and picture.std() > 0.01
    if case.linear:
        seen = (A.pinv(measurement.y.float(), rcond=0.1) + 1) / 2
        torch.testing.assert_close(outputs["view"][0], seen.clamp(0, 1).movedim(1, -1), atol=1e-3, rtol=0)


def build(node_id: str, **inputs):
    """The operator of a node, called as the executor would, bound to the photo's size."""
    with torch.inference_mode():
        (maker,) = nodes.NODE_CLASS_MAPPINGS[f"PSLD_{node_id}"].execute(**inputs).args
    return maker((3, HEIGHT, WIDTH))


def kernel_blur(kernel: torch.Tensor):
    return build("KernelBlur", kernel=kernel, threshold=0.0, boundary="circular")


def combine(node_id: str, first: tuple[str, dict], second: tuple[str, dict]):
    makers = (nodes.NODE_CLASS_MAPPINGS[f"PSLD_{name}"].execute(**inputs).args[0] for name, inputs in (first, second))
    return build(node_id, **dict(zip(("first", "second"), makers, strict=True)))


GREY = ("Greyscale", {"red": 0.3, "green": 0.6, "blue": 0.1})
HALF = ("InpaintHalf", {"side": "top"})
SENSED = ("CompressedSensing", {"ratio": 0.5, "seed": 0})
GAMMA = ("Gamma", {"gamma": 2.2})
STRIPES = {"axis": "rows", "pattern": "regular", "width": 4, "spacing": 4, "drop": 0.5, "seed": 0}


@pytest.mark.parametrize(
    ("message", "break_it"),
    [
        ("side: 'middle' is not one of left, right, top, bottom", lambda: build("InpaintHalf", side="middle")),
        ("kernel: 'sinc' is not one of bicubic", lambda: build("SuperResolution", factor=2.0, kernel="sinc")),
        ("pattern: 'RGBW' is not one of", lambda: build("BayerMosaic", pattern="RGBW")),
        ("pattern: 'odd' is not one of regular, random", lambda: build("Destripe", **STRIPES | {"pattern": "odd"})),
        ("style: 'huge' is not one of thin, medium, thick", lambda: build("InpaintStrokes", style="huge", seed=0)),
        ("boundary: 'wrap' is not one of", lambda: build("DefocusBlur", radius=2.0, boundary="wrap")),
        ("width, spacing: stripes of 4 pixels at a spacing of 4", lambda: build("Destripe", **STRIPES)),
        ("low, high: low is 0.5, above high 0.3", lambda: build("InpaintRandom", low=0.5, high=0.3, seed=0)),
        ("kernel size must be odd", lambda: build("UniformBlur", kernel_size=8, boundary="zero")),
        (r"blur kernel \(103 pixels\) is larger", lambda: build("LineBlur", length=99.0, angle=0.0, boundary="zero")),
        ("kernel: it is all black", lambda: kernel_blur(torch.zeros(1, 5, 5, 3))),
        ("kernel: it is a batch of 2", lambda: kernel_blur(torch.ones(2, 5, 5, 3))),
        ("kernel: it has 4 channels, the last one alpha", lambda: kernel_blur(torch.ones(1, 5, 5, 4))),
        (r"blur kernel \(65 pixels\) is larger than the image", lambda: kernel_blur(torch.ones(1, 64, 10, 3))),
        ("red, green, blue: all are 0", lambda: build("Greyscale", red=0.0, green=0.0, blue=0.0)),
        ("matrix: could not convert string to float: 'red'", lambda: build("ChannelMix", matrix="red 1 0")),
        ("matrix: its lines have 3, 2 numbers", lambda: build("ChannelMix", matrix="1 0 0\n0 1")),
        ("matrix: its lines have no numbers", lambda: build("ChannelMix", matrix="\n")),
        ("matrix: it has infinite numbers or only zeros", lambda: build("ChannelMix", matrix="0 0 0")),
        ("measurement of CompressedSensing is no image", lambda: combine("Compose", SENSED, HALF)),
        ("needs an image of 3 channels, but this one has 1", lambda: combine("Compose", GREY, GREY)),
        ("stack needs one or more linear operators", lambda: combine("Stack", HALF, GAMMA)),
    ],
)
def test_bad_input_is_refused_with_a_sentence(message, break_it):
    with pytest.raises(ValueError, match=message):
        break_it()


def test_a_choice_that_the_server_lets_pass_is_refused_in_the_node(run_prompt):
    with pytest.raises(Failed, match="side: 'middle' is not one of"):
        run_prompt(measuring(Case("InpaintHalf", {"side": "middle"}, operators.InpaintHalf)))


@pytest.mark.parametrize("case", [c for c in CASES if not c.linear], ids=name)
def test_what_is_not_linear_has_no_pseudo_inverse_to_view(run_prompt, case):
    prompt = measuring(case)
    prompt["view"] = node("PSLD_ViewMeasurement", measurement=["measure", 0], view="pseudo-inverse", rcond=0.1)
    prompt["picture"] = node("PreviewImage", images=["view", 0])
    what = case.inputs["second"][0] if case.node == "Compose" else case.node
    with pytest.raises(Failed, match=f"measurement: {what} is not linear"):
        run_prompt(prompt)
