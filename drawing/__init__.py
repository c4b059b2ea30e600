"""Draws what is checked in: sample photos, workflows, pictures of operators. `dev.py draw` runs it inside ComfyUI.

Each module of `DRAWINGS` has a `write()`, which writes its files anew and returns a line that says which.
"""

DRAWINGS = ("interface", "samples", "workflows", "blueprints", "thumbnails", "registry", "gallery", "pages",
            "reliability", "screens")  # fmt: skip
"""In the order in which one needs the other."""
