"""Menu group "metrics": how close a restored image is to the truth and to its measurement."""

from __future__ import annotations

import json

import torch
from comfy_api.latest import io
from kornia.metrics import ssim
from torch import Tensor

from ..operators.measurement import Measurement
from ..runtime.report import Report
from .types import CATEGORY, MeasurementIO, ReportIO, pixels_from_image, size_of


class ImageMetrics(io.ComfyNode):
    """PSNR, SSIM and measurement residual against a reference."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_ImageMetrics",
            display_name="Image Metrics",
            category=f"{CATEGORY}/metrics",
            description="Compares a restored image with the true one, and with the measurement it was restored from.",
            inputs=[
                io.Image.Input("image", tooltip="The restored image."),
                io.Image.Input("reference", tooltip="The true image, of the same size."),
                MeasurementIO.Input("measurement", optional=True, tooltip="Adds the residual."),
                ReportIO.Input("report", optional=True, tooltip="Adds method, network evaluations and seconds."),
            ],
            outputs=[
                io.Float.Output(display_name="psnr"),
                io.Float.Output(display_name="ssim"),
                io.Float.Output(display_name="residual"),
                io.String.Output(display_name="text"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image, reference, measurement=None, report=None) -> io.NodeOutput:
        x, truth = pixels_from_image(image), pixels_from_image(reference, "reference")
        if x.shape[1:] != truth.shape[1:] or len(truth) not in (1, len(x)):
            raise ValueError(
                f"reference: it is {size_of(reference)}, but the restored image is {size_of(image)}; connect the true "
                "image of the same size."
            )
        metrics = compare(x, truth.expand_as(x), measurement, report)
        text = "\n".join(
            f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"
            for name, value in metrics.items()
        )
        residual = metrics.get("residual", float("nan"))
        return io.NodeOutput(
            metrics["psnr"], metrics["ssim"], residual, text, ui={"text": [text], "metrics": [json.dumps(metrics)]}
        )


def compare(x: Tensor, truth: Tensor, measurement: Measurement | None, report: Report | None) -> dict:
    """All metrics by name, means over the batch; x and truth are BCHW in [-1, 1]."""
    metrics: dict = {}
    if report is not None:
        metrics |= {"method": report.method, "nfe": report.nfe, "seconds": round(report.seconds, 2)}
        metrics |= {"verdict": report.verdict} if report.verdict else {}
    metrics |= {"psnr": psnr(x, truth), "ssim": float(ssim((x + 1) / 2, (truth + 1) / 2, window_size=11).mean())}
    if measurement is not None:
        told = measurement.to(x.device)
        metrics["residual"] = float(told.rms_residual(x).mean())
        metrics["sigma_y"] = measurement.overall_sigma
    return metrics


def psnr(x: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of BCHW in [-1, 1], clamped to that range; mean over the batch."""
    mse = ((x.clamp(-1, 1) - truth.clamp(-1, 1)) / 2).square().flatten(1).mean(dim=1)
    return float((-10 * torch.log10(mse.clamp_min(1e-12))).mean())


NODES = [ImageMetrics]
