"""Menu group "measurement": a JPEG file as it measured its photo, by its own tables."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image, UnidentifiedImageError
from torch.nn import functional as F

from ..operators.fit import Fit
from ..operators.jpeg import JPEG
from ..operators.measurement import Measurement
from .types import CATEGORY, FitIO, MeasurementIO, Operator, pixels_from_image

MULTIPLE = 16
"""Pixels of a block of 4:2:0, and a multiple of what VAEs take."""
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe")
UPRIGHT, ORIENTATION = (0, 1), 0x0112


class LoadJPEG(io.ComfyNode):
    """A JPEG of the input folder, with the operator that its own tables say."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        folder = Path(folder_paths.get_input_directory())
        files = sorted(f.name for f in folder.glob("*") if f.suffix.lower() in SUFFIXES) if folder.is_dir() else []
        return io.Schema(
            node_id="PSLD_LoadJPEG",
            display_name="Load JPEG Measurement",
            category=f"{CATEGORY}/measurement",
            description="A JPEG as a measurement: its own quantisation tables say how far each coefficient may be off.",
            inputs=[
                io.Combo.Input(
                    "image",
                    options=files,
                    upload=io.UploadType.image,
                    tooltip="A JPEG file as it came from the camera or the web: saved again, or resized, it has lost "
                    "what this node reads.",
                ),
                io.Float.Input(
                    "sigma",
                    default=0.02,
                    min=0.0,
                    max=2.0,
                    step=0.005,
                    tooltip="Noise that was in the photo before it was compressed, in [-1, 1] pixel units: how far the "
                    "result may leave what the file allows.",
                ),
            ],
            outputs=[
                MeasurementIO.Output(display_name="measurement"),
                Operator.Output(display_name="operator", tooltip="For Compose: a photo that was made smaller first."),
                io.Image.Output(display_name="image", tooltip="The JPEG as any program shows it."),
                FitIO.Output(display_name="fit", tooltip="For Undo Fit: cuts off what fills the last blocks up."),
            ],
        )

    @classmethod
    def validate_inputs(cls, image: str) -> bool | str:
        return folder_paths.exists_annotated_filepath(image) or f"image: there is no file {image!r} in the input folder"

    @classmethod
    def fingerprint_inputs(cls, image: str, sigma: float) -> float:
        return os.path.getmtime(folder_paths.get_annotated_filepath(image))

    @classmethod
    def execute(cls, image: str, sigma: float) -> io.NodeOutput:
        photo, operator = load(Path(folder_paths.get_annotated_filepath(image)))
        height, width = photo.shape[1:3]
        bottom, right = -height % MULTIPLE, -width % MULTIPLE
        with torch.inference_mode(False), torch.no_grad():
            y = F.pad(pixels_from_image(photo), (0, right, 0, bottom), mode="replicate")
            measurement = Measurement(y, operator(tuple(y.shape[1:])), sigma)
        fit = Fit((height, width), (0, 0), (height + bottom, width + right))
        return io.NodeOutput(measurement, operator, photo, fit)


def load(file: Path) -> tuple[torch.Tensor, partial]:
    """A JPEG as IMAGE (1, H, W, 3), and the JPEG operator of its tables and its sub-sampling.

    ValueError, naming the input, for other files and for JPEGs that are none of an upright photo in Y, Cb and Cr.
    """
    try:
        with Image.open(file) as opened:
            found, mode, turned = opened.format, opened.mode, opened.getexif().get(ORIENTATION, 1)
            if found in ("JPEG", "MPO") and mode in ("L", "RGB"):
                tables = [list(table) for table in opened.quantization.values()]
                sampling = [layer[1:3] for layer in opened.layer]
                pixels = np.asarray(opened.convert("RGB"), dtype=np.float32) / 255
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"image: {file.name} cannot be read as a picture ({error}); choose a JPEG file.") from error
    if found not in ("JPEG", "MPO"):
        raise ValueError(f"image: {file.name} is a {found}, no JPEG; use Load Image and Measurement from Image.")
    if mode not in ("L", "RGB"):
        raise ValueError(f"image: {file.name} holds {mode} colours; save it as an RGB or grey JPEG.")
    if turned not in UPRIGHT:
        raise ValueError(
            f"image: {file.name} is stored turned (EXIF orientation {turned}), and the model would see it so; turn it "
            "without loss (jpegtran -rotate), or use Load Image and Measurement from Image."
        )
    across, down = sampling[0]
    halved = (down // sampling[-1][1], across // sampling[-1][0])
    if not {*halved} <= {1, 2} or any(layer != sampling[-1] for layer in sampling[1:]):
        raise ValueError(
            f"image: the sub-sampling of {file.name} is none of 4:4:4, 4:2:2, 4:4:0 and 4:2:0; save it so."
        )
    return torch.from_numpy(pixels)[None], partial(JPEG, tables=tables, subsample=halved)


NODES = [LoadJPEG]
