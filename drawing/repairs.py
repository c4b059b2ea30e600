"""Workflows for photos that are spoilt already: a hole or something painted over, and scratches or dead lines."""

from __future__ import annotations

from .litegraph import Node, Note
from .priors import ADVICE, PICTURE_SIZE, prior_nodes, sampler, vae
from .samples import sample

REPAIRS = ("repair_photo", "remove_scratches")
PHOTO = {"repair_photo": "hole", "remove_scratches": "scratched"}
LINES = {"tone": "both", "threshold": 0.08, "max_width": 6, "min_length": 20, "grow": 0}
SIGMA = 0.02


def graph(prior: str, repair: str) -> dict[str, Node]:
    """From a spoilt photo to a repaired one of the same size, whose other pixels are the photo's."""
    size = PICTURE_SIZE[prior]
    photo, mask, lines = ("photo", 0), ("photo", 1), {}
    if repair == "remove_scratches":
        mask, lines = ("lines", 0), {"lines": Node("PSLD_FindLines", {"image": photo, **LINES})}
    fit = {"method": "pad", "factor": 1.0, "size": size, "margin": size // 8}
    painting = {"threshold": 0.04, "grow": 0}
    consistency = {"method": "exact", "rcond": 0.1, "error": 0.1}
    measurement = ("measure", 0)
    return {
        "photo": Node("LoadImage", {"image": sample(prior, PHOTO[repair])}),
        **lines,
        **prior_nodes(prior),
        "fit": Node("PSLD_FitToModel", {"image": photo, "vae": vae(prior), "mask": mask, **fit, **painting}),
        "operator": Node("PSLD_InpaintMask", {"mask": ("fit", 1), **painting}),
        "measure": Node(
            "PSLD_MeasurementFromImage", {"image": ("fit", 0), "operator": ("operator", 0), "sigma": SIGMA}
        ),
        "known": Node("PreviewImage", {"images": ("measure", 1)}, "what is known (the rest is grey)"),
        "sampler": sampler(prior, measurement),
        "consistent": Node(
            "PSLD_DataConsistency", {"image": ("sampler", 1), "measurement": measurement, **consistency}
        ),
        "undo": Node(
            "PSLD_UndoFit",
            {"image": ("consistent", 0), "photo": photo, "fit": ("fit", 2), "mask": mask, "feather": 0, **painting},
        ),
        "save restored": Node(
            "SaveImage", {"images": ("undo", 0), "filename_prefix": f"psld/{prior}_{repair}_restored"}, "repaired"
        ),
    }


NOTES = {
    "repair_photo": "A photo has a hole, and is repaired. What is transparent is restored; or paint over what should "
    "go (right-click Load Image, *Open in MaskEditor*).",
    "remove_scratches": "A photo has scratches and dead columns. **Find Lines** marks what is near-black or near-white "
    "and thin, and that is restored. Widen the mask with its **grow** where the edges of scratches are blurred.",
}
TEXT = """{repair}

Choose any photo of any size and press **Run**. **Fit to Model** pads it to a size that the model takes (for a small \
hole in a large photo choose **around mask**), **Data Consistency** gives every known pixel its own value back, and \
**Undo Fit** the photo its size.

{prior}
"""
COLUMNS = (
    ("photo", "lines", "fit"),
    ("prior", "positive", "negative", "operator", "measure"),
    ("known", "sampler"),
    ("consistent", "undo", "save restored"),
)


def layout(prior: str, repair: str, nodes: dict[str, Node]) -> list[list[str | Note]]:
    """The columns of the UI workflow, the first one with a note."""
    text = TEXT.format(repair=NOTES[repair], prior=ADVICE[prior])
    return [[Note(text, height=340)], *([name for name in column if name in nodes] for column in COLUMNS)]
