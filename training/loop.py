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


class Training:
    """A network on its way, with everything that is needed to go on after an interruption."""

    def __init__(self, network: nn.Module, learning_rate: float, decay: float) -> None:
        """decay: of the exponential moving average of the weights, in the long run."""
        self.network, self.average = network, copy.deepcopy(network).requires_grad_(False).eval()
        self.learning_rate, self.decay = learning_rate, decay
        self.optimizer = torch.optim.AdamW(network.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
        self.step, self.seconds = 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer")}
        return {**parts, "step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("network", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]

    def run(self, loss: Callable[[], dict[str, Tensor]], budget: float) -> Iterator[dict[str, float]]:
        """Trains until `budget` seconds have gone into it, in all its runs; yields the losses of every step.

        loss: computes the parts of the loss on a new batch; they are added up.
        """
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
            losses = {name: value.item() for name, value in parts.items()}
            self.seconds += time.monotonic() - started
            yield losses

    @torch.no_grad()
    def follow(self) -> None:
        """Draws the average towards the weights, faster in the beginning."""
        weight = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), weight)


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 for convolutions and products, but not where torch has no fast ones: a CPU without AVX-512 takes
    fifty times as long with it.
    """
    fast = device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def schedule(step: int, progress: float) -> float:
    """Factor of the learning rate: a rise over the first steps, then a half cosine; progress in [0, 1]."""
    return min(1.0, (step + 1) / WARM_UP) * (0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)
