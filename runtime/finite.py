"""The first NaN stops a run: half precision that overflows must not end as a black picture after many minutes."""

from __future__ import annotations

from collections.abc import Callable

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


def finite(network: Callable[..., Tensor], sentence: str, step: Callable[[], int], name: str = "vae") -> Callable:
    """The network, which raises RuntimeError with the sentence where it gives anything but finite numbers.

    step: the number of the step that runs. name: of the node's input that the network came from.
    """

    def checked(*arguments: Tensor) -> Tensor:
        values = network(*arguments)
        total = values.detach().sum(dtype=torch.float32)  # a twentieth of the time that isfinite takes on each value
        if not torch.isfinite(total):
            raise RuntimeError(sentence.format(name=name, step=step()))
        return values

    return checked
