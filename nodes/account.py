"""What Restore Photo tells of what it did: a report in words, and notes on what is suspicious though not wrong."""

from __future__ import annotations

from collections.abc import Sequence

from .problems import COLOUR
from .repair import METHOD, QUALITIES, Result, Task
from .suspicion import suspicions
from .types import GREY_LEVELS
from .verdict import MATCHES, doubts, farthest, worst

COLOURFUL = 0.05
"""Mean difference of a photo's channels above which it is no grey one with a tint."""


def notes(problem: str, task: Task, results: Sequence[Result], masked: bool) -> set[str]:
    """What a person should know; `masked` says whether there is anything in the mask."""
    windows = [window for result in results for window in result.windows]
    said = {doubts(window.measurement, window.report.residuals) for window in windows}
    for measurement in (window.measurement for window in windows):
        said |= set(suspicions(measurement.y, measurement.operator, measurement.overall_sigma))
    residual, noise = farthest([(window.measurement, window.image) for window in windows])
    if residual > MATCHES * noise:
        said.add(task.problem.mismatch)
    if problem == COLOUR and max(colours(result) for result in results) > COLOURFUL:
        said.add("The photo has colours already; they were thrown away for new ones.")
    if masked and not (task.problem.masked or task.problem.spoilt):
        said.add(f"The mask was not used: {problem} treats the whole photo.")
    return said - {""}


def colours(result: Result) -> float:
    """Mean difference of a photo's channels."""
    return float((result.photo.amax(-1) - result.photo.amin(-1)).mean())


def told(problem: str, task: Task, result: Result) -> str:
    """The report of one photo, in words."""
    windows, (height, width) = result.windows, result.photo.shape[1:3]
    after = f"{result.restored.shape[2]} x {result.restored.shape[1]}"
    size = f"{width} x {height} pixels" + (f", enlarged to {after}" if task.problem.factor > 1 else "")
    if len(windows) > 1:
        size += f", in {len(windows)} windows"
    strength = f" ({task.amount:g} {task.problem.unit})" if task.amount and task.problem.unit else ""
    sigma = max(window.measurement.sigma_y for window in windows)
    source = "as given" if task.problem.noise and task.strength else "assumed"
    source = "estimated from the photo" if all(window.estimated for window in windows) else source
    steps, candidates = QUALITIES[task.quality]
    passes, seconds = (sum(getattr(window.report, what) for window in windows) for what in ("nfe", "seconds"))
    found = [f"Found: {window.found}." for window in windows if window.found]
    return "\n".join(
        [
            f"{problem}{strength}: a photo of {size}.",
            *found,
            f"Noise: {sigma * GREY_LEVELS / 2:.1f} of 255 grey levels (sigma {sigma:.3g}), {source}.",
            f"Verdict: {worst([(window.measurement, window.image) for window in windows])}.",
            f"{METHOD}, {steps} steps, {candidates} candidate(s), seed {result.seed}: "
            f"{passes} passes of the model in {seconds:.1f} s.",
        ]
    )
