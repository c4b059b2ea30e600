"""Templates for photos first: a photo, a model, Restore Photo, the result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .litegraph import Node, Note
from .priors import PRIORS, advice, loader, vae
from .samples import SIGMA_BLUR, sample
from .template import Template


class Job(NamedTuple):
    """A job in a person's words: the sample photo it is shown on, what Restore Photo is told, and the note."""

    photo: str
    problem: str
    note: str
    masked: bool = False


JOBS = {
    "Sharpen a blurry photo": Job(
        "blurred",
        "sharpen: out of focus",
        "**strength** is how blurred it is, in pixels: try a few, the sharpest without double edges is right.",
    ),
    "Enlarge a small photo": Job(
        "small",
        "enlarge x4",
        "If the photo is not sharp in its own pixels either, raise **strength** a little, or choose *enlarge x4: "
        "unknown blur*, which finds the blur.",
    ),
    "Remove noise": Job(
        "noisy", "remove noise", "**strength** 0 estimates the noise; more removes more, and takes detail with it."
    ),
    "Erase something": Job(
        "hole",
        "fill a mask",
        "Right-click the photo, *Open in MaskEditor*, and paint over what should go. Every other pixel stays as it is.",
        masked=True,
    ),
    "Remove scratches": Job(
        "scratched",
        "remove scratches",
        "Thin near-black and near-white lines are found by themselves; paint others in the mask editor. **strength** "
        "is the width of the widest, in pixels.",
        masked=True,
    ),
    "Sharpen a photo of unknown blur": Job(
        "defocused",
        "sharpen: unknown blur",
        "The blur is found first, and the report says which it was. **strength** is the widest to think of, in pixels; "
        "quality **best** takes blurs of any shape for possible, crooked shakes too.",
    ),
    "Fix a JPEG": Job(
        "coarse",
        "fix JPEG",
        "**strength** 0 finds the quality in the photo's 8 x 8 blocks: take the file as it was saved, neither cropped "
        "nor scaled.",
    ),
    "Upscale a photo to twice its size": Job(
        "half",
        "enlarge x2",
        "If the photo is not sharp in its own pixels either, raise **strength** a little, or choose *enlarge x2: "
        "unknown blur*, which finds the blur.",
    ),
    "Repair a damaged photo": Job(
        "torn",
        "fill a mask",
        "Right-click the photo, *Open in MaskEditor*, and paint over tears and stains. Every other pixel stays as it "
        "is.",
        masked=True,
    ),
    "Colorize a black-and-white photo": Job(
        "grey", "add colour", "Which colours a photo had it does not say: other **seeds** give others."
    ),
}
ROOM = 90
"""Below a picture, in pixels: newer frontends draw it larger than the node was."""
TEXT = """Choose a photo and press **Run**. {note}

Other **seeds** give other answers where much is lost. {advice}
"""


def title(job: str, prior: str) -> str:
    """The workflow's, and its files'."""
    return f"{job} ({PRIORS[prior].words})"


def restored(prior: str, job: Job, photo: tuple[str, int] = ("photo", 0)) -> Node:
    """Restore Photo on the nodes "photo" and "prior"."""
    kind = "ldm" if PRIORS[prior].embedded else "sd15"
    strength = SIGMA_BLUR[kind] if job.photo == "blurred" else 0.0
    links = {"image": photo, "model": ("prior", 0), "vae": vae(prior)}
    links |= {"mask": ("photo", 1)} if job.masked else {}
    links |= {} if PRIORS[prior].embedded else {"clip": ("prior", 1)}
    settings = {"problem": job.problem, "strength": strength, "quality": "balanced", "seed": 0, "prompt": ""}
    return Node("PSLD_RestorePhoto", links | settings | {"angle": 0.0}, width=420)


def photo(prior: str, kind: str) -> Node:
    """Load Image with the sample for a prior."""
    return Node("LoadImage", {"image": sample("ldm" if PRIORS[prior].embedded else "sd15", kind)})


def templates() -> Iterator[Template]:
    """Every job with every prior."""
    for name, job in JOBS.items():
        for prior in PRIORS:
            prefix = f"psld/{name.lower().replace(' ', '_')}"
            nodes = {
                "photo": photo(prior, job.photo),
                "prior": loader(prior),
                "restore": restored(prior, job),
                "save restored": Node(
                    "SaveImage", {"images": ("restore", 0), "filename_prefix": prefix}, "restored", width=360
                ),
                "report": Node("PreviewAny", {"source": ("restore", 2)}, "what was done", width=360),
            }
            note = Note(TEXT.format(note=job.note, advice=advice(prior)), height=320)
            columns = [[note], ["prior", "photo"], ["restore"], ["save restored", ROOM, "report"]]
            yield Template(title(name, prior), nodes, columns, shows=("save restored",))
