"""The identities again, for every operator and every composition of two, as hypothesis picks sizes and parameters."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from psld import operators as ops

quick = settings(max_examples=8, deadline=None, derandomize=True)
seeds = st.integers(0, 2**64 - 1)
odd = st.integers(0, 3).map(lambda n: 2 * n + 1)
boundaries = st.sampled_from(["reflect", "circular", "zero", "replicate"])


def made(maker, **parameters):
    return st.fixed_dictionaries(parameters).map(lambda kw: partial(maker, **kw))


OPERATORS = {
    "Identity": st.just(ops.Identity),
    "InpaintMask": st.sampled_from([3, 5]).map(lambda n: lambda s: ops.InpaintMask(s, pattern(s, n))),
    "InpaintBox": made(ops.InpaintBox, size=st.integers(1, 4), margin=st.integers(0, 1), seed=seeds),
    "InpaintRandom": made(ops.InpaintRandom, drop=st.floats(0, 0.9), seed=seeds),
    "InpaintHalf": made(ops.InpaintHalf, side=st.sampled_from(["left", "right", "top", "bottom"])),
    "Outpaint": made(ops.Outpaint, keep=st.floats(0.1, 1)),
    "InpaintGrid": made(ops.InpaintGrid, factor=st.integers(1, 4)),
    "InpaintLines": made(ops.InpaintLines, axis=st.sampled_from(["rows", "columns"]), period=st.integers(2, 3)),
    "Destripe": made(ops.Destripe, axis=st.sampled_from(["rows", "columns"]), width=st.just(1), seed=seeds,
                     spacing=st.integers(2, 4), drop=st.one_of(st.none(), st.floats(0, 0.5))),  # fmt: skip
    "InpaintStrokes": made(ops.InpaintStrokes, style=st.sampled_from(["thin", "thick"]), seed=seeds),
    "InpaintScratches": made(ops.InpaintScratches, count=st.integers(1, 3), width=st.floats(0.5, 1), seed=seeds),
    "SuperResolution": made(ops.SuperResolution, factor=st.one_of(st.integers(1, 4), st.floats(1, 4)),
                            kernel=st.sampled_from(["bicubic", "bilinear", "lanczos", "box", "nearest", "gaussian"]),
                            ),  # fmt: skip
    "GaussianBlur": made(ops.GaussianBlur, sigma=st.floats(0.3, 1.2), kernel_size=odd, boundary=boundaries),
    "UniformBlur": made(ops.UniformBlur, kernel_size=odd, boundary=boundaries),
    "AnisotropicBlur": made(ops.AnisotropicBlur, sigma_x=st.floats(0.5, 2), sigma_y=st.floats(0.3, 1),
                            angle=st.sampled_from([0, 30, 90]), kernel_size=odd, boundary=boundaries),  # fmt: skip
    "MotionBlur": made(ops.MotionBlur, kernel_size=odd, intensity=st.floats(0, 1), seed=seeds, boundary=boundaries),
    "LineBlur": made(ops.LineBlur, length=st.floats(0.5, 3.5), angle=st.floats(-180, 180), boundary=boundaries),
    "DefocusBlur": made(ops.DefocusBlur, radius=st.floats(0.4, 2.4), boundary=boundaries),
    "Blur": made(ops.Blur, kernel=seeds.map(lambda s: noise((4, 3), s).abs()), boundary=boundaries),
    "Greyscale": st.just(lambda s: ops.Greyscale(s, torch.arange(1, s[0] + 1).div(6).tolist())),
    "ChannelMix": st.tuples(st.integers(1, 4), seeds).map(
        lambda p: lambda s: ops.ChannelMix(s, torch.nn.functional.normalize(noise((p[0], s[0]), p[1]), dim=(0, 1)))
    ),
    "BayerMosaic": made(ops.BayerMosaic, pattern=st.sampled_from(["RGGB", "BGGR", "GRBG", "GBRG"])),
    "CompressedSensing": made(ops.CompressedSensing, ratio=st.floats(0.01, 1), seed=seeds),
}
LAST = {"CompressedSensing"}  # their measurement is no image
PAIRS = [(first, then) for first in OPERATORS if first not in LAST for then in OPERATORS]
sizes = st.tuples(st.integers(9, 14), st.integers(9, 14))
channels = st.sampled_from([1, 2, 3])


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pattern(shape, n):
    """A mask with no symmetry, other in every channel."""
    return (torch.arange(shape[0] * shape[1] * shape[2]) ** 2 % n < 2).view(shape)


def relative(a, b):
    """|a - b| / |b|, where two zeros agree."""
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def check_adjoint(operator, batch):
    x, u = (noise((batch, *shape), i) for i, shape in enumerate((operator.image_shape, operator.measurement_shape)))
    ax = operator(x)
    assert ((ax * u).sum() - (x * operator.adjoint(u)).sum()).abs() <= 1e-12 * x.norm() * u.norm()
    assert torch.equal(operator.restrict(ax), ax) and 0 < operator.num_measurements <= ax[0].numel()


def check_pseudo_inverse(operator, batch, scale=1.0):
    """The four identities of Moore and Penrose, to 1e-9 or to what conjugate gradients state; |A| is at most scale.

    What is to be inverted goes in one batch, where it costs little more than a single image.
    """
    x, z = noise((batch, *operator.image_shape), 2), noise((batch, *operator.image_shape), 3)
    y, v = noise((batch, *operator.measurement_shape), 4), noise((batch, *operator.measurement_shape), 5)
    exact = isinstance(operator, ops.SpectralOperator)
    tolerance = scale * (1e-9 if exact else 1e-2 if operator.smoothing else 1e-6)
    ax = operator(x)
    px, pz, py, pv = operator.pinv(torch.cat([ax, operator(z), y, v])).chunk(4)
    assert (operator(px) - ax).norm() <= tolerance * x.norm(), "A A+ A = A"
    ppx = operator.pinv(operator(px))
    gap = ppx - px if exact else operator(ppx) - operator(px)
    assert gap.norm() <= tolerance * x.norm(), "A+ A A+ = A+"
    symmetry = ((px * z).sum() - (x * pz).sum()).abs() / (x.norm() * z.norm())
    assert symmetry <= (1e-9 if exact else 1e-6), "A+ A symmetric"
    qy, qv = operator(py), operator(pv)
    assert ((qy * v).sum() - (y * qv).sum()).abs() <= (1e-9 if exact else 1e-6) * y.norm() * v.norm(), "A A+ symmetric"


def check_prox(operator, batch, t):
    x, y = noise((batch, *operator.image_shape), 6), noise((batch, *operator.measurement_shape), 7)
    u = operator.prox(x, y, t)
    gradient = t * operator.adjoint(operator(u) - y) + u - x
    assert gradient.norm() <= 1e-9 * (x.norm() + t * operator.adjoint(y - operator(x)).norm())


def build(maker, shape):
    """None where the parameters do not fit the size, which the operator must say in words."""
    try:
        return maker(shape)
    except ValueError as error:
        assert len(str(error)) > 40 and str(error).endswith(".")
        return None


def check(operator, batch, t):
    if operator is not None:
        check_adjoint(operator, batch)
        check_pseudo_inverse(operator, batch)
        check_prox(operator, batch, t)


def test_every_class_is_here():
    classes = {n for n in ops.__all__ if n in vars(ops) and isinstance(getattr(ops, n), type)}
    linear = {n for n in classes if issubclass(getattr(ops, n), ops.LinearOperator)}
    assert linear - {"LinearOperator", "SpectralOperator", "Stack", "Denoise"} <= set(OPERATORS)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
@quick
@given(data=st.data())
def test_identities(name, data):
    shape = (data.draw(channels), *data.draw(sizes))
    operator = build(data.draw(OPERATORS[name]), shape)
    check(operator, data.draw(st.integers(1, 3)), data.draw(st.floats(0.01, 100)))


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), PAIRS, ids=map("-".join, PAIRS))
@settings(quick, max_examples=2)
@given(data=st.data())
def test_identities_of_two(first, then, data):
    shape = (3, *data.draw(sizes))
    makers = [data.draw(OPERATORS[name]) for name in (first, then)]
    inner = build(makers[0], shape)
    outer = build(makers[1], inner.measurement_shape) if inner else None
    if outer is None:
        return
    operator = build(partial(ops.Compose, makers=makers), shape)
    if operator is not None:
        x = noise((2, *shape))
        torch.testing.assert_close(operator(x), outer(inner(x)), rtol=1e-10, atol=1e-10)
    check(operator, 2, data.draw(st.floats(0.01, 100)))


@pytest.mark.slow
@settings(quick, max_examples=25)
@given(data=st.data())
def test_identities_of_a_stack(data):
    shape = (3, *data.draw(sizes))
    names = data.draw(st.lists(st.sampled_from(sorted(OPERATORS)), min_size=1, max_size=3))
    makers = [data.draw(OPERATORS[name]) for name in names]
    if all(build(maker, shape) for maker in makers):
        operator = ops.Stack(shape, makers)
        scale = len(makers) ** 0.5  # |A| is at most that
        check_adjoint(operator, 2)
        check_pseudo_inverse(operator, 2, scale)
        check_prox(operator, 2, data.draw(st.floats(0.01, 100)))
