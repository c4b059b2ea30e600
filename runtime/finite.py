"""A NaN stops a run: half precision that overflows must not end as a black picture after many minutes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

DENOISER = (
    "model: it gave NaN or infinite values at step {step}; load it in another precision (weight_dtype default, or "
    "start ComfyUI with --fp32-unet or --bf16-unet), and lower cfg where it is high."
)
ENCODER, DECODER = (
    f"{{name}}: its {part} gave NaN or infinite values at step {{step}}; it overflows in half precision: start ComfyUI "
    "with --fp32-vae (or --bf16-vae), or connect a VAE that is made for fp16."
    for part in ("encoder", "decoder")
)


AT_ONCE = {"cpu"}
"""Devices that have done what they were told when they are asked for it."""


class Watch:
    """Stops a run where networks give anything but finite numbers, and says which was the first.

    A GPU that is asked has to do first all that it was told, and stands idle until it is told more. So it is asked once
    a step, of all passes together.
    """

    def __init__(self, step: Callable[[], int]) -> None:
        """step: the number of the step that runs."""
        self.step = step
        self.totals: list[tuple[str, str, Tensor]] = []

    def over(self, network: Callable[..., Tensor], sentence: str, name: str = "vae") -> Callable[..., Tensor]:
        """The network, watched. name: of the node's input that it came from."""

        def watched(*arguments: Tensor) -> Tensor:
            values = network(*arguments)
            total = values.detach().sum(dtype=torch.float32)  # a twentieth of the time of isfinite on each value
            self.totals.append((sentence, name, total))
            if total.device.type in AT_ONCE:
                self.check()
            return values

        return watched

    def check(self) -> None:
        """RuntimeError with the sentence of the first pass since the last check that gave NaN or infinite values."""
        passes, self.totals = self.totals, []
        for device in {total.device for *_, total in passes}:
            here = [one for one in passes if one[2].device == device]
            sums = torch.stack([total for *_, total in here]).tolist()
            for (sentence, name, _), total in zip(here, sums, strict=True):
                if not math.isfinite(total):
                    raise RuntimeError(sentence.format(name=name, step=self.step()))

    @contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Checks what a run left; an error in it may be no more than what came of a NaN, and gives way to that."""
        try:
            yield
        except RuntimeError:
            self.check()
            raise
        self.check()
