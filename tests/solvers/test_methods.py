"""What every method owes, whatever its algorithm: on one pixel-space prior, at few steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from psld.operators import GaussianBlur, HighDynamicRange, InpaintRandom
from psld.operators.measurement import Measurement
from psld.solvers import METHODS, Autoencoder, LatentModel, NoiseSource
from psld.solvers.linearised import Linearised
from psld.tests.solvers.gaussian import levels, randn
from torch import Tensor

SHAPE = (1, 8, 8)
SMOOTH = GaussianBlur(SHAPE, sigma=1.0, kernel_size=5)
SIGMAS = levels(8, high=5.0)
FEW = {"LatentDAPS": dict(ode_steps=1)}
"""Levels inside the ODE are not the same in the two forms of a model."""


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    """Exact for pixels that are N(0, A A) of a blur A: neighbours are alike, which no method may know better."""
    return SMOOTH.filter(x, lambda s: s**2 / (s**2 + sigma**2))


MODEL = LatentModel(denoise, encode=lambda x: x, decode=lambda x: x)


def measure(operator, batch: int = 3, sigma_y: float = 0.1) -> Measurement:
    y = operator(SMOOTH(randn(batch, *SHAPE, seed=1)))
    return Measurement(operator.restrict(y + sigma_y * randn(*y.shape, seed=2)), operator, sigma_y)


def start(batch: int = 3) -> Tensor:
    return randn(batch, *SHAPE, seed=3) * SIGMAS[0]


@pytest.mark.parametrize("name", METHODS)
def test_the_same_start_gives_the_same_image_and_rounding_does_not_matter(name):
    measurement, solve = measure(SMOOTH), METHODS[name].solve
    image = solve(MODEL, measurement, start(), SIGMAS)
    assert torch.isfinite(image).all()
    assert torch.equal(solve(MODEL, measurement, start(), SIGMAS), image)
    rounded = solve(MODEL, measurement, start().float().double(), SIGMAS)
    torch.testing.assert_close(rounded, image, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "PSLD reference"])
def test_a_batch_equals_its_single_runs(name):
    """Each with its own noise."""
    levels, solve = torch.tensor([0.05, 0.1, 0.3], dtype=torch.float64), METHODS[name].solve
    measurement = replace(measure(SMOOTH), sigma_y=levels)
    batch = solve(MODEL, measurement, start(), SIGMAS)
    for i in range(3):
        single = Measurement(measurement.y[i, None], SMOOTH, float(levels[i]))
        torch.testing.assert_close(solve(MODEL, single, start()[i, None], SIGMAS), batch[i, None])


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if "chunk" in method.parameters])
def test_candidates_run_together_or_apart_with_the_same_result(name):
    measurement, sizes = measure(SMOOTH), []
    model = replace(MODEL, denoise=lambda z, sigma: (sizes.append(len(z)), denoise(z, sigma))[1])

    def solve(chunk: int) -> tuple[Tensor, int]:
        sizes.clear()
        return METHODS[name].solve(model, measurement, start(), SIGMAS, candidates=4, chunk=chunk), max(sizes)

    together, apart = solve(chunk=0), solve(chunk=1)
    torch.testing.assert_close(together[0], apart[0])
    assert (together[1], apart[1], solve(chunk=3)[1]) == (12, 3, 9)


@pytest.mark.parametrize("name", METHODS)
def test_a_flow_model_of_the_same_prior_gives_the_same_image(name):
    """z = (1 - s) z0 + s noise is the variance-exploding z at sigma = s / (1 - s), scaled."""
    flow = LatentModel(
        lambda z, s: denoise(z / (1 - s), s / (1 - s)), MODEL.encode, MODEL.decode, signal=lambda s: 1 - s
    )
    measurement, solve, few = measure(SMOOTH), METHODS[name].solve, FEW.get(name, {})
    exploding = solve(MODEL, measurement, start(), SIGMAS, **few)
    image = solve(flow, measurement, start() / (1 + SIGMAS[0]), SIGMAS / (1 + SIGMAS), **few)
    torch.testing.assert_close(image, exploding, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["Glued MAP", "Proximal gluing", "Local MAP", "MMPS", "DDRM", "ReSample", "LatentDAPS"]
)
def test_known_pixels_are_kept_where_there_is_no_noise(name):
    measurement = measure(InpaintRandom(SHAPE, drop=0.5), sigma_y=0.0)
    settings = {"MMPS": dict(iterations=12), "ReSample": dict(latent_iterations=200)}.get(name, {})
    image = METHODS[name].solve(MODEL, measurement, start(), SIGMAS, **settings)
    assert measurement.residual(image).abs().max() < 0.02
    unknown = image[measurement.y == 0]
    assert unknown.abs().max() < 3 and unknown.std() > 0.05


NON_LINEAR = [name for name, m in METHODS.items() if not (m.linear_only or m.proximal_only)]


@pytest.mark.parametrize("name", NON_LINEAR)
def test_a_method_that_claims_non_linear_operators_lowers_their_residual(name):
    measurement = measure(HighDynamicRange(SHAPE))
    gentle = {"omega": 0.01} if "omega" in METHODS[name].parameters else {}  # eight steps of 125 each
    image = METHODS[name].solve(MODEL, measurement, start(), SIGMAS, **gentle)
    before, after = measurement.rms_residual(denoise(start(), SIGMAS[0])), measurement.rms_residual(image)
    assert (after < 0.8 * before).all()


def test_mmps_survives_a_denoiser_whose_covariance_is_all_but_singular():
    """At the first level V = -0.999 sigma_y^2: the system of an identity is then 0.001 sigma_y^2, its solution huge."""

    def treacherous(z: Tensor, sigma: Tensor) -> Tensor:
        return -0.999 * 0.1**2 / sigma**2 * z if sigma == SIGMAS[0] else denoise(z, sigma)

    model, measurement, seen = replace(MODEL, denoise=treacherous), measure(InpaintRandom(SHAPE, drop=0.5)), []
    image = METHODS["MMPS"].solve(model, measurement, start(), SIGMAS, callback=seen.append)
    share = SIGMAS[1] / SIGMAS[0]
    z0 = (seen[0].z - share * start()) / (1 - share)
    moved = (z0 - seen[0].z0_hat).square().mean().sqrt() / MODEL.spread(SIGMAS[0])
    assert 1.9 < moved < 2.1  # else 30 times the range of the pixels
    assert image.std() < 2


@pytest.mark.parametrize("name", METHODS)
def test_every_step_is_reported(name):
    seen = []
    METHODS[name].solve(MODEL, measure(SMOOTH), start(), SIGMAS, callback=seen.append)
    assert [step.index for step in seen] == list(range(8))
    assert [float(step.sigma) for step in seen] == SIGMAS[:-1].tolist()
    assert all(step.x0_hat.shape == (3, *SHAPE) and not step.z.requires_grad for step in seen)


def watched(passed: set[str], draft: bool = False) -> LatentModel:
    """MODEL, which notes in `passed` the parts that back-propagation came through."""

    class Watch(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor, where: str) -> Tensor:
            ctx.where = where
            return x.clone()

        @staticmethod
        def backward(ctx, gradient: Tensor):
            passed.add(ctx.where)
            return gradient, None

    return LatentModel(
        lambda z, sigma: Watch.apply(denoise(z, sigma), "denoiser"),
        MODEL.encode,
        lambda z0: Watch.apply(z0, "decoder"),
        draft=Autoencoder(MODEL.encode, lambda z0: Watch.apply(z0, "draft")) if draft else None,
    )


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_used_where_they_are_declared_and_nowhere_else(name):
    method, passed = METHODS[name], set()
    method.solve(watched(passed), measure(SMOOTH), start(), SIGMAS)
    declared = {"denoiser": method.through_denoiser, "decoder": method.through_decoder}
    assert passed == {part for part, used in declared.items() if used}


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.takes_draft])
def test_a_draft_takes_the_gradients_of_the_decoder_and_changes_nothing_where_it_is_as_good(name):
    method, passed = METHODS[name], set()
    z = method.solve(watched(passed, draft=True), measure(SMOOTH), start(), SIGMAS)
    assert passed == ({"draft", "denoiser"} if method.through_denoiser else {"draft"})
    torch.testing.assert_close(z, method.solve(MODEL, measure(SMOOTH), start(), SIGMAS))


def test_a_draft_says_where_to_go_and_the_decoder_where_one_is():
    crude = replace(MODEL, decode=lambda z0: z0 + 0.3 * z0**2, draft=Autoencoder(lambda x: x, lambda z0: 2 * z0))
    z0, u = start(), randn(3, *SHAPE, seed=7)
    h = Linearised(crude, measure(SMOOTH), z0)
    torch.testing.assert_close(h.x0, z0 + 0.3 * z0**2)
    torch.testing.assert_close(h.forward(u), 2 * SMOOTH(u), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(h.transpose(SMOOTH(u)), 2 * SMOOTH.adjoint(SMOOTH(u)), atol=1e-4, rtol=1e-4)


def test_parameters_are_read_off_the_solver():
    assert METHODS["PSLD"].parameters == {"gamma": 0.1, "omega": 1.0}
    assert list(METHODS["LDPS"].parameters) == ["omega"]
    assert list(METHODS["Proximal gluing"].parameters) == ["c", "eta", "temperature", "candidates", "chunk", "faithful"]


@pytest.mark.parametrize(
    ("operator", "latent", "message"),
    [
        (GaussianBlur(SHAPE, 1.0, 5), (4, 2, 2), "DDRM restores pixels"),
        (HighDynamicRange(SHAPE), SHAPE, "HighDynamicRange has none"),
    ],
)
def test_ddrm_refuses_in_a_sentence(operator, latent, message):
    with pytest.raises(ValueError, match=message):
        METHODS["DDRM"].solve(MODEL, measure(operator), randn(3, *latent, seed=0), SIGMAS)


def test_fresh_noise_is_standard_normal_and_new_each_time():
    source = NoiseSource(start(batch=64))
    first, second = source.like(torch.zeros(64, 500)), source.like(torch.zeros(64, 500))
    for noise in (first, second):
        assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02
    correlation = torch.corrcoef(torch.cat([first, second])).fill_diagonal_(0)
    assert correlation.abs().max() < 0.25
