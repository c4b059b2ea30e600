"""What a person sees while a sampler runs: the bar, the live picture, and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import comfy.utils
import server
from comfy.cli_args import LatentPreviewMethod, args
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor

from ..solvers import Step
from .types import image_from_pixels

PREVIEW_SIZE, LAST_SIZE = 512, 1024
"""Longest side of a live picture, and of the one that stays, in pixels."""
KNOWN_AFTER = 2
"""Steps after which it can be said how long the others take: the first one loads and warms up."""


def progress(steps: int) -> Callable[[Step], None]:
    """Called after each step. The live picture is the decoded estimate itself, which the solver has at no cost; none
    where ComfyUI was told to show none (`--preview-method none`, its default)."""
    bar, ends = comfy.utils.ProgressBar(steps), [time.perf_counter()]

    def show(step: Step) -> None:
        done = step.index + 1
        ends.append(time.perf_counter())
        bar.update_absolute(done, steps, live(image_from_pixels(step.x0_hat[:1]), PREVIEW_SIZE) if watched() else None)
        if KNOWN_AFTER <= done < steps:
            say(f"step {done} of {steps}, {time_left(ends, steps - done)} left")

    return show


def last_picture(image: Tensor, steps: int) -> None:
    """After so many steps the first of an IMAGE takes the live picture's place, which would stay in front of it."""
    if watched():
        picture = live(image, min(LAST_SIZE, max(image.shape[1:3])))
        comfy.utils.ProgressBar(steps).update_absolute(steps, steps, picture)


def watched() -> bool:
    """Whether ComfyUI shows live pictures."""
    return args.preview_method != LatentPreviewMethod.NoPreviews


def live(image: Tensor, size: int) -> tuple[str, Image.Image, int]:
    """The first of an IMAGE as ComfyUI sends it, `size` pixels along its longer side."""
    return "JPEG", Image.fromarray((image[0].clamp(0, 1) * 255).byte().cpu().numpy()), size


def time_left(ends: list[float], steps: int) -> str:
    """In words, by the last two steps: those before may have had more candidates."""
    seconds = (ends[-1] - ends[-3]) / 2 * steps
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {max(1, seconds):.0f} s"


def say(text: str) -> None:
    """A line of text on the running node, in its own page of the browser; nothing where none runs."""
    context, instance = get_executing_context(), getattr(server.PromptServer, "instance", None)
    if context is not None and instance is not None and hasattr(instance, "send_progress_text"):
        instance.send_progress_text(text, context.node_id, instance.client_id)
