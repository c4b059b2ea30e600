"""Estimate Blur: the search by itself, and in the real executor on photos that the embedded prior knows."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from psld import operators
from psld.nodes.types import image_from_pixels
from psld.operators.blur_search import POINT, WIDEST, BlurGuess, find_blur, line_of
from psld.operators.kernel_search import KernelGuess, find_kernel
from psld.operators.kernel_step import centred, laplacian, likeliest_kernel, on_simplex
from psld.operators.kernels import line_kernel, motion_kernel
from psld.operators.measurement import Measurement
from psld.operators.watched import Watched
from psld.tests.ldm import photo
from psld.tests.prompts import call, node
from psld.tests.test_photo import EMBEDDED


@pytest.mark.parametrize("kind", ["Gaussian", "defocus"])
@pytest.mark.parametrize("width", [0.9, 1.7, 2.6])
def test_the_width_of_least_cost_is_found(kind, width):
    found = find_blur(kind, 21, lambda guess: math.log(guess.width / width) ** 2)
    assert found.kind == kind and found.width == pytest.approx(width, rel=0.02)


@pytest.mark.parametrize("length, angle", [(8, 30), (5.5, 140), (12, 90)])
def test_the_line_of_a_kernel_has_its_length_and_angle(length, angle):
    kernel = torch.zeros(25, 25)
    line = line_kernel(length, angle)
    kernel[3 : 3 + len(line), 5 : 5 + len(line)] = line
    found = line_of(kernel)
    assert found.kind == "motion" and found.width == pytest.approx(length, rel=0.02)
    assert abs((found.angle - angle + 90) % 180 - 90) < 1


def test_the_line_of_a_point_is_nearly_none():
    point = torch.zeros(15, 15)
    point[7, 7] = 1
    assert line_of(point).width == POINT["motion"]


@pytest.mark.parametrize("kind", WIDEST)
def test_a_point_that_costs_little_does_not_hide_a_valley(kind):
    """What is no blur fits any photo: the cost of a point may be the least."""

    def cost(guess: BlurGuess) -> float:
        return min(0.1 + abs(math.log(guess.width / 3.2)), 0.05 + guess.width / 10)

    found = find_blur(kind, 21, cost)
    assert found.width == pytest.approx(3.2, rel=0.1)


@pytest.mark.parametrize("kind", WIDEST)
def test_a_cost_that_grows_with_the_blur_gives_nearly_a_point(kind):
    found = find_blur(kind, 15, lambda guess: guess.width)
    assert found.width == POINT[kind]
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    assert found.maker((1, 31, 31))(point).max() > 0.5


def test_a_watched_operator_counts_its_moves_in_units_of_the_error():
    guess = BlurGuess("Gaussian", 1.5)
    A = guess.maker((3, 32, 32))
    watched = Watched(A, sigma_y=0.1)
    x, y = torch.rand(2, 1, 3, 32, 32)
    assert watched.surprise == math.inf
    moved = watched.prox(x, y, 4.0)
    torch.testing.assert_close(moved, A.prox(x, y, 4.0))
    assert watched.surprise == pytest.approx(float((moved - x).square().mean()) / 0.04, rel=1e-4)
    assert torch.equal(Measurement(y, watched, 0.1).residual(x), y - A(x))


def likeness(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest correlation of two kernels over all shifts."""
    spectra = [torch.fft.rfft2(k.double() / k.double().norm(), s=(64, 64)) for k in (a, b)]
    return float(torch.fft.irfft2(spectra[0] * spectra[1].conj(), s=(64, 64)).max())


def shaken(x: torch.Tensor, kernel: torch.Tensor, sigma: float) -> torch.Tensor:
    """(1, 3, H, W), blurred and noisy."""
    y = operators.Blur(tuple(x.shape[1:]), kernel, "reflect")(x)
    return y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))


def test_a_laplacian_is_the_gram_matrix_of_differences():
    r, v = torch.randn(2, 2, 7, 5, generator=torch.Generator().manual_seed(0))
    expected = sum((r.diff(dim=i) * v.diff(dim=i)).sum() for i in (-2, -1))
    torch.testing.assert_close((v * laplacian(r)).sum(), expected)


def test_the_nearest_kernel_on_the_simplex_is_nearer_than_others():
    kernel, *others = torch.randn(40, 5, 5, generator=torch.Generator().manual_seed(1))
    nearest = on_simplex(kernel)
    assert float(nearest.sum()) == pytest.approx(1, abs=1e-5) and nearest.min() == 0
    for other in others:
        other = other.flatten().softmax(0).view(5, 5)
        assert ((kernel - nearest) * (other - nearest)).sum() <= 1e-5  # what makes a projection on a convex set


@pytest.mark.parametrize("error", [0.0, 0.05])
def test_the_kernel_that_blurred_a_picture_is_found(error):
    x, kernel = photo().movedim(-1, 1) * 2 - 1, motion_kernel(11, 0.5, 1).float()
    y = shaken(x, kernel, 0.02)
    pictures = torch.cat([x + error * torch.randn(x.shape, generator=torch.Generator().manual_seed(i)) for i in (1, 2)])
    found = likeliest_kernel(pictures, y, torch.full((15, 15), 1 / 225), error)
    assert likeness(found, kernel) > 0.93 and float(found.sum()) == pytest.approx(1, abs=1e-4) and found.min() >= 0


@pytest.mark.parametrize("factor", [2, 3])
def test_the_kernel_that_blurred_a_picture_before_it_became_small_is_found(factor):
    x, kernel = photo()[:, :63, :63].movedim(-1, 1) * 2 - 1, motion_kernel(11, 0.5, 1).float()
    smaller = operators.SuperResolution((3, 63, 63), factor)
    found = likeliest_kernel(x, smaller(shaken(x, kernel, 0.0)), torch.full((15, 15), 1 / 225), 0.01, smaller)
    assert likeness(found, kernel) > 0.9 and float(found.sum()) == pytest.approx(1, abs=1e-4) and found.min() >= 0


@pytest.mark.parametrize("whole", [True, False])
def test_a_kernel_is_moved_to_its_centre_of_mass(whole):
    kernel = torch.zeros(9, 9)
    kernel[1, 6:8], kernel[8, 0] = torch.tensor([0.6, 0.4]), 0.01
    moved = centred(kernel, 0.05, whole)
    places = torch.arange(9.0) - 4
    off = torch.stack([(moved.sum(1 - i) * places).sum() for i in (0, 1)])
    assert off.abs().max() < (0.5 if whole else 1e-5) and float(moved.sum()) == pytest.approx(1)
    assert (moved > 0).sum() == (2 if whole else 3)


def test_what_is_seen_near_the_round_s_level_tells_the_kernel():
    """Far from it a denoiser may see something else."""
    x, kernel = photo().movedim(-1, 1) * 2 - 1, motion_kernel(11, 0.5, 1).float()
    y, rounds, doubts = shaken(x, kernel, 0.02), [], []

    def expect(guess: KernelGuess, i: int, doubt: float) -> list[tuple[torch.Tensor, float]]:
        rounds.append(i)
        doubts.append(doubt)
        return [(-x, 0.99), (x, 0.58 * 0.345 ** (i / 6)), (y, 0.05)]

    found = find_kernel(y, 16, expect)
    assert found.kernel.shape == (15, 15) and likeness(found.kernel, kernel) > 0.97
    assert (
        rounds == list(range(7)) and doubts == sorted(doubts, reverse=True) and str(found).startswith("free kernel, ")
    )


def prompt(kind: str, sigma: float) -> dict:
    return {
        "photo": node("LoadImage", image="soft.png"),
        "prior": node("PSLD_LoadLDM", ckpt_name=EMBEDDED),
        "blur": node("PSLD_EstimateBlur", image=["photo", 0], model=["prior", 0], vae=["prior", 1], kind=kind,
                     largest=9, sigma=sigma, steps=6, seed=0),
        "measure": node("PSLD_MeasurementFromImage", image=["photo", 0], operator=["blur", 0], sigma=0.02),
        "kernel": node("PreviewImage", images=["blur", 1]),
        "known": node("PreviewImage", images=["measure", 1]),
    }  # fmt: skip


@pytest.mark.slow
def test_the_defocus_of_a_hand_is_found():
    model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    (operator,) = call("DefocusBlur", radius=3.0, boundary="reflect")
    picture = call("Measure", image=photo(), operator=operator, noise="gaussian", sigma=0.02, seed=0)[1]
    found = call("EstimateBlur", image=picture, model=model, vae=vae, kind="defocus", largest=9, sigma=0.02, steps=8,
                 seed=0)[2]  # fmt: skip
    assert abs(float(found.split()[-2]) - 3) < 0.4, found


@pytest.mark.slow
def test_the_straight_shake_of_a_hand_is_found():
    model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    picture = image_from_pixels(shaken(photo().movedim(-1, 1) * 2 - 1, line_kernel(7, 30), 0.02))
    found = call("EstimateBlur", image=picture, model=model, vae=vae, kind="motion", largest=15, sigma=0.02, steps=8,
                 seed=0)[2]  # fmt: skip
    numbers = [float(word) for word in found.split() if word.replace(".", "").isdigit()]
    assert abs(numbers[0] - 7) < 0.7 and abs(numbers[1] - 30) < 5, found


@pytest.mark.slow
def test_a_crooked_shake_of_a_hand_is_found():
    model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    kernel = motion_kernel(13, 0.5, 2)
    picture = image_from_pixels(shaken(photo().movedim(-1, 1) * 2 - 1, kernel, 0.02))
    settings = dict(image=picture, model=model, vae=vae, kind="free", largest=17, sigma=0.02, steps=8, seed=0)
    operator, spread, found = call("EstimateBlur", **settings)
    assert likeness(spread[0, ..., 0], kernel) > 0.9, found
    assert operator((3, 64, 64)).linear and spread.max() == 1
    sharp = call("EstimateBlur", **settings | {"image": photo()})[1]
    assert sharp[..., 0].sum() < 1.5  # of a peak of 1


@pytest.mark.slow
def test_the_blur_of_a_photo_that_became_small_is_found_and_the_operator_enlarges():
    model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    (shake,) = call("MotionBlur", kernel_size=9, intensity=0.5, seed=0, boundary="reflect")
    (A,) = call("Compose", first=shake, second=call("SuperResolution", factor=2.0, kernel="bicubic")[0])
    picture = call("Measure", image=photo(), operator=A, noise="gaussian", sigma=0.02, seed=0)[1]
    assert picture.shape == (1, 32, 32, 3)
    operator, spread, found = call("EstimateBlur", image=picture, model=model, vae=vae, kind="free", largest=15,
                                   sigma=0.02, steps=8, seed=0, factor=2)  # fmt: skip
    assert likeness(spread[0, ..., 0], motion_kernel(9, 0.5, 0)) > 0.93, found
    assert found.endswith("in the photo of 2 times the size")
    measurement = call("MeasurementFromImage", image=picture, operator=operator, sigma=0.02)[0]
    assert measurement.operator.linear and measurement.operator.image_shape == (3, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1.3, 0.0])
def test_the_blur_of_a_hand_is_found(run_prompt, comfy_base, sigma):
    hand = photo().movedim(-1, 1) * 2 - 1
    soft = operators.GaussianBlur((3, 64, 64), sigma, 13)(hand) if sigma else hand
    soft = soft + 0.02 * torch.randn(hand.shape, generator=torch.Generator().manual_seed(0))
    levels = (image_from_pixels(soft)[0] * 255).round().byte().numpy()
    Image.fromarray(levels).save(comfy_base / "input" / "soft.png")
    outputs = run_prompt(prompt("Gaussian", 0.02))
    kernel = outputs["blur"][1][0, ..., 0].double()
    spread = float((kernel.sum(1) * (torch.arange(len(kernel)) - len(kernel) // 2) ** 2).sum() / kernel.sum()) ** 0.5
    assert abs(spread - sigma) < (0.2 if sigma else 0.45) and "Gaussian blur, sigma" in outputs["blur"][2]
    assert outputs["measure"][0].operator.linear


def test_a_batch_is_refused_with_a_sentence(run_prompt):
    model, vae, _ = call("LoadLDM", ckpt_name=EMBEDDED)
    with pytest.raises(ValueError, match="image: it is a batch of 2; connect one photo"):
        call("EstimateBlur", image=torch.rand(2, 64, 64, 3), model=model, vae=vae, kind="Gaussian", largest=11,
             sigma=0.02, steps=4, seed=0)  # fmt: skip
