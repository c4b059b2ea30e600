"""A grey photo says that what it does not show is grey too."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Operator
from .blur import BoundedBlur
from .colour import LUMA
from .compose import Stack
from .masks import Identity
from .measurement import Measurement
from .merge import same_in_every_channel
from .product import Product
from .robust import Robust
from .weighted import Weighted


def stay_grey(measurement: Measurement, x: Tensor) -> Tensor:
    """Images x (B, 3, H, W), those made grey whose measurement has three equal channels.

    Only for operators that treat every channel alike: others (Greyscale) measure colours as grey.
    """
    y = measurement.y
    if y.ndim != 4 or y.shape[1] != 3 or x.shape[1] != 3 or not leaves_grey(measurement.operator):
        return x
    grey = (y == y[:, :1]).flatten(1).all(1).view(-1, 1, 1, 1).to(x.device)
    luma = torch.einsum("c,bchw->bhw", x.new_tensor(LUMA), x)[:, None]
    return torch.where(grey, luma, x)


def leaves_grey(operator: Operator) -> bool:
    """Whether grey images, and no others, have grey measurements."""
    if isinstance(operator, Weighted | Robust):  # a grey photo's weights are the same in every channel
        return leaves_grey(operator.operator)
    if isinstance(operator, Product | Stack):
        return all(map(leaves_grey, operator.parts))
    return isinstance(operator, Identity | BoundedBlur) or same_in_every_channel(operator)
