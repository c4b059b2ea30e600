"""Whether an autoencoder is of the family that it is used with, where shapes do not tell: by what it makes of a photo.

Latents of SD 1.5 and SDXL have the same shape, and so have those of SD 3 and FLUX.1; pictures restored with the wrong
autoencoder are wrong all over. Nothing is said of one that does not know the picture, or is of no known family.
"""

from __future__ import annotations

import torch
from comfy import latent_formats
from comfy.latent_formats import LatentFormat
from torch import Tensor
from torch.nn.functional import interpolate

from ..operators.measurement import Measurement
from ..solvers import LatentModel

FORMATS = {
    latent_formats.SD15: "SD 1.5 (and 2.1)",
    latent_formats.SDXL: "SDXL",
    latent_formats.SD3: "SD 3",
    latent_formats.Flux: "FLUX.1",
}
SIDE = 256
"""Pixels along the longer side of the photo that is tried."""

SURE, UNLIKE = 0.7, 0.4
"""Share of a picture's variance that is explained: at least, where two belong together, and at most, where not."""

PLAIN = 0.05
"""Standard deviation, in [-1, 1], below which a picture tells nothing."""


def check_relations(model: LatentModel, measurement: Measurement, latent_format: LatentFormat, factor: int) -> None:
    """ValueError for a VAE or a draft of another family than the model's. factor: pixels along a latent's side."""
    known = type(latent_format) in FORMATS
    if not known and model.draft is None:
        return
    x = small_picture(measurement, factor)
    if x is None or float(x.std()) < PLAIN:
        return
    with torch.no_grad():
        z0 = model.encode(x)
        if known:
            check_format(latent_format.process_out(z0), latent_format, x)
        if model.draft is not None:
            check_draft_decodes(x, model.decode(z0), model.draft.decode(z0))


def small_picture(measurement: Measurement, factor: int) -> Tensor | None:
    """The first photo as it was measured, (1, 3, h, w) with sides of at most SIDE; None where y is no RGB picture."""
    y = measurement.y[:1].float()
    if y.ndim != 4 or y.shape[1] != 3:
        return None
    height, width = measurement.operator.image_shape[-2:]
    shrink = min(1.0, SIDE / max(height, width))
    size = [max(factor, round(side * shrink / factor) * factor) for side in (height, width)]
    return interpolate(y, size=size, mode="bilinear", antialias=True).clamp(-1, 1)


def check_format(raw: Tensor, ours: LatentFormat, x: Tensor) -> None:
    """ValueError where latents raw, as the VAE gives them, look like x in another family's preview and not in ours."""
    if preview_explains(raw, ours, x) > UNLIKE:
        return
    for kind, name in FORMATS.items():
        if kind.latent_channels == ours.latent_channels and preview_explains(raw, kind(), x) > SURE:
            raise ValueError(
                f"vae: its latents are those of {name}, but the model's those of {FORMATS[type(ours)]}; connect the "
                "VAE that belongs to the model (its checkpoint's own output, or the file that the model's page names)."
            )


def preview_explains(raw: Tensor, latent_format: LatentFormat, x: Tensor) -> float:
    """How much of x ComfyUI's linear preview of latents explains."""
    factors = torch.tensor(latent_format.latent_rgb_factors).to(raw)
    bias = torch.tensor(latent_format.latent_rgb_factors_bias or [0.0] * 3).to(raw)
    preview = torch.einsum("bchw,cr->brhw", latent_format.process_in(raw), factors) + bias.view(-1, 1, 1)
    return explained(interpolate(x, size=preview.shape[-2:], mode="area"), preview)


def check_draft_decodes(x: Tensor, ours: Tensor, theirs: Tensor) -> None:
    """ValueError where the VAE decodes its latent of x to x (ours), and the draft to something else (theirs)."""
    if explained(x, ours) > SURE and explained(x, theirs) < UNLIKE:
        raise ValueError(
            "draft_vae: it makes another picture of the VAE's latents, so it belongs to another family; connect the "
            "small VAE of the same family (taesd for SD 1.5, taesdxl for SDXL), or none."
        )


def explained(x: Tensor, by: Tensor) -> float:
    """Share of the variance of x (B, C, H, W) around its mean colour that an estimate explains: at most 1."""
    spread = (x - x.mean(dim=(-2, -1), keepdim=True)).square().mean()
    return float(1 - (x - by.to(x)).square().mean() / spread)
