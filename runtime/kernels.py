"""On a GPU, inside a run alone: float32 convolutions as exact as float32, and where ComfyUI was started with
--deterministic the same bits for the same seed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from comfy.cli_args import args

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""PyTorch asks for it before it calls a product of matrices deterministic."""


@contextmanager
def exact_kernels(device: torch.device) -> Iterator[None]:
    """No TF32, by which a batch differs from its single runs in the third digit; repeatable ones where asked for."""
    if device.type != "cuda":
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(replaced(torch.backends.cudnn, "allow_tf32", False))
        if args.deterministic:
            stack.enter_context(repeatable())
        yield


@contextmanager
def repeatable() -> Iterator[None]:
    """Deterministic kernels alone. ComfyUI's own --deterministic lets others pass with a warning.

    Attention and convolutions add up gradients in any order otherwise, and sampling makes another picture of it.
    """
    cudnn = torch.backends.cudnn
    with ExitStack() as stack:
        stack.enter_context(replaced(cudnn, "deterministic", True))
        stack.enter_context(replaced(cudnn, "benchmark", False))
        stack.enter_context(replaced(torch.utils.deterministic, "fill_uninitialized_memory", False))
        stack.enter_context(cublas_workspace())
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        stack.callback(lambda: torch.use_deterministic_algorithms(before[0], warn_only=before[1]))
        torch.use_deterministic_algorithms(True)
        yield


@contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """owner.name is `value` inside, and as before afterwards."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def cublas_workspace() -> Iterator[None]:
    """What PyTorch wants to find in the environment; what is there already stays."""
    missing = WORKSPACE not in os.environ
    os.environ.setdefault(WORKSPACE, ":4096:8")
    try:
        yield
    finally:
        if missing:
            del os.environ[WORKSPACE]


def goes_on_without(error: RuntimeError) -> bool:
    """Whether a run failed for want of a deterministic kernel; if so the rest of it does without them."""
    strict = torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    if not strict or "determinis" not in str(error):
        return False
    torch.use_deterministic_algorithms(False)
    logging.warning("PSLD: %s Going on without: the same seed may give a slightly different picture.",
                    str(error).split(". ")[0] + ".")  # fmt: skip
    return True
