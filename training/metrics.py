"""How far pictures are from what they should be: one by one, and as distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from ..devkit.perceptual import lpips_alex


def reconstruction_metrics(x: Tensor, y: Tensor) -> dict[str, float]:
    """Mean PSNR in dB and LPIPS-Alex of reconstructions y of x, BCHW in [-1, 1]."""
    psnr = -10 * ((x - y) / 2).square().mean(dim=(1, 2, 3)).log10()
    return {"psnr": float(psnr.mean()), "lpips": float(lpips_alex(x, y).mean())}


def fid(x: Tensor, y: Tensor) -> float:
    """Frechet distance of Gaussians fitted to features, (N, d) and (M, d) in double precision."""
    covariances = [torch.cov(features.T) for features in (x, y)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp_min(0).sqrt().sum()
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return round(float(shift + sum(torch.trace(c) for c in covariances) - 2 * cross), 3)


def kid(x: Tensor, y: Tensor) -> float:
    """Squared maximum mean discrepancy, unbiased, with the kernel (x y / d + 1)^3 (Binkowski et al., ICLR 2018)."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.trace()) / (len(a) * (len(a) - 1))

    return round(float(within(x) + within(y) - 2 * kernel(x, y).mean()), 6)
