"""What SDXL and others are told of a picture's size, said of a window of it.

They learnt from photos that were cropped, and were told the size of the original, where the crop begins, and how large
it is (Podell et al. 2023, arXiv 2307.01952, section 2.2). A window is such a crop. The size of the original stays what
the prompt says, or that of the whole picture; beginning and size are the window's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import comfy.model_base
import comfy.utils
import torch
from comfy.conds import CONDRegular
from torch import Tensor

from .grid import Window

PIXELS = 8
"""Along the side of a latent, of every model that is told of sizes."""


def sizes_of(
    model: comfy.model_base.BaseModel, cond: Mapping, windows: Sequence[Window], images: int
) -> dict[str, CONDRegular]:
    """The entries of a conditioning that tell a model of sizes, for a batch of windows of so many images each."""
    told = cond["model_conds"]
    if isinstance(model, comfy.model_base.SDXL | comfy.model_base.SDXLRefiner) and "y" in told:
        y = comfy.utils.repeat_to_batch_size(told["y"].cond, images)
        return {"y": CONDRegular(torch.cat([embedded(model, y, cond, window) for window in windows]))}
    if isinstance(model, comfy.model_base.PixArt) and "c_ar" in told:
        aspects = [[len(window.rows) / len(window.columns)] for window in windows for _ in range(images)]
        return {"c_ar": CONDRegular(torch.tensor(aspects).to(told["c_ar"].cond))}
    if isinstance(model, comfy.model_base.HunyuanDiT):
        original = told["image_meta_size"].cond[:, :2]
        sizes = [[len(w.rows), len(w.columns), w.top, w.left] for w in windows for _ in range(images)]
        own = PIXELS * torch.tensor(sizes).to(original)
        return {"image_meta_size": CONDRegular(torch.cat([original.expand(len(own), -1), own], dim=1))}
    return {}


def embedded(model: comfy.model_base.BaseModel, y: Tensor, cond: Mapping, window: Window) -> Tensor:
    """y (B, c), the text's vector and numbers that are embedded behind it, with those of a window."""
    numbers = {"crop_h": PIXELS * window.top, "crop_w": PIXELS * window.left}
    numbers = {name: start + cond.get(name, 0) for name, start in numbers.items()}
    if isinstance(model, comfy.model_base.SDXL):
        numbers |= {"target_height": PIXELS * len(window.rows), "target_width": PIXELS * len(window.columns)}
        order = "height", "width", "crop_h", "crop_w", "target_height", "target_width"
    else:
        order = "height", "width", "crop_h", "crop_w", "aesthetic_score"
    parts = [y[:, : -len(order) * model.embedder.dim], *y[:, -len(order) * model.embedder.dim :].chunk(len(order), 1)]
    for i, name in enumerate(order, start=1):
        if name in numbers:
            parts[i] = model.embedder(torch.tensor([float(numbers[name])])).to(y).expand_as(parts[i])
    return torch.cat(parts, dim=1)
