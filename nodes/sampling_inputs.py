"""Inputs of the sampling nodes."""

from __future__ import annotations

from comfy_api.latest import io

from ..solvers import METHODS
from .types import MeasurementIO

MEASUREMENT = MeasurementIO.Input(
    "measurement", tooltip="From Measure, Measurement from Image or Load JPEG Measurement."
)
OWN = -1.0
GAMMA = io.Float.Input(
    "gamma",
    default=OWN,
    min=OWN,
    max=100.0,
    step=0.01,
    tooltip="Only for methods with gradients through the model: weight of the gluing, per step of 1,000. "
    "-1: the method's own.",
)
OMEGA = io.Float.Input(
    "omega",
    default=OWN,
    min=OWN,
    max=100.0,
    step=0.01,
    tooltip="Only for methods with gradients through the model: weight of the data, per step of 1,000. Raise it where "
    "the measured pixels do not match. -1: the method's own.",
)
CANDIDATES = io.Int.Input(
    "candidates",
    default=0,
    min=0,
    max=64,
    optional=True,
    tooltip="Only for Glued MAP, Proximal gluing and Local MAP: so many restorations part where a picture takes shape. "
    "The two that agreed best with the measurement go on, the likelier of them to the end. 1 is fast; more are surer "
    "where much is missing. 0: the method's own.",
)
PERCEPTUAL, FAITHFUL = "perceptual", "faithful"
RESULT = io.Combo.Input(
    "result",
    options=[PERCEPTUAL, FAITHFUL],
    default=PERCEPTUAL,
    optional=True,
    tooltip="Only for methods with candidates. perceptual: the likelier of the last two, with all its detail. "
    "faithful: the mean of both, nearer to the truth on average, and smoother where they differ.",
)
WINDOW = io.Int.Input(
    "window",
    default=0,
    min=0,
    max=16384,
    optional=True,
    tooltip="Pixels along the side of what the model sees at once. A larger picture is seen in overlapping windows, "
    "while the measurement stays one. 0: the size the model was trained on (512 for SD 1.5, 1,024 for SDXL), for "
    "pictures more than half as large again. As large as the picture: one pass.",
)
DRAFT_VAE = io.Vae.Input(
    "draft_vae",
    optional=True,
    tooltip="A small VAE of the same latents (taesd for SD 1.5, taesdxl for SDXL). Where a method back-propagates "
    "through the decoder it takes this one: less time, and the memory of plain sampling. The picture stays the VAE's.",
)
METHOD = io.Combo.Input(
    "method",
    options=list(METHODS),
    default=next(iter(METHODS)),
    tooltip="\n".join(f"{name}: {method.description}." for name, method in METHODS.items()),
)
