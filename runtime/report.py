"""What a run tells of itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """What a run did: filled while it runs, for Image Metrics to show.

    nfe: passes of the denoiser for each image; n candidates in one call are n.
    residuals: of each step its noise level, and how far the decoded estimate is off the measurement (rms, [-1, 1]).
    tier: the way through the memory that there is, in words, at the end.
    verdict: whether the restored picture matches what was measured, in words.
    """

    method: str
    nfe: int = 0
    seconds: float = 0.0
    steps: int = 0
    residuals: list[tuple[float, float]] = field(default_factory=list)
    tier: str = ""
    verdict: str = ""

    def clear(self) -> None:
        """For a run that starts anew."""
        self.nfe, self.seconds, self.steps, self.verdict = 0, 0.0, 0, ""
        self.residuals.clear()
