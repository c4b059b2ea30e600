"""What `dev.py` runs: set-up, a real ComfyUI server, the demo and the tests. Nothing here is part of the node pack."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TASKS = ("super_resolution", "random_inpainting", "box_inpainting", "gaussian_deblur", "motion_deblur")


class DevError(RuntimeError):
    """Something a person can act on; `dev.py` prints the sentence without a traceback and exits with 1."""
