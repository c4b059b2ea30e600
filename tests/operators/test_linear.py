"""The identities that every linear operator owes, in single and double precision."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from psld import operators as ops
from psld.operators.conjugate_gradients import TOLERANCE
from torch import Tensor

torch.set_num_threads(1)


def checkerboard(height: int, width: int) -> Tensor:
    return (torch.arange(height)[:, None] + torch.arange(width)) % 2


def weighted(operator: ops.LinearOperator) -> ops.LinearOperator:
    values = torch.linspace(0.5, 2, math.prod(operator.measurement_shape))
    return ops.weighted(operator, values.view(1, *operator.measurement_shape))


EXACT = {
    "identity": lambda s: ops.Identity(s),
    "sr bicubic": lambda s: ops.SuperResolution(s, 4),
    "sr box": lambda s: ops.SuperResolution(s, 3, "box"),
    "mask": lambda s: ops.InpaintMask(s, checkerboard(*s[1:])),
    "box": lambda s: ops.InpaintBox(s, 7, margin=2),
    "random": lambda s: ops.InpaintRandom(s, seed=3),
    "gaussian reflect": lambda s: ops.GaussianBlur(s, 2.0, 13),
    "gaussian circular": lambda s: ops.GaussianBlur(s, 2.0, 13, "circular"),
    "gaussian zero": lambda s: ops.GaussianBlur(s, 2.0, 13, "zero"),
    "gaussian replicate": lambda s: ops.GaussianBlur(s, 2.0, 13, "replicate"),
    "motion": lambda s: ops.MotionBlur(s, 13, seed=1),
    "sr bilinear 1.5": lambda s: ops.SuperResolution(s, 1.5, "bilinear"),
    "sr lanczos 2.7": lambda s: ops.SuperResolution(s, 2.7, "lanczos"),
    "sr nearest": lambda s: ops.SuperResolution(s, 2, "nearest"),
    "sr gaussian": lambda s: ops.SuperResolution(s, 3, "gaussian"),
    "half": lambda s: ops.InpaintHalf(s, "top"),
    "outpaint": lambda s: ops.Outpaint(s, 0.6),
    "lines": lambda s: ops.InpaintLines(s),
    "grid": lambda s: ops.InpaintGrid(s, 3),
    "stripes": lambda s: ops.Destripe(s, "rows", 2, 5),
    "random stripes": lambda s: ops.Destripe(s, width=1, drop=0.4, seed=2),
    "strokes": lambda s: ops.InpaintStrokes(s, "thick", seed=5),
    "scratches": lambda s: ops.InpaintScratches(s, 3, seed=2),
    "uniform": lambda s: ops.UniformBlur(s, 5),
    "anisotropic": lambda s: ops.AnisotropicBlur(s, 2.0, 0.7, 0, 13, "replicate"),
    "turned anisotropic": lambda s: ops.AnisotropicBlur(s, 2.0, 0.7, 30, 13),
    "line": lambda s: ops.LineBlur(s, 6, 20),
    "defocus": lambda s: ops.DefocusBlur(s, 2.3),
    "user kernel": lambda s: ops.Blur(s, torch.arange(12.0).view(3, 4)),
    "grey": lambda s: ops.Greyscale((3, *s[1:])),
    "mix": lambda s: ops.ChannelMix(s, torch.arange(2.0 * s[0]).view(2, s[0]).cos()),
    "bayer": lambda s: ops.BayerMosaic((3, *s[1:])),
    "compressed sensing": lambda s: ops.CompressedSensing(s, 0.3),
}
EXACT |= {
    "blur, then sr": lambda s: ops.Compose(
        s, [partial(ops.GaussianBlur, sigma=1.0, kernel_size=9), ops.SuperResolution]
    ),
    "motion, then defocus": lambda s: ops.Compose(s, [EXACT["motion"], EXACT["defocus"]]),
    "box, then lines": lambda s: ops.Compose(s, [EXACT["box"], EXACT["lines"]]),
    "blur, grey, then sr": lambda s: ops.Compose((3, *s[1:]), [EXACT["uniform"], ops.Greyscale, EXACT["sr box"]]),
    "grey, then lines": lambda s: ops.Compose((3, *s[1:]), [ops.Greyscale, EXACT["lines"]]),
    "weighted mask": lambda s: weighted(EXACT["random"](s)),
}
ITERATIVE = {
    f"motion {boundary}": lambda s, b=boundary: ops.MotionBlur(s, 13, boundary=b, seed=1)
    for boundary in ("reflect", "zero", "replicate")
} | {
    "sr, then random": lambda s: ops.Compose(s, [EXACT["sr box"], ops.InpaintRandom]),
    "random, then blur": lambda s: ops.Compose(s, [ops.InpaintRandom, EXACT["gaussian reflect"]]),
    "stack": lambda s: ops.Stack(s, [EXACT["sr bicubic"], EXACT["random"], EXACT["compressed sensing"]]),
    "weighted blur": lambda s: weighted(EXACT["gaussian circular"](s)),
}
ALL = EXACT | ITERATIVE
SHAPES = [(1, 24, 24), (3, 23, 31)]
PRECISIONS = [(torch.float32, 1e-4, 1e-5), (torch.float64, 5e-9, 1e-12)]

shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
precisions = pytest.mark.parametrize(("dtype", "rcond", "tolerance"), PRECISIONS, ids=["float32", "float64"])
every = pytest.mark.parametrize("name", ALL)
exact = pytest.mark.parametrize("name", EXACT)


def draw(operator: ops.LinearOperator, dtype: torch.dtype, batch: int = 2) -> tuple[Tensor, Tensor]:
    """A random image batch and a random measurement batch."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(batch, *shape, generator=generator, dtype=dtype)
        for shape in (operator.image_shape, operator.measurement_shape)
    )


@every
@shapes
@precisions
def test_adjoint_is_the_transpose(name, shape, dtype, rcond, tolerance):
    operator = ALL[name](shape)
    x, u = draw(operator, dtype)
    gap = ((operator(x) * u).sum() - (x * operator.adjoint(u)).sum()).abs()
    assert gap < tolerance * operator(x).norm() * u.norm()


@exact
@shapes
@precisions
def test_pseudo_inverse(name, shape, dtype, rcond, tolerance):
    operator = EXACT[name](shape)
    x, y = draw(operator, dtype)

    def project(v: Tensor) -> Tensor:
        return operator.pinv(operator(v), rcond)

    assert torch.equal(operator.pinv(y), operator.pinv(y, rcond)), "the default of this precision"
    ax, px, z = operator(x), project(x), operator.pinv(y, rcond)
    bound = 5e-4 if dtype == torch.float32 else 1e-9
    assert (operator(px) - ax).norm() <= bound * x.norm(), "A A+ A = A"
    assert (project(px) - px).norm() <= bound * x.norm(), "A+ A idempotent"
    assert ((project(x) * z).sum() - (x * project(z)).sum()).abs() < bound * x.norm() * z.norm(), "A+ A symmetric"


@every
@shapes
@precisions
def test_prox_is_stationary(name, shape, dtype, rcond, tolerance):
    operator = ALL[name](shape)
    x, y = draw(operator, dtype)
    t = torch.tensor([0.3, 20.0], dtype=dtype).view(2, 1, 1, 1)
    u = operator.prox(x, y, t)
    pull, stay = t * operator.adjoint(y - operator(u)), u - x
    scale = (t * operator.adjoint(y - operator(x))).norm() + x.norm()
    stated = tolerance if name in EXACT else 2 * TOLERANCE[dtype]
    assert (stay - pull).norm() < stated * scale


@every
@shapes
def test_gradient_of_forward_is_the_adjoint(name, shape):
    operator = ALL[name](shape)
    x, u = draw(operator, torch.float64)
    x.requires_grad_()
    (operator(x) * u).sum().backward()
    torch.testing.assert_close(x.grad, operator.adjoint(u))


@every
def test_gradcheck_of_every_map(name):
    operator = ALL[name]((1, 13, 15))
    x, y = (v.requires_grad_() for v in draw(operator, torch.float64, batch=1))
    check = {"fast_mode": True, "atol": 1e-4}
    assert torch.autograd.gradcheck(operator.adjoint, y, **check)
    assert torch.autograd.gradcheck(lambda v: operator.pinv(v, 0.05), y, **check)
    assert torch.autograd.gradcheck(lambda u, v: operator.prox(u, v, 2.0), (x, y), **check)


@every
def test_batch_equals_single_runs(name):
    operator = ALL[name]((3, 23, 31))
    x, y = draw(operator, torch.float32, batch=3)
    for call in (lambda v, w: operator(v), lambda v, w: operator.pinv(w, 0.1), lambda v, w: operator.prox(v, w, 5.0)):
        singles = torch.cat([call(x[i : i + 1], y[i : i + 1]) for i in range(3)])
        tolerance = 1e-4 if name in EXACT else 2e-3  # conjugate gradients in single precision
        torch.testing.assert_close(call(x, y), singles, rtol=tolerance, atol=tolerance)


@every
def test_inference_mode_then_autograd(name):
    with torch.inference_mode():
        operator = ALL[name]((1, 24, 24))
        x, y = draw(operator, torch.float32)
        operator.prox(x, operator(x), 1.0), operator.pinv(y, 0.1)
    x = x.clone().requires_grad_()
    operator.prox(x, operator(x), 1.0).square().sum().backward()
    operator.pinv(operator(x), 0.1).square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().max() > 0


@every
def test_to_returns_a_copy_and_half_precision_is_lifted(name):
    operator = ALL[name]((1, 24, 24))
    moved = operator.to(dtype=torch.float64)
    assert moved is not operator and type(moved) is type(operator)
    x, _ = draw(operator, torch.float64)
    torch.testing.assert_close(moved(x), operator(x))
    assert operator(x.to(torch.bfloat16)).dtype == torch.float32


@every
def test_wrong_shapes_are_refused(name):
    operator = ALL[name]((1, 24, 24))
    with pytest.raises(ValueError, match="image"):
        operator(torch.zeros(1, *operator.image_shape[:2], 23))
    with pytest.raises(ValueError, match="measurement"):
        operator.adjoint(torch.zeros(2, 1, 1, 1))
