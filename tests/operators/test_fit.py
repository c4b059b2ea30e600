"""Fitting a photo to a multiple and back: every size returns to itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from psld.operators import fit as fits

quick = settings(max_examples=60, deadline=None, derandomize=True)
sides = st.tuples(st.integers(1, 70), st.integers(1, 70))
multiples = st.sampled_from([1, 4, 8, 32])


def marked(size: tuple[int, int], seed: int) -> torch.Tensor:
    """A mask with one random rectangle."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(size, dtype=torch.bool)
    (top, left), u = (torch.rand(2, 2, generator=generator) * torch.tensor(size)).int().tolist()
    mask[top : top + u[0] + 1, left : left + u[1] + 1] = True
    return mask


def fit_by(method: str, size: tuple[int, int], multiple: int, seed: int) -> fits.Fit:
    if method == "pad":
        return fits.pad(size, multiple)
    if method == "crop":
        return fits.crop(size, min(multiple, *size))
    return fits.around(marked(size, seed), margin=3, least=10, multiple=multiple)


@quick
@given(st.sampled_from(["pad", "crop", "around"]), sides, multiples, st.integers(0, 99))
def test_a_fitted_photo_comes_back_to_the_bit(method, size, multiple, seed):
    photo = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))
    fit = fit_by(method, size, multiple, seed)
    fitted = fit.apply(photo)
    assert fitted.shape == (2, 3, *fit.window)
    step = min(multiple, *size) if method == "crop" else multiple
    assert all(n % step == 0 for n in fit.window)
    assert torch.equal(fit.undo(fitted, photo), photo)
    spoilt = fit.undo(torch.zeros_like(fitted), photo)
    inside = fit.window[0] * fit.window[1] - int(fit.padding().sum())
    assert int((spoilt[0, 0] == 0).sum()) == inside
    assert torch.equal(torch.where(spoilt == 0, photo, spoilt), photo)


@quick
@given(sides, multiples)
def test_padding_mirrors_the_whole_photo_and_cropping_adds_nothing(size, multiple):
    photo = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    fit = fits.pad(size, multiple)
    top, left = (-n for n in fit.corner)
    fitted, padding = fit.apply(photo), fit.padding()
    assert torch.equal(fitted[..., top : top + size[0], left : left + size[1]], photo)
    assert int((~padding).sum()) == size[0] * size[1] and not padding[top, left]
    if top:
        assert torch.equal(fitted[..., top - 1, :], fitted[..., top, :]) and padding[top - 1].all()
    assert not fits.crop(size, min(multiple, *size)).padding().any()


@quick
@given(sides, multiples, st.integers(0, 99))
def test_the_window_around_a_mask_holds_it_and_its_margin(size, multiple, seed):
    mask = marked(size, seed)
    fit = fits.around(mask, margin=3, least=10, multiple=multiple)
    outside = fit.undo(torch.zeros(1, 1, *fit.window), torch.ones(1, 1, *size))[0, 0] == 1
    near = torch.nn.functional.max_pool2d(mask[None].float(), 7, 1, 3)[0] > 0
    assert not (near & outside).any()
    assert all(w >= min(10, n) for w, n in zip(fit.window, size, strict=True))
    assert not fit.padding().any() or any(n < w for n, w in zip(size, fit.window, strict=True))


@pytest.mark.parametrize("factor", [1, 1.5, 2, 2.5, 3, 4, 10 / 3])
@quick
@given(sides, st.sampled_from(["pad", "crop"]))
def test_an_enlarged_photo_has_the_factor_times_its_size(factor, size, method):
    multiple, align = fits.least_multiple(8, factor)
    assert factor * multiple % 8 == pytest.approx(0) and factor * align == pytest.approx(round(factor * align))
    if method == "crop" and min(size) < multiple:
        with pytest.raises(ValueError, match="cannot be cropped"):
            fits.crop(size, multiple, align)
        return
    fit = getattr(fits, method)(size, multiple, align)
    ramp = torch.linspace(0, 1, size[1]).expand(1, 1, *size)
    large = fits.enlarge(fit.apply(ramp), factor)
    assert all(n % 8 == 0 for n in large.shape[-2:])
    whole = fit.undo(large, ramp)
    assert whole.shape[-2:] == tuple(int(factor * n + 1e-6) for n in size)
    if size[1] > 2:  # the picture lies where it did: two pixels' play at mirrored borders
        torch.testing.assert_close(whole, fits.enlarge(ramp, factor), atol=2 / (size[1] - 1), rtol=0)


@pytest.mark.parametrize("multiple", [4, 8, 16, 32])
@pytest.mark.parametrize("factor", [1, 1.5, 2, 2.5, 3, 4, 8, 16, 1.25])
def test_least_multiple_is_the_least(multiple, factor):
    n, align = fits.least_multiple(multiple, factor)
    assert n == next(k for k in range(1, 1000) if k * factor % multiple == 0)
    assert align == next(k for k in range(1, 1000) if k * factor % 1 == 0)


def test_what_was_not_restored_from_the_fit_is_refused():
    fit = fits.pad((30, 40), 16)
    with pytest.raises(ValueError, match="no multiple of the fitted 48 x 32"):
        fit.undo(torch.zeros(1, 3, 32, 40), torch.zeros(1, 3, 30, 40))
    with pytest.raises(ValueError, match="marks nothing"):
        fits.around(torch.zeros(9, 9, dtype=torch.bool), 1, 1, 8)


def test_holes_far_apart_have_windows_of_their_own_and_near_ones_share():
    mask = torch.zeros(150, 200, dtype=torch.bool)
    mask[2:8, 3:9] = mask[140:146, 190:196] = mask[140:146, 180:182] = True
    windows = fits.around_each(mask, margin=8, least=32, multiple=8)
    assert [fit.window for fit in windows] == [(32, 32), (32, 32)] and {fit.windows for fit in windows} == {2}
    assert sum(int(fit.apply(mask).sum()) for fit in windows) == int(mask.sum())
    photo = torch.rand(1, 3, 150, 200)
    whole = photo
    for fit in windows:
        whole = fit.undo(fit.apply(photo) + fit.apply(mask), whole)
    torch.testing.assert_close(whole, photo + mask)


def test_a_blend_keeps_what_is_not_painted_to_the_bit_and_feathers_outwards():
    photo, restored = torch.rand(2, 1, 3, 20, 20)
    painted = torch.zeros(1, 20, 20, dtype=torch.bool)
    painted[:, 5:9, 5:9] = True
    sharp = fits.blend(photo, restored, painted)
    assert torch.equal(sharp, torch.where(painted, restored, photo))
    soft = fits.blend(photo, restored, painted, feather=3)
    assert torch.equal(soft[..., 5:9, 5:9], restored[..., 5:9, 5:9])
    share = ((soft - photo) / (restored - photo))[0, 0, 6, 9:13]
    torch.testing.assert_close(share, torch.tensor([0.75, 0.5, 0.25, 0.0]), atol=1e-4, rtol=0)
