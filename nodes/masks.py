"""ComfyUI's MASK, of whatever rank and type a node made it, and the one rule for what of it is painted."""

from __future__ import annotations

from functools import partial

import torch
from comfy_api.latest import io
from torch import Tensor

from ..operators.lines import dilate

PAINTED = 0.04
"""A soft brush is painted to its rim; but the ringing of lossy files (up to 8/255 at JPEG quality 5), or an alpha of
254 everywhere, is nothing that anyone painted."""


def painting_inputs() -> list[io.Input]:
    """How a mask is read; for the end of a node's inputs."""
    return [
        io.Float.Input(
            "threshold",
            default=PAINTED,
            min=0.0,
            max=0.99,
            step=0.01,
            optional=True,
            tooltip="What is painted more than this is restored, so the whole of a soft brush; less is the noise of "
            "lossy mask files. 0.5 takes the inner half of a soft edge alone.",
        ),
        io.Int.Input(
            "grow",
            default=0,
            min=0,
            max=512,
            optional=True,
            tooltip="Widens what is painted by this many pixels to every side.",
        ),
    ]


def painted(mask: Tensor, threshold: float = PAINTED, grow: int = 0, name: str = "mask") -> Tensor:
    """What of a mask is to be restored: (N, H, W), bool, on the CPU.

    mask: (H, W), (N, H, W), or with an axis of length 1 for a channel, first or last; 0 to 1 in any floating-point
        type, bool, or integers of 0 to 1 or 0 to 255.
    threshold: painted is what is above it. grow: pixels to widen that by, to every side.
    ValueError, naming the input, for other shapes, and for NaN.
    """
    values = values_of(mask, name)
    return dilate(values > threshold, grow)


def values_of(mask: Tensor, name: str = "mask") -> Tensor:
    """A mask as (N, H, W), float32, on the CPU."""
    values = mask.detach().cpu()
    if values.ndim == 4 and 1 in (values.shape[1], values.shape[3]):
        values = values.squeeze(1 if values.shape[1] == 1 else 3)
    elif values.ndim == 3 and values.shape[2] == 1 < values.shape[1]:
        values = values.squeeze(2)[None]
    elif values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(
            f"{name}: its shape is {tuple(mask.shape)}, which is no mask (batch, height, width); connect a MASK, or "
            "make one of an image with Convert Image to Mask."
        )
    bytes_ = values.dtype not in (torch.bool, torch.uint16) and not values.is_floating_point() and values.max() > 1
    values = values.float() / (255 if bytes_ else 1)
    if not torch.isfinite(values).all():
        raise ValueError(f"{name}: it contains NaN or infinite values; check the node that made it.")
    return values


def nothing_painted(mask: Tensor, threshold: float) -> str:
    """Why nothing of a mask is painted, for messages."""
    most = float(values_of(mask).max())
    return "it is all zero" if most == 0 else f"it is nowhere above {most:.3g}, and the threshold is {threshold:g}"


def photo_mask(image: Tensor, mask: Tensor | None, threshold: float = PAINTED, grow: int = 0) -> Tensor:
    """What of an IMAGE (B, H, W, C) is to be restored: (1 or B, H, W), bool; nothing where no mask is connected.

    One mask serves all images, N masks N images, and several masks of one image count together. Load Image hands out a
    small empty mask for a photo without transparency, so an empty one of any size is none.
    Raises ValueError for a mask of another size, and for another number of masks.
    """
    count, height, width = image.shape[:3]
    marked = torch.zeros(1, height, width, dtype=torch.bool) if mask is None else painted(mask, threshold, grow)
    if not marked.any():
        return torch.zeros(1, height, width, dtype=torch.bool)
    if marked.shape[1:] != (height, width):
        raise ValueError(
            f"mask: it is {marked.shape[2]} x {marked.shape[1]}, but the image is {width} x {height}; connect the mask "
            "of this image, before any resizing."
        )
    return share_out(marked, count)


def share_out(masks: Tensor, images: int) -> Tensor:
    """N masks (N, ...) for so many images: (1 or images, ...), bool. ValueError where that is left open."""
    if images == 1:
        return masks.any(0, keepdim=True)
    if len(masks) not in (1, images):
        raise ValueError(
            f"mask: these are {len(masks)} masks for {images} images; connect one mask for all, or one for each."
        )
    return masks


def for_images(operator: partial, images: int) -> partial:
    """An operator with several masks, made one for so many images: those of one image count together."""
    keywords = operator.keywords
    if "makers" in keywords:
        return partial(operator.func, **keywords | {"makers": [for_images(m, images) for m in keywords["makers"]]})
    mask = keywords.get("mask")
    if mask is None:
        return operator
    return partial(operator.func, **keywords | {"mask": ~share_out(~mask, images)})
