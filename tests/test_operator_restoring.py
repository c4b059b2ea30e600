"""Every operator family under PSLD KSampler, and before Measurement from Image, in the real executor."""

from __future__ import annotations

import pytest
import torch
from psld.nodes.measurement import MeasurementFromImage
from psld.tests.operator_nodes import CASES, HEIGHT, WIDTH, Case, measuring, name, node, photo, write_pictures
from psld.tests.prompts import Failed

FAMILIES = (
    "SuperResolution",
    "InpaintMask",
    "Destripe",
    "KernelBlur",
    "DefocusBlur",
    "Greyscale",
    "BayerMosaic",
    "CompressedSensing",
    "Compose",
    "Stack",
)


@pytest.fixture(scope="module", autouse=True)
def pictures(comfy_base):
    write_pictures(comfy_base / "input")


def restoring(case: Case, method: str = "PSLD") -> dict:
    """A prompt that measures the photo and restores it in one step with the embedded prior."""
    settings = dict(seed=0, steps=1, cfg=1.0, scheduler="ddim_uniform", gamma=0.1, omega=1.0, method=method)
    return measuring(case) | {
        "prior": node("PSLD_LoadLDM", ckpt_name="[embedded] hands64.safetensors"),
        "sample": node("PSLD_KSampler", model=["prior", 0], vae=["prior", 1], measurement=["measure", 0], **settings),
        "restored": node("PreviewImage", images=["sample", 1]),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_psld_runs_with_each_family(run_prompt, family):
    case = next(case for case in CASES if case.node == family)
    outputs = run_prompt(restoring(case))
    _, restored, report = outputs["sample"][:3]
    assert restored.shape == (1, HEIGHT, WIDTH, 3) and torch.isfinite(restored).all() and restored.std() > 0.01
    assert report.nfe == 1


@pytest.mark.parametrize("case", [c for c in CASES if not c.linear], ids=name)
def test_psld_refuses_what_is_not_linear_by_its_name(run_prompt, case):
    what = case.inputs["second"][0] if case.node == "Compose" else case.node
    with pytest.raises(Failed, match=f"measurement: {what} is not linear"):
        run_prompt(restoring(case))


@pytest.mark.parametrize("case", [c for c in CASES if not c.linear], ids=name)
def test_a_method_that_needs_no_linearity_takes_it(run_prompt, case):
    restored = run_prompt(restoring(case, "LDPS"))["sample"][1]
    assert restored.shape == (1, HEIGHT, WIDTH, 3) and torch.isfinite(restored).all() and restored.std() > 0.01


def measured_as_picture(case: Case) -> bool:
    """Whether a photo can be the measurement."""
    shape = case.expected((3, HEIGHT, WIDTH)).measurement_shape
    return case.linear and len(shape) == 3 and shape[0] in (1, 3)


@pytest.mark.parametrize("case", [c for c in CASES if measured_as_picture(c)], ids=name)
def test_a_degraded_photo_is_taken_for_what_was_measured(run_prompt, case):
    """Measurement from Image of Measure's picture gives Measure's measurement, also where that picture is grey."""
    again = node("PSLD_MeasurementFromImage", image=["measure", 1], operator=["operator", 0], sigma=0.0)
    outputs = run_prompt(measuring(case) | {"again": again, "shown": node("PreviewImage", images=["again", 1])})
    first, second = outputs["measure"][0], outputs["again"][0]
    torch.testing.assert_close(second.y, first.y.clamp(-1, 1), atol=1e-5, rtol=0, check_dtype=False)
    assert second.operator.image_shape[0] == 3 and second.operator.measurement_shape == first.operator.measurement_shape


@pytest.mark.parametrize("node_id", ["CompressedSensing", "Stack"])
def test_a_photo_cannot_be_a_measurement_that_is_no_picture(run_prompt, node_id):
    prompt = measuring(next(case for case in CASES if case.node == node_id))
    prompt["again"] = node("PSLD_MeasurementFromImage", image=["photo", 0], operator=["operator", 0], sigma=0.0)
    prompt["shown"] = node("PreviewImage", images=["again", 1])
    with pytest.raises(Failed, match=f"image: its size is .*{node_id}.* gives no pictures"):
        run_prompt(prompt)


def test_a_raw_grey_mosaic_is_read_at_each_pixels_colour():
    """A sensor's picture has one value per pixel: as RGB it repeats it, and each colour finds its own."""
    case = next(case for case in CASES if case.node == "BayerMosaic")
    y = case.expected((3, HEIGHT, WIDTH))(photo().movedim(-1, 1) * 2 - 1)
    raw = ((y.sum(1) + 1) / 2)[..., None].expand(-1, -1, -1, 3)
    measurement, *_ = MeasurementFromImage.execute(image=raw, operator=case.expected, sigma=0.0).args
    torch.testing.assert_close(measurement.y, y, atol=1e-6, rtol=0, check_dtype=False)
