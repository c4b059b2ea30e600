"""Outliers count little, by themselves and in a restoration by the embedded prior."""

from __future__ import annotations

import pytest
import torch
from psld import operators as ops
from psld.nodes.metrics import psnr
from psld.operators.discrepancy import fit_to_noise_level
from psld.operators.measurement import Measurement
from psld.tests.prompts import call
from psld.tests.test_measurement_nodes import hand
from psld.tests.test_photo import EMBEDDED

SHAPE = (3, 32, 32)


def spoilt(A: ops.LinearOperator, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A smooth x, y with noise of 0.05 and 2 % wrong values, and where those are."""
    x = ops.GaussianBlur(SHAPE, 3.0, 13)(torch.rand(batch, *SHAPE)) - 0.5
    y = A(x) + 0.05 * torch.randn(batch, *A.measurement_shape)
    wrong = A.restrict((torch.rand_like(y) < 0.02).float()) > 0
    return x, torch.where(wrong, 0.9, y), wrong


@pytest.mark.parametrize(
    "A",
    [ops.Identity(SHAPE), ops.InpaintRandom(SHAPE, drop=0.5), ops.GaussianBlur(SHAPE, 1.0, 7)],
    ids=["all", "half", "blurred"],
)
def test_what_is_far_from_all_that_is_expected_counts_little(A):
    x, y, wrong = spoilt(A)
    robust = ops.Robust(A, 0.05)
    residual, plain = robust.residual(y, x), A.residual(y, x)
    assert residual[wrong].abs().max() < 0.06 < plain[wrong].abs().min()
    near = plain.abs() < 0.1
    torch.testing.assert_close(residual[near], plain[near])
    x0 = x + 0.05 * torch.randn_like(x)
    for i in range(2):  # a batch equals its single runs
        torch.testing.assert_close(robust.prox(x0, y, 4.0)[i, None], robust.prox(x0[i, None], y[i, None], 4.0))
    errors = [(B.prox(x0, y, 4.0) - x).square().mean() for B in (robust, A)]
    assert errors[0] < 0.5 * errors[1]


def test_a_fit_to_the_noise_leaves_what_is_wrong_alone():
    A = ops.Identity(SHAPE)
    x, y, _ = spoilt(A)
    x0 = x + 0.1
    fitted = [fit_to_noise_level(Measurement(y, B, 0.05), x0) for B in (ops.Robust(A, 0.05), A)]
    errors = [float((u - x).square().mean().sqrt()) for u in fitted]
    assert errors[0] < 0.7 * errors[1]


def test_black_and_white_may_have_been_cut_off():
    x = torch.tensor([1.2, 0.9, -1.3, -0.9]).view(1, 1, 2, 2)
    y = torch.tensor([1.0, 1.0, -1.0, -1.0]).view(1, 1, 2, 2)
    residual = ops.Robust(ops.Identity((1, 2, 2)), 0.5).residual(y, x)
    torch.testing.assert_close(residual.flatten(), torch.tensor([0, 0.1, 0, -0.1]))


@pytest.mark.parametrize(("name", "operator"), [("Denoise", {}), ("GaussianBlur", {"sigma": 1.5, "kernel_size": 13})])
def test_a_photo_with_salt_and_pepper_is_restored_far_better(name, operator):
    (A,) = call(name, **operator, **({"boundary": "reflect"} if operator else {}))
    truth = hand().movedim(-1, 1) * 2 - 1
    y = A((3, 64, 64))(truth) + 0.05 * torch.randn_like(truth)
    u = torch.rand(1, 1, 64, 64)
    photo = ((torch.where(u < 0.02, (u < 0.01) * 2.0 - 1, y) + 1) / 2).clamp(0, 1).movedim(1, -1)
    model, vae = call("LoadLDM", ckpt_name=EMBEDDED)[:2]
    settings = dict(seed=0, steps=6, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, method="Proximal gluing")
    found = []
    for outliers in (False, True):
        told = call("MeasurementFromImage", image=photo, operator=A, sigma=0.05, outliers=outliers)[0]
        restored = call("KSampler", model=model, vae=vae, measurement=told, candidates=1, **settings)[1]
        found.append(psnr(restored.movedim(-1, 1) * 2 - 1, truth))
    assert found[1] > found[0] + 3 and found[1] > 24
