"""The training of one network: optimiser, moving average, a learning rate that falls with the time that is left."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 200
"""Steps over which the learning rate rises."""
LOG_STEPS = 100
COMPILED = 1200
"""Seconds of training on a GPU from which a network is compiled: that took nearly two minutes on an H200."""


class Training:
    """A network on its way, with everything that is needed to go on after an interruption."""

    def __init__(self, network: nn.Module, learning_rate: float, decay: float) -> None:
        """network: on its device. decay: of the exponential moving average of the weights, in the long run."""
        self.network = network.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(network).requires_grad_(False).eval()
        self.learning_rate, self.decay = learning_rate, decay
        parameters = network.parameters()
        self.optimizer = torch.optim.AdamW(parameters, learning_rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
        self.step, self.seconds = 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer")}
        return {**parts, "step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("network", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]

    def run(self, loss: Callable[[], dict[str, Tensor]], budget: float, every: int = LOG_STEPS
            ) -> Iterator[dict[str, float]]:
        """Trains until `budget` seconds have gone into it, in all its runs.

        Yields after each step: mostly nothing, but after `every` steps the mean losses since then. Only they wait for
        the device.
        loss: computes the parts of the loss on a new batch; they are added up.
        """
        history: list[dict[str, Tensor]] = []
        while self.seconds < budget:
            started = time.monotonic()
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * schedule(self.step, self.seconds / budget)
            parts = loss()
            self.optimizer.zero_grad()
            sum(parts.values()).backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
            self.follow()
            history.append({name: value.detach() for name, value in parts.items()})
            means: dict[str, float] = {}
            if len(history) == every:
                means = {name: float(torch.stack([step[name] for step in history]).mean()) for name in parts}
                history.clear()
            self.seconds += time.monotonic() - started
            yield means

    @torch.no_grad()
    def follow(self) -> None:
        """Draws the average towards the weights, faster in the beginning."""
        weight = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), weight)


def fused(network: nn.Module, device: torch.device, budget: float) -> Callable[..., Tensor]:
    """The network with its operations joined into few kernels, where a GPU has the time for that."""
    return torch.compile(network, dynamic=False) if device.type == "cuda" and budget > COMPILED else network


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 for convolutions and products, but not on a CPU without tiles for them (AMX).

    With AVX-512 alone, convolutions took 1.7 times as long in bfloat16 as in float32; with neither, fifty times.
    """
    fast = device.type != "cpu" or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def schedule(step: int, progress: float) -> float:
    """Factor of the learning rate: a rise over the first steps, then a half cosine; progress in [0, 1]."""
    return min(1.0, (step + 1) / WARM_UP) * (0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)
