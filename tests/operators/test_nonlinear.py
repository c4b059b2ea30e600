"""Non-linear measurements: values, and gradients that autograd can follow."""

from __future__ import annotations

import pytest
import torch
from psld import operators as ops

SHAPE = (3, 20, 27)
OPERATORS = {
    "phase": ops.PhaseRetrieval(SHAPE),
    "hdr": ops.HighDynamicRange(SHAPE),
    "gamma": ops.Gamma(SHAPE),
    "jpeg": ops.JPEG(SHAPE),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_marked_non_linear_with_finite_gradients(name):
    operator = OPERATORS[name]
    assert operator.linear is False and not isinstance(operator, ops.LinearOperator)
    x = (torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2.2 - 1.1).requires_grad_()
    y = operator(x)
    assert y.shape == (2, *operator.measurement_shape)
    y.square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().max() > 0
    with pytest.raises(ValueError, match="image"):
        operator(torch.zeros(1, 3, 5, 5))


@pytest.mark.parametrize("name", ["phase", "hdr", "gamma"])
def test_gradcheck(name):
    shape = (1, 5, 6)
    x = (torch.rand(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(type(OPERATORS[name])(shape), x)


def test_magnitudes_forget_sign_and_shift_and_keep_energy():
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    operator = ops.PhaseRetrieval(SHAPE)
    assert operator.measurement_shape == (3, 30, 39)
    torch.testing.assert_close(operator(x), operator(-x))
    torch.testing.assert_close(operator(x).norm(), x.norm())
    torch.testing.assert_close(operator(x)[..., 15, 19], x.sum((-2, -1)).abs() / (30 * 39) ** 0.5)


def test_clipping_and_gamma_values():
    x = torch.tensor([-1.0, -0.75, 0.0, 0.25, 1.0]).view(1, 1, 1, 5)
    hdr = ops.HighDynamicRange((1, 1, 5), 2.0)(x)
    torch.testing.assert_close(hdr.flatten(), torch.tensor([-1.0, -1.0, 0.0, 0.5, 1.0]))
    gamma = ops.Gamma((1, 1, 5), 2.0)(x)
    torch.testing.assert_close(gamma.flatten(), 2 * ((x.flatten() + 1) / 2) ** 2 - 1)


def test_jpeg_gets_better_with_quality_and_is_nearly_idempotent():
    coarse = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    x = torch.nn.functional.interpolate(coarse, SHAPE[1:], mode="bicubic")
    errors = [(ops.JPEG(SHAPE, q)(x) - x).norm() for q in (5, 30, 95)]
    assert errors[0] > errors[1] > errors[2]
    once = ops.JPEG(SHAPE, 30, subsample=False)(x)
    again = ops.JPEG(SHAPE, 30, subsample=False)(once)
    assert (again - once).norm() < 0.2 * (once - x).norm()
