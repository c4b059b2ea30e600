"""Templates that show the parts of which Restore Photo is made, on photos that are spoilt already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .litegraph import NARROW, Node, Note
from .priors import PRIORS, advice, loader, sampler, texts, vae
from .restoring import photo
from .samples import SIGMA_BLUR, SMALLER
from .template import Template

JOBS = {  # of the title -> the sample photo
    "sharpen": "blurred",
    "enlarge": "small",
    "fill a hole": "hole",
    "remove scratches": "scratched",
}
LINES = {"tone": "both", "threshold": 0.08, "max_width": 6, "min_length": 20, "grow": 0}
CAMERA_NOISE = 0.02
NOTES = {
    "sharpen": "**Gaussian Blur** says how the photo was blurred: its sigma in pixels, with a kernel_size of at "
    "least 6 of them.",
    "enlarge": "**Super-Resolution** and **Fit to Model** have the same factor.",
    "fill a hole": "What is transparent, or painted in the mask editor, is restored. For a small hole in a large photo "
    "choose **around mask** in Fit to Model.",
    "remove scratches": "**Find Scratches** marks what is near-black or near-white and thin. Raise its **grow** where "
    "the edges of scratches are blurred.",
}
TEXT = """{note}

An **operator** says how the photo was spoilt, **Measurement from Image** ties it to the photo, **PSLD KSampler** \
restores, **Undo Fit** gives the photo its size back. {advice}
"""


def title(job: str, prior: str) -> str:
    """The workflow's, and its files'."""
    return f"Build it yourself - {job} ({PRIORS[prior].words})"


def operator(job: str, prior: str) -> Node:
    """What spoilt the photo."""
    if job == "sharpen":
        sigma = SIGMA_BLUR[prior]
        blur = {"sigma": sigma, "kernel_size": 2 * round(4 * sigma) + 1, "boundary": "reflect"}
        return Node("PSLD_GaussianBlur", blur)
    if job == "enlarge":
        return Node("PSLD_SuperResolution", {"factor": float(SMALLER), "kernel": "bicubic"})
    return Node("PSLD_InpaintMask", {"mask": ("fit", 1)})


def graph(job: str, prior: str) -> dict[str, Node]:
    """From a spoilt photo to a restored one; where there is a mask, every other pixel is the photo's."""
    masked = job in ("fill a hole", "remove scratches")
    size = PRIORS[prior].size
    mask = {"mask": ("lines", 0) if job == "remove scratches" else ("photo", 1)} if masked else {}
    fit = {"method": "pad", "factor": float(SMALLER) if job == "enlarge" else 1.0, "size": size, "margin": size // 8}
    nodes = {"photo": photo(prior, JOBS[job])}
    if job == "remove scratches":
        nodes["lines"] = Node("PSLD_FindLines", {"image": ("photo", 0), **LINES})
    nodes |= {
        "prior": loader(prior),
        **texts(prior),
        "fit": Node("PSLD_FitToModel", {"image": ("photo", 0), "vae": vae(prior), **mask, **fit}),
        "operator": operator(job, prior),
        "measure": Node(
            "PSLD_MeasurementFromImage",
            {"image": ("fit", 0), "operator": ("operator", 0), "sigma": CAMERA_NOISE},
        ),
        "sampler": sampler(prior),
    }
    result = ("sampler", 1)
    if masked:
        exact = {"method": "exact", "rcond": 0.1, "error": 0.1}
        nodes["consistent"] = Node("PSLD_DataConsistency", {"image": result, "measurement": ("measure", 0), **exact})
        result = ("consistent", 0)
    prefix = f"psld/built_{job.replace(' ', '_')}"
    return nodes | {
        "undo": Node("PSLD_UndoFit", {"image": result, "photo": ("photo", 0), "fit": ("fit", 2), **mask}),
        "save restored": Node("SaveImage", {"images": ("undo", 0), "filename_prefix": prefix}, "restored"),
    }


def templates() -> Iterator[Template]:
    """Every job with the embedded prior and with SD 1.5."""
    for job in JOBS:
        for prior in ("ldm", "sd15"):
            note = Note(TEXT.format(note=NOTES[job], advice=advice(prior)), height=290, width=NARROW)
            columns = [
                [note, "photo", "prior"],
                ["lines", "fit", "positive", "negative"],
                ["operator", "measure"],
                ["sampler"],
                ["consistent", "undo", "save restored"],
            ]
            nodes = {name: replace(node, width=NARROW) for name, node in graph(job, prior).items()}
            yield Template(title(job, prior), nodes, columns)
