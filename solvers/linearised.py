"""The measurement as a function of the latent, h(z0) = A D(z0), linearised where a solver stands."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators.measurement import Measurement
from .gradients import GradientError
from .latent import LatentModel, norms, per_sample, rms

REACH = 0.05
"""Length of a difference step, in standard deviations of the latent: h is smooth on it, and its rounding is small."""

LinearMap = Callable[[Tensor], Tensor]


class Linearised:
    """h(z0 + u) = h(z0) + J u + ..., around z0 (B, c, h, w). A may be non-linear; every sample is on its own.

    J^T is back-propagation through the decoder. J is a difference of two decodings: forward-mode and double
    backward would be exact, but the fused attention kernels in decoders have neither. Where the model has a draft, J is
    the draft's (an inexact Newton method): x0, and so the residual, stays the decoder's own, which keeps no graph.
    """

    def __init__(self, model: LatentModel, measurement: Measurement, z0: Tensor) -> None:
        self.decode, self.measurement = model.guide.decode, measurement
        self.z0 = z0.detach().requires_grad_()
        with torch.enable_grad():
            x0 = self.decode(self.z0)
            self.graph = self._measure(x0)
        self.x0, self.value = x0.detach(), self.graph.detach()
        if model.draft is not None:
            with torch.no_grad():
                self.x0 = model.decode(z0)

    def forward(self, u: Tensor) -> Tensor:
        """J u: (B, c, h, w) -> (B, *measurement_shape)."""
        length = REACH / rms(u).clamp(min=torch.finfo(u.dtype).tiny)
        with torch.no_grad():
            moved = self._measure(self.decode(self.z0 + per_sample(length, u) * u))
        return (moved - self.value) / per_sample(length, moved)

    def transpose(self, v: Tensor) -> Tensor:
        """J^T v: (B, *measurement_shape) -> (B, c, h, w). GradientError if it is not finite."""
        return checked(self.pulled(v))

    def pulled(self, v: Tensor) -> Tensor:
        """J^T v, whatever it is."""
        return torch.autograd.grad(self.graph, self.z0, v, retain_graph=True)[0]

    def _measure(self, x: Tensor) -> Tensor:
        return self.measurement.operator.linearised(x)


def checked(u: Tensor) -> Tensor:
    """What came of gradients through the decoder, if it is finite; else GradientError."""
    if not torch.isfinite(u).all():
        raise GradientError("the gradient through the decoder is not finite")
    return u


def posterior_shift(h: Linearised, covariance: LinearMap, sigma_y: Tensor, iterations: int) -> Tensor:
    """From h.z0 to the mean of z0 ~ N(h.z0, V) given y: V J^T (sigma_y^2 I + J V J^T)^-1 (y - h(z0)).

    covariance: v -> V v. sigma_y: (B,). The system is solved by so many iterations of conjugate gradients.
    """

    def system(v: Tensor) -> Tensor:
        return per_sample(sigma_y**2, v) * v + h.forward(covariance(h.transpose(v)))

    v = conjugate_gradients(system, h.measurement.residual(h.x0), iterations)
    return covariance(h.transpose(v))


def conjugate_gradients(system: LinearMap, b: Tensor, iterations: int) -> Tensor:
    """About system^-1 b, each sample for itself; one whose curvature is not positive stays where it is."""
    v, r, p = torch.zeros_like(b), b, b
    rr = dot(r, r)
    smallest = torch.finfo(b.dtype).eps ** 2 * rr
    for _ in range(iterations):
        q = system(p)
        curvature = dot(p, q)
        going = (rr > smallest) & (curvature > 0)
        step = torch.where(going, rr / curvature, 0)
        v, r = v + step * p, r - step * q
        rr, previous = torch.where(going, dot(r, r), 0), rr
        p = r + torch.where(going, rr / previous, 0) * p
    return v


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, (B,)."""
    return (a * b).flatten(1).sum(1)


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b of positive b, 0 elsewhere."""
    return torch.where(b > 0, a / b, 0)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, (B, 1, ..., 1)."""
    return per_sample(inner(a, b), a)


def largest_gain(h: Linearised, u: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """The largest singular value of J, (B,), by power iteration from u (B, c, h, w); and its direction."""
    for _ in range(iterations):
        u = h.transpose(h.forward(u / per_sample(norms(u), u)))
    return norms(u).sqrt(), u
