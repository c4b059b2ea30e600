"""Menu group "metrics": what was measured beside what was restored, and how the one came to fit the other."""

from __future__ import annotations

import math

import numpy as np
import torch
from comfy_api.latest import io, ui
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from ..operators.measurement import Measurement
from ..runtime.report import Report
from .measurement import picture
from .types import CATEGORY, MeasurementIO, ReportIO, check_image, pixels_from_image
from .verdict import verdict

SIDE, LABEL, GAP, FONT = 320, 24, 8, 14
CHART, FRAME = (640, 400), (70, 30, 620, 345)
MAGNIFIED = 8
INK, LINE, GREY = (20, 20, 20), (0, 90, 180), (150, 150, 150)


class Compare(io.ComfyNode):
    """A labelled sheet of one restoration, and the curve of its residual."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_Compare",
            display_name="Compare and Explain",
            category=f"{CATEGORY}/metrics",
            description="Shows what was measured, what was restored, what that would have measured and where the two "
            "differ; and how the residual fell from noise level to noise level.",
            inputs=[
                io.Image.Input("image", tooltip="The restored image, of the size that was measured."),
                MeasurementIO.Input("measurement", tooltip="What it was restored from."),
                ReportIO.Input("report", tooltip="Of the PSLD KSampler that restored it."),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="Four labelled pictures, of the first image of a batch."),
                io.Image.Output(display_name="curve", tooltip="Residual against noise level, both logarithmic."),
                io.String.Output(display_name="text"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image, measurement, report) -> io.NodeOutput:
        check_image(image)
        panels = compared(image[:1], measurement)
        text = explained(measurement, report, verdict(measurement, image))
        pictures = drawn(sheet(panels)), drawn(chart(report.residuals, measurement.overall_sigma))
        shown = [saved for part in pictures for saved in ui.PreviewImage(part, cls=cls).as_dict()["images"]]
        return io.NodeOutput(*pictures, text, ui={"images": shown, "text": [text]})


def compared(image: Tensor, measurement: Measurement) -> dict[str, Tensor]:
    """IMAGEs of one by their labels."""
    A, x = measurement.to().operator, pixels_from_image(image)
    y = measurement.to().y[:1]
    again = A.restrict(A(x))
    measured = {"measured": y, "restored, measured again": again, f"difference x {MAGNIFIED}": MAGNIFIED * (y - again)}
    pictures = {label: picture(Measurement(values, A, 0.0)) for label, values in measured.items()}
    return {"restored": image} | pictures


def explained(measurement: Measurement, report: Report, words: str) -> str:
    """The run in words."""
    lines = [f"The restored image {words}.", f"{report.method}: {report.nfe} passes, {report.seconds:.1f} s."]
    if report.residuals:
        first, last = report.residuals[0], report.residuals[-1]
        lines.append(
            f"The decoded estimate was off by {first[1]:.3g} at noise level {first[0]:.3g} and by {last[1]:.3g} at "
            f"{last[0]:.3g}; the measurement's own noise is {measurement.overall_sigma:.3g}."
        )
    return "\n".join(lines)


def sheet(panels: dict[str, Tensor]) -> Image.Image:
    """Labelled pictures in a row, each SIDE pixels high."""
    pictures = {}
    for label, image in panels.items():
        width = max(1, round(SIDE * image.shape[2] / image.shape[1]))
        large = F.interpolate(image.movedim(-1, 1).float(), size=(SIDE, width), mode="nearest-exact")
        pictures[label] = Image.fromarray((large[0].movedim(0, -1) * 255).round().byte().cpu().numpy())
    total = sum(part.width for part in pictures.values()) + GAP * (len(pictures) - 1)
    page = Image.new("RGB", (total, SIDE + LABEL), "white")
    draw, left = ImageDraw.Draw(page), 0
    for label, part in pictures.items():
        page.paste(part, (left, LABEL))
        draw.text((left + 2, 4), label, INK, ImageFont.load_default(FONT))
        left += part.width + GAP
    return page


def chart(residuals: list[tuple[float, float]], sigma_y: float) -> Image.Image:
    """The residual of each step over its noise level, from left (noise) to right (picture), and the noise in y."""
    page = Image.new("RGB", CHART, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT)
    left, top, right, bottom = FRAME
    draw.rectangle(FRAME, outline=GREY)
    points = [(sigma, value) for sigma, value in residuals if sigma > 0 and value > 0 and math.isfinite(value)]
    if not points:
        draw.text((left + 10, top + 10), "no step was recorded", INK, font)
        return page
    values = [value for _, value in points] + ([sigma_y] if sigma_y > 0 else [])
    high, low = (math.log10(f(sigma for sigma, _ in points)) for f in (max, min))
    top_value, least = math.log10(max(values)) + 0.1, math.log10(min(values)) - 0.1

    def place(sigma: float, value: float) -> tuple[float, float]:
        along = (high - math.log10(sigma)) / max(high - low, 1e-9)
        down = (top_value - math.log10(value)) / (top_value - least)
        return left + along * (right - left), top + down * (bottom - top)

    for sigma in (10**high, 10**low):
        draw.text((place(sigma, 10**least)[0] - 12, bottom + 6), f"{sigma:.3g}", INK, font)
    for value in (10 ** (top_value - 0.1), 10 ** (least + 0.1)):
        draw.text((8, place(10**high, value)[1] - 8), f"{value:.3g}", INK, font)
    if sigma_y > 0:
        level = place(10**high, sigma_y)[1]
        draw.line((left, level, right, level), GREY, 2)
        draw.text((left + 8, level - 20), "noise of the measurement", GREY, font)
    draw.line([place(*point) for point in points], LINE, 2)
    for x, y in (place(*point) for point in points):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), LINE)
    draw.text((left, 6), "residual of the decoded estimate", INK, font)
    draw.text(((left + right) / 2 - 60, bottom + 24), "noise level of the step", INK, font)
    return page


def drawn(page: Image.Image) -> Tensor:
    """A drawing as an IMAGE of one."""
    return torch.from_numpy(np.asarray(page, dtype=np.float32) / 255)[None]


NODES = [Compare]
