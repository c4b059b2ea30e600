"""Networks whose blocks keep no activations for backward, but run again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def checkpointed(root: nn.Module) -> Iterator[None]:
    """Inside, the blocks of a network keep no activations but their input, and run again in backward.

    A block is a module made of others in a list of them: of residual layers, of a transformer's.
    """
    patched: list[tuple[nn.Module, object]] = []
    for block in blocks(root):
        patched.append((block, block.__dict__.get("forward")))
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for block, before in patched:
            if before is None:
                del block.forward
            else:
                block.forward = before


def blocks(module: nn.Module, listed: bool = False) -> Iterator[nn.Module]:
    """The outermost blocks below a module."""
    runs = type(module).forward is not nn.Module.forward and not isinstance(module, nn.Sequential | nn.ModuleList)
    if listed and runs and any(True for _ in module.children()):
        yield module
        return
    for child in module.children():
        yield from blocks(child, isinstance(module, nn.Sequential | nn.ModuleList))
