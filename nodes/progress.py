"""What a person sees while a sampler runs: the bar, the live picture, and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import comfy.utils
import server
from comfy.cli_args import LatentPreviewMethod, args
from comfy_execution.utils import get_executing_context
from PIL import Image

from ..solvers import Step
from .types import image_from_pixels

PREVIEW_SIZE = 512
KNOWN_AFTER = 2
"""Steps after which it can be said how long the others take: the first one loads and warms up."""


def progress(steps: int) -> Callable[[Step], None]:
    """Called after each step. The live picture is the decoded estimate itself, which the solver has at no cost; none
    where ComfyUI was told to show none (`--preview-method none`, its default)."""
    bar, ends = comfy.utils.ProgressBar(steps), [time.perf_counter()]

    def show(step: Step) -> None:
        done = step.index + 1
        ends.append(time.perf_counter())
        picture = None
        if args.preview_method != LatentPreviewMethod.NoPreviews:
            frame = (image_from_pixels(step.x0_hat[:1])[0] * 255).byte().numpy()
            picture = ("JPEG", Image.fromarray(frame), PREVIEW_SIZE)
        bar.update_absolute(done, steps, picture)
        if KNOWN_AFTER <= done < steps:
            say(f"step {done} of {steps}, {time_left(ends, steps - done)} left")

    return show


def time_left(ends: list[float], steps: int) -> str:
    """In words, by the last two steps: those before may have had more candidates."""
    seconds = (ends[-1] - ends[-3]) / 2 * steps
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {max(1, seconds):.0f} s"


def say(text: str) -> None:
    """A line of text on the running node, in its own page of the browser; nothing where none runs."""
    context, instance = get_executing_context(), getattr(server.PromptServer, "instance", None)
    if context is not None and instance is not None and hasattr(instance, "send_progress_text"):
        instance.send_progress_text(text, context.node_id, instance.client_id)
