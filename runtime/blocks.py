"""Networks whose blocks keep no activations for backward, but run again.

Not by PyTorch's checkpoints: those give a block that runs again what it changed in its inputs the first time, and some
do change them. Transformers of the Flux family add to them in place, and Wan's VAE counts its layers in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

TENSOR = object()
"""Stands for a tensor that was taken out."""

Rest = tuple[list, TreeSpec]


@contextmanager
def checkpointed(root: nn.Module) -> Iterator[None]:
    """Inside, the blocks of a network keep no activations but their input, and run again in backward.

    A block is a module made of others in a list of them: of residual layers, of a transformer's. No second derivatives.
    """
    patched: list[tuple[nn.Module, object]] = []
    for block in blocks(root):
        patched.append((block, block.__dict__.get("forward")))
        block.forward = partial(kept_by_input, block.forward)
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


def kept_by_input(block: Callable, *args: object, **kwargs: object) -> object:
    """block(*args, **kwargs), of which backward needs its inputs alone."""
    inputs, rest = split((args, kwargs), lambda tensor: tensor.requires_grad)  # lists as they are before the block
    if not torch.is_grad_enabled() or not inputs:
        return block(*args, **kwargs)
    structure = []

    def first() -> tuple[Tensor, ...]:
        made, kind = split(block(*map(copied, args), **{name: copied(value) for name, value in kwargs.items()}))
        structure.append(kind)
        return tuple(made)

    def again(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        args, kwargs = join(inputs, rest)
        return split(block(*args, **kwargs))[0]

    made = Again.apply(first, again, *inputs)
    return join(made, structure[0])


class Again(torch.autograd.Function):
    """What a block makes of its inputs, and backward by running it again."""

    @staticmethod
    def forward(ctx, first: Callable, again: Callable, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*inputs)
        ctx.again = again
        return first()

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            made = ctx.again([torch.clone(x) for x in inputs])
        graphs = [(y, gradient) for y, gradient in zip(made, gradients, strict=True) if y.requires_grad]
        outputs, wanted = zip(*graphs, strict=True)
        return None, None, *torch.autograd.grad(outputs, inputs, wanted, allow_unused=True)


def copied(value: object) -> object:
    """What a block may change in place."""
    return torch.clone(value) if isinstance(value, Tensor) else value


def split(tree: object, wanted: Callable[[Tensor], bool] = lambda _: True) -> tuple[list[Tensor], Rest]:
    """The wanted tensors in nested lists, tuples and dictionaries, and the rest, by which `join` puts them back."""
    leaves, spec = tree_flatten(tree)
    taken = [isinstance(leaf, Tensor) and wanted(leaf) for leaf in leaves]
    rest = [TENSOR if take else leaf for leaf, take in zip(leaves, taken, strict=True)]
    return [leaf for leaf, take in zip(leaves, taken, strict=True) if take], (rest, spec)


def join(tensors: Iterable[Tensor], rest: Rest) -> object:
    """The inverse of `split`, with copies of what was not taken."""
    following = iter(tensors)
    return tree_unflatten([next(following) if leaf is TENSOR else copied(leaf) for leaf in rest[0]], rest[1])
