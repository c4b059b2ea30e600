"""The template for an old print: Restore Photo, and another one, switched off, that adds colour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .litegraph import Node, Note
from .priors import PRIORS, advice, loader
from .restoring import ROOM, Job, photo, restored, title
from .template import Template

NAME = "Restore an old photo"
JOB = Job("old", "restore old photo", "", masked=True)
COLOUR = Job("old", "add colour", "")
ABOVE, BELOW_BAR = 110, 40
"""Room for the wires that pass over the first node, and for the frontend's own bar, in pixels."""
TEXT = """Choose a photo and press **Run**. Scratches are found, or painted in the mask editor; noise and blur are \
estimated; and all is undone at once.

Is the photo black and white? Select **add colour** and press Ctrl+B. {advice}
"""


def templates() -> Iterator[Template]:
    """It with every prior."""
    for prior in PRIORS:
        colour = restored(prior, COLOUR, ("restore", 0))
        nodes = {
            "photo": photo(prior, JOB.photo),
            "prior": loader(prior),
            "restore": restored(prior, JOB),
            "colour": replace(colour, title=COLOUR.problem, width=360, bypassed=True, folded=True),
            "save restored": Node(
                "SaveImage", {"images": ("colour", 0), "filename_prefix": "psld/old_photo"}, "restored", width=360
            ),
            "report": Node("PreviewAny", {"source": ("restore", 2)}, "what was done", width=360),
        }
        note = Note(TEXT.format(advice=advice(prior)), height=360)
        columns = [
            [note],
            ["prior", "photo"],
            [ABOVE, "restore"],
            [BELOW_BAR, "colour", "save restored", ROOM, "report"],
        ]
        yield Template(title(NAME, prior), nodes, columns, shows=("save restored",))
