"""Model patchers through whose weights gradients can flow, where ComfyUI loads them with dynamic VRAM.

Dynamic VRAM (ComfyUI of 2026, on by default on GPUs) keeps weights in a buffer that a later layer overwrites, so that
nothing may be saved for backward. A plain `ModelPatcher` around weights of its own has none of that.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from comfy.model_patcher import ModelPatcher
from torch import nn

STATE = ("_v", "_v_signature", "_v_block", "_pins", "dynamic_vbars", "dynamic_pins", "dynamic_patchers")
"""What dynamic VRAM hangs onto modules: handles of its buffers, which cannot be copied and must not be shared."""

copies: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()
"""One copy for every module that could not be read from its file again; it goes with the module."""


def is_dynamic(patcher: ModelPatcher) -> bool:
    """Whether the weights are views into a reused buffer."""
    return getattr(patcher, "is_dynamic", lambda: False)()


def plain(patcher: ModelPatcher) -> ModelPatcher:
    """The patcher or, where it is dynamic, a plain one of the same model and patches, which is loaded once only.

    Checkpoints that ComfyUI's loaders read are read again without dynamic VRAM; what they cannot read again (TAESD, the
    models of other packs) is copied in memory.
    """
    if not is_dynamic(patcher):
        return patcher
    if getattr(patcher, "cached_patcher_init", None) is not None:
        delegate = getattr(patcher, "get_non_dynamic_delegate", None)
        return delegate() if delegate else patcher.clone(disable_dynamic=True)
    if patcher.model not in copies:
        copies[patcher.model] = static_copy(patcher.model).to(patcher.offload_device)
    fresh = ModelPatcher(copies[patcher.model], patcher.load_device, patcher.offload_device)
    return patcher.clone(disable_dynamic=True, model_override=fresh.get_clone_model_override())


def static_copy(model: nn.Module) -> nn.Module:
    """A deep copy with weights of its own, in the precision in which it computes, and no state of dynamic VRAM."""
    left_out = {id(vars(module)[name]): None for module in model.modules() for name in STATE if name in vars(module)}
    config = getattr(model, "model_config", None)  # shared: newer ones answer None for __setstate__, which copy calls
    duplicate = copy.deepcopy(model, left_out | {id(config): config})
    for module in duplicate.modules():
        for name in STATE:
            vars(module).pop(name, None)
        for name, weight in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            weight.data = weight.data.to(getattr(module, f"{name}_comfy_model_dtype", weight.dtype))
    if hasattr(duplicate, "model_loaded_weight_memory"):
        duplicate.model_loaded_weight_memory = 0
    return duplicate


@contextmanager
def plain_denoiser(guider: object) -> Iterator[ModelPatcher]:
    """Lets a running guider denoise with plain weights; yields their patcher, which is to be loaded inside.

    For sampler nodes of others, whose model cannot be exchanged before they run.
    """
    patcher = guider.model_patcher
    if not is_dynamic(patcher):
        yield patcher
        return
    delegate, dynamic = plain(patcher), guider.inner_model
    guider.inner_model = delegate.model
    try:
        delegate.pre_run()
        yield delegate
    finally:
        delegate.cleanup()
        guider.inner_model = dynamic
