"""Estimate Blur: the search by itself, and in the real executor on photos that the embedded prior knows."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from psld import operators
from psld.nodes.types import image_from_pixels
from psld.operators.blur_search import POINT, BlurGuess, find_blur
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


def test_length_and_angle_of_least_cost_are_found():
    def cost(guess: BlurGuess) -> float:
        turned = math.radians(guess.angle - 52)
        return math.log(guess.width / 8) ** 2 + math.sin(turned) ** 2

    found = find_blur("motion", 21, cost)
    assert found.width == pytest.approx(8, rel=0.05) and abs(found.angle - 52) < 4


@pytest.mark.parametrize("kind", POINT)
def test_a_point_that_costs_little_does_not_hide_a_valley(kind):
    """What is no blur fits any photo: the cost of a point may be the least."""

    def cost(guess: BlurGuess) -> float:
        turned = math.sin(math.radians(guess.angle - 45)) ** 2 if kind == "motion" else 0.0
        return min(0.1 + abs(math.log(guess.width / 3.2)) + turned, 0.05 + guess.width / 10)

    found = find_blur(kind, 21, cost)
    assert found.width == pytest.approx(3.2, rel=0.1)


@pytest.mark.parametrize("kind", POINT)
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
