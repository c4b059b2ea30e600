"""What networks take by themselves: the calls that a run makes of them are counted, and made again on their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.autograd import differentiable, mutable_saved_tensors
from .passes import now

REPEATS = 3


@dataclass
class Calls:
    """Calls of one network with inputs of one size, in one mode: with a graph (traced), without, or for inference."""

    function: Callable[..., Tensor]
    x: Tensor
    others: tuple
    options: dict[str, Any]
    traced: bool
    inference: bool
    forwards: int = 0
    backwards: int = 0

    def seconds(self) -> float:
        """All of them by themselves, from the median of some made here."""
        runs = [self.once() for _ in range(REPEATS + 1)][1:]
        forward, backward = (median(part) for part in zip(*runs, strict=True))
        return self.forwards * forward + self.backwards * backward

    def once(self) -> tuple[float, float]:
        """Seconds of one forward pass and, where there is a graph, of one backward pass."""
        with torch.inference_mode(self.inference), torch.set_grad_enabled(self.traced):
            x = self.x.clone().requires_grad_(self.traced)
            started = spent()
            y = self.function(x, *self.others, **self.options)
            middle = spent()
            if self.traced:
                torch.autograd.grad(y, x, torch.ones_like(y))
            return middle - started, spent() - middle


def spent() -> float:
    """Seconds of a clock; on a CPU those of this process alone, which others disturb less."""
    return now() if torch.cuda.is_available() else time.process_time()


@contextmanager
def recorded(networks: Iterable[tuple[nn.Module, str]]) -> Iterator[list[Calls]]:
    """Inside, calls of these methods of modules are counted, by the size of their first argument.

    A backward pass is one gradient that arrives at a result. What is left of a call is its first inputs.
    """
    kinds: dict[tuple, Calls] = {}
    calls: list[Calls] = []

    def watched(module: nn.Module, name: str) -> Callable[..., Tensor]:
        function = getattr(module, name)

        def call(x: Tensor, *others: Any, **options: Any) -> Tensor:
            traced, inference = torch.is_grad_enabled() and x.requires_grad, torch.is_inference_mode_enabled()
            kind = id(module), name, tuple(x.shape), traced, inference
            if kind not in kinds:
                kinds[kind] = Calls(function, x.detach(), others, options, traced, inference)
                calls.append(kinds[kind])
            entry = kinds[kind]
            entry.forwards += 1
            y = function(x, *others, **options)
            if traced:
                y.register_hook(lambda _: setattr(entry, "backwards", entry.backwards + 1))
            return y

        return call

    networks = list(networks)
    for module, name in networks:
        setattr(module, name, watched(module, name))
    try:
        yield calls
    finally:
        for module, name in networks:
            delattr(module, name)


def bare_seconds(calls: Iterable[Calls], modules: Sequence[nn.Module], constants: Iterable[object]) -> float:
    """All these calls by themselves. modules, the denoiser first, constants: as for `differentiable`."""
    with differentiable(modules, constants):
        alone = sum(entry.seconds() for entry in calls if not entry.traced)
        with mutable_saved_tensors(modules[0]):
            return alone + sum(entry.seconds() for entry in calls if entry.traced)
