"""How much a network keeps for its backward pass: weighed by a pass of it that keeps nothing."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn


def kept_bytes(function: Callable[[Tensor], Tensor], x: Tensor, weights: nn.Module) -> int:
    """Bytes of activations that the graph of function(x) would hold. It takes the time and memory of a plain pass.

    Every storage counts once, and those of `weights` do not, for they are there anyway; copies of them in another
    format do.
    """
    known = {parameter.untyped_storage()._cdata for parameter in weights.parameters()}
    total = 0

    def pack(tensor: Tensor) -> None:
        nonlocal total
        storage = tensor.untyped_storage()
        if (key := storage._cdata) not in known:
            known.add(key)
            total += storage.nbytes()
            weakref.finalize(storage, known.discard, key)  # a later one may lie where it lay

    def unpack(_: None) -> Tensor:
        raise RuntimeError("A pass that only weighs what it would keep has no backward.")

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        function(x.detach().requires_grad_())
    return total
