"""Templates to try the methods with: a clean photo is degraded, restored, and compared. The demo runs them too."""

from __future__ import annotations

from collections.abc import Iterator

from ..devkit import TASKS, trial
from .litegraph import Node, Note
from .priors import PRIORS, advice, loader, sampler, texts
from .restoring import photo
from .template import Template

NOTES = {
    "super_resolution": "A photo is made {factor:g} times smaller and noisy, and restored.",
    "random_inpainting": "{low:.0%} of a photo's pixels are lost, the others noisy, and it is restored.",
    "box_inpainting": "A box of a photo is lost, the rest is noisy, and the photo is restored.",
    "gaussian_deblur": "A photo is blurred by a Gaussian and noisy, and restored.",
    "motion_deblur": "A photo is blurred by the camera's motion and noisy, and restored.",
}
TEXT = """{task} **This spoils your photo first**: to restore one that is spoilt already, take another template.

What matters in PSLD KSampler: **method** and **steps**. {advice}
"""
COLUMNS = [
    ["photo", "size"],
    ["prior", "positive", "negative", "operator", "measure", "save measurement"],
    ["sampler"],
    ["save restored", "view", "save pinv", "metrics", "text"],
]


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
    """Degrade a photo, restore it, compare."""
    size, cropped, measurement = PRIORS[prior].size, ("size", 0), ("measure", 0)
    crop = {"image": ("photo", 0), "upscale_method": "area", "width": size, "height": size, "crop": "center"}
    noise = {"noise": "gaussian", "sigma": 0.05, "seed": 0}
    metrics = {"image": ("sampler", 1), "reference": cropped, "measurement": measurement, "report": ("sampler", 2)}
    return {
        "photo": photo(prior, "clean"),
        "size": Node("ImageScale", crop, f"crop to the prior's {size} x {size}", folded=True),
        "prior": loader(prior),
        **texts(prior),
        "operator": operator(prior, task),
        "measure": Node("PSLD_Measure", {"image": cropped, "operator": ("operator", 0), **noise}),
        "view": Node(
            "PSLD_ViewMeasurement", {"measurement": measurement, "view": "pseudo-inverse", "rcond": 0.1}, folded=True
        ),
        "sampler": sampler(prior),
        "save truth": picture(prior, task, "truth", cropped),
        "save measurement": picture(prior, task, "measurement", ("measure", 1), "measurement"),
        "save pinv": picture(prior, task, "pinv", ("view", 0), "without a prior: pseudo-inverse"),
        "save restored": picture(prior, task, "restored", ("sampler", 1), "restored"),
        "metrics": Node("PSLD_ImageMetrics", metrics, folded=True),
        "text": Node("PreviewAny", {"source": ("metrics", 3)}, "metrics in words", folded=True),
    }


def picture(prior: str, task: str, name: str, image: tuple[str, int], title: str | None = None) -> Node:
    """A picture to save."""
    return Node("SaveImage", {"images": image, "filename_prefix": f"psld/{prior}_{task}_{name}"}, title)


def templates() -> Iterator[Template]:
    """Every task with the embedded prior and with SD 1.5."""
    for task in TASKS:
        for prior in ("ldm", "sd15"):
            nodes = graph(prior, task)
            text = NOTES[task].format(**nodes["operator"].inputs)
            note = Note(TEXT.format(task=text, advice=advice(prior)), height=230)
            columns = [[note, *COLUMNS[0]], *COLUMNS[1:]]
            previewed = ("save measurement", "save pinv")  # keep the user's output folder clean
            yield Template(trial(task, PRIORS[prior].words), nodes, columns, previewed, left_out=("save truth",))
