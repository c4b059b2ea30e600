"""The identities again, over sizes, channels and parameters that hypothesis picks."""

from __future__ import annotations

from functools import partial

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from psld import operators as ops

quick = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**64 - 1)
odd = st.integers(0, 3).map(lambda n: 2 * n + 1)
boundaries = st.sampled_from(["reflect", "circular", "zero", "replicate"])


def made(maker, **parameters):
    return st.fixed_dictionaries(parameters).map(lambda kw: partial(maker, **kw))


separable = st.one_of(
    made(
        ops.SuperResolution,
        factor=st.one_of(st.integers(1, 7), st.floats(1, 7)),
        kernel=st.sampled_from(["bicubic", "bilinear", "lanczos", "box", "nearest", "gaussian"]),
    ),
    made(ops.GaussianBlur, sigma=st.floats(0.3, 1.2), kernel_size=odd, boundary=boundaries),
    made(ops.UniformBlur, kernel_size=odd, boundary=boundaries),
)
masks = st.one_of(
    made(ops.InpaintRandom, drop=st.floats(0, 0.95), seed=seeds),
    made(ops.InpaintBox, size=st.integers(1, 4), margin=st.integers(0, 1), seed=seeds),
    made(ops.Destripe, axis=st.sampled_from(["rows", "columns"]), width=st.integers(1, 3), spacing=st.integers(4, 6)),
    made(ops.InpaintScratches, count=st.integers(1, 3), width=st.floats(0.5, 1), seed=seeds),
    made(ops.Outpaint, keep=st.floats(0.1, 1)),
)
circular = st.one_of(
    made(ops.MotionBlur, kernel_size=odd, intensity=st.floats(0, 1), seed=seeds),
    made(ops.DefocusBlur, radius=st.floats(0.4, 2.4)),
    made(ops.LineBlur, length=st.floats(0.5, 3.5), angle=st.floats(-180, 180)),
)
exact = st.one_of(
    separable, masks, circular, made(ops.CompressedSensing, ratio=st.floats(0.01, 1), seed=seeds), st.just(ops.Identity)
)
bounded = made(ops.MotionBlur, kernel_size=odd, seed=seeds, boundary=st.sampled_from(["reflect", "zero", "replicate"]))
images = st.one_of(separable, masks, circular, bounded, st.just(ops.Identity))
shapes = st.tuples(st.sampled_from([1, 3]), st.integers(7, 17), st.integers(7, 17))


def draw(operator, batch, dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = operator.image_shape, operator.measurement_shape
    return tuple(torch.randn(batch, *shape, generator=generator, dtype=dtype) for shape in shapes)


def adjoint_gap(operator, batch, dtype) -> float:
    """|<A x, u> - <x, A^T u>| / (|A x| |u|), which must not exceed rounding."""
    x, u = draw(operator, batch, dtype)
    ax = operator(x)
    gap = ((ax * u).sum() - (x * operator.adjoint(u)).sum()).abs()
    return float(gap / (ax.norm() * u.norm() + torch.finfo(dtype).tiny))


@quick
@given(st.one_of(exact, bounded), shapes, st.integers(1, 3))
def test_adjoint(maker, shape, batch):
    operator = maker(shape)
    assert adjoint_gap(operator, batch, torch.float32) < 1e-5
    assert adjoint_gap(operator, batch, torch.float64) < 1e-12


@quick
@given(exact, shapes, st.integers(1, 2))
def test_pseudo_inverse(maker, shape, batch):
    operator = maker(shape)
    for dtype, bound in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        x, _ = draw(operator, batch, dtype)
        px = operator.pinv(operator(x))
        assert (operator(px) - operator(x)).norm() <= bound * x.norm(), "A A+ A = A"
        assert (operator.pinv(operator(px)) - px).norm() <= bound * x.norm(), "A+ A idempotent"


@quick
@given(st.one_of(exact, bounded), shapes, st.floats(0.01, 100))
def test_prox(maker, shape, t):
    operator = maker(shape)
    x, y = draw(operator, 1, torch.float64)
    u = operator.prox(x, y, t)
    gap = t * operator.adjoint(operator(u) - y) + u - x
    assert gap.norm() <= 1e-9 * (x.norm() + t * operator.adjoint(y - operator(x)).norm())


@quick
@given(images, st.one_of(exact, bounded), shapes)
def test_composition_of_two(first, then, shape):
    inner = first(shape)
    try:
        outer = then(inner.measurement_shape)
    except ValueError:  # the second does not fit what the first leaves
        return
    operator = ops.Compose(shape, [first, then])
    x, u = draw(operator, 2, torch.float64)
    y = operator(x)
    torch.testing.assert_close(y, outer(inner(x)))
    assert ((y * u).sum() - (x * operator.adjoint(u)).sum()).abs() < 1e-12 * (1 + x.norm() * u.norm())
    bound = 1e-9 if isinstance(operator, ops.SpectralOperator) else 1e-2
    assert (operator(operator.pinv(y, bound)) - y).norm() <= 2 * bound * x.norm()


@quick
@given(separable, masks, circular, shapes)
def test_stack(a, b, c, shape):
    operator = ops.Stack(shape, [a, b, c])
    assert adjoint_gap(operator, 2, torch.float64) < 1e-12
    x, y = draw(operator, 2, torch.float64)
    u = operator.prox(x, y, 5.0)
    gap = 5 * operator.adjoint(operator(u) - y) + u - x
    assert gap.norm() <= 1e-9 * (x.norm() + 5 * operator.adjoint(y - operator(x)).norm())
