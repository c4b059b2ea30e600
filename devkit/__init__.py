"""What `dev.py` runs: set-up, a real ComfyUI server, the demo and the tests. Nothing here is part of the node pack."""

import importlib
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
TASKS = ("super_resolution", "random_inpainting", "box_inpainting", "gaussian_deblur", "motion_deblur")


def trial(task: str, prior: str = "no download") -> str:
    """The title of the workflow that tries a task, and the name of its files in `workflows/`."""
    words = task.replace("super_resolution", "super-resolution").replace("gaussian", "Gaussian").replace("_", " ")
    return f"Try it - {words} ({prior})"


class DevError(RuntimeError):
    """Something a person can act on; `dev.py` prints the sentence without a traceback and exits with 1."""


def sibling(name: str) -> ModuleType:
    """A module beside devkit/, whether dev.py runs us or, as in a test, we are part of the loaded pack."""
    parent = __name__.rpartition(".")[0]
    return importlib.import_module(f"{parent}.{name}" if parent else name)
