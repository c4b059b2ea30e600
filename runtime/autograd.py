"""Gradients through modules that ComfyUI loaded under inference mode, with no copy of their weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn


@contextmanager
def differentiable(modules: Iterable[nn.Module], constants: Iterable[object] = ()) -> Iterator[None]:
    """Inside, autograd works and reaches the inputs of the modules; afterwards they are as they were.

    The executor runs nodes under inference mode, and autograd refuses to save tensors that were made there, so
    every weight is replaced by an alias of its storage. Frozen weights also cut the activations that are saved.
    constants: objects whose tensor attributes enter the graph too, such as a latent format with means of its own.
    """
    with torch.inference_mode(False), torch.enable_grad(), training_kernels(), ExitStack() as restore:
        for module in modules:
            for part in module.modules():
                restore.enter_context(aliased(part._parameters))
                restore.enter_context(aliased(part._buffers))
        for constant in constants:
            restore.enter_context(aliased(vars(constant)))
        yield


@contextmanager
def aliased(attributes: dict[str, Any]) -> Iterator[None]:
    """Replaces each tensor of a dictionary by a frozen alias; puts the originals back in any case.

    Enter outside inference mode, or the aliases are inference tensors too.
    """
    originals = {name: value for name, value in attributes.items() if isinstance(value, Tensor)}
    try:
        attributes.update({name: alias(tensor) for name, tensor in originals.items()})
        yield
    finally:
        attributes.update(originals)


def alias(tensor: Tensor) -> Tensor:
    """A tensor that shares the storage of another, takes no gradient, and may be saved for backward."""
    if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:  # made of several, which layers turn into one
        return tensor
    if tensor.is_inference():
        shared = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        shared.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
    else:
        shared = tensor.detach()
    if type(tensor) not in (Tensor, nn.Parameter):  # of GGUF files, plain or packed
        shared = shared.as_subclass(type(tensor))
        vars(shared).update(vars(tensor))
    return nn.Parameter(shared, requires_grad=False) if isinstance(tensor, nn.Parameter) else shared


@contextmanager
def mutable_saved_tensors(network: nn.Module, patched: bool = False) -> Iterator[None]:
    """Inside, a network may add in place to what was saved for backward, as transformers of the Flux family do.

    U-Nets do not, unless a ControlNet or a patch is at work in them. They go without: it makes each operation longer.
    What is computed of weights of a class of their own (GGUF) is no longer of it, for theirs cannot be cloned.
    """
    mutable = not isinstance(network, UNetModel) or patched
    with torch._C.DisableTorchFunctionSubclass(), cloning_before_mutation() if mutable else nullcontext():
        yield


@contextmanager
def cloning_before_mutation() -> Iterator[Any]:
    """PyTorch's context for it, and what it knows; in it no tensor is taken for one that was cloned and freed before.

    It knows saved tensors by identity, address and version. Once one is cloned nothing holds it, so that another may
    come by all three, and backward would be given the clone in its place.
    """
    with torch.autograd.graph.allow_mutation_on_saved_tensors() as context:
        context.tid_to_weakhandle = Names()
        context.cloned = Clones(context.tid_to_weakhandle)
        yield context


class Names(WeakValueDictionary):
    """Handles of saved tensors by what these are known by; a handle knows it, too."""

    def __setitem__(self, name: tuple, handle: Any) -> None:
        handle.name = name
        super().__setitem__(name, handle)


class Clones(WeakKeyDictionary):
    """Clones by handle, whose tensors lose their names."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.names = names

    def __setitem__(self, handle: Any, clone: Tensor) -> None:
        super().__setitem__(handle, clone)
        self.names.pop(handle.name, None)


@contextmanager
def training_kernels() -> Iterator[None]:
    """Turns off fused kernels that have no backward, where this ComfyUI has the switch."""
    if not hasattr(comfy.model_management, "in_training"):
        yield
        return
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        yield
    finally:
        comfy.model_management.in_training = before


def use_differentiable_attention(model_options: dict) -> None:
    """Routes attention to PyTorch's, in the model options of one run only.

    Sub-quadratic attention (the CPU's default), flash and sage have no backward or drop the graph.
    """
    transformer_options = model_options.setdefault("transformer_options", {})
    transformer_options["optimized_attention_override"] = lambda _, *args, **kwargs: attention_pytorch(*args, **kwargs)


def own(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy that autograd may save, of a tensor that may come from inference mode; call outside that mode."""
    return tensor.to(device=device, dtype=torch.float32, copy=True)
