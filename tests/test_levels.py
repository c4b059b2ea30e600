"""The noise levels that a run goes through."""

from __future__ import annotations

import comfy.model_sampling
import comfy.samplers
import pytest
import torch
from psld.nodes.loading import PRIORS
from psld.runtime.ldm import load_ldm
from psld.runtime.levels import noise_levels, schedulers, spaced
from psld.solvers import METHODS


@pytest.fixture(scope="module")
def model():
    with torch.inference_mode():
        return load_ldm(PRIORS / "hands64.safetensors")[0]


@pytest.mark.parametrize("name", METHODS)
def test_auto_gives_each_method_what_it_asks_for(model, name):
    method = METHODS[name]
    sigmas = noise_levels(model, "auto", 12, method)
    assert sigmas[-1] == 0 and (sigmas.diff() <= 0).all()
    if method.levels is None:
        assert torch.equal(sigmas, noise_levels(model, "ddim_uniform", 12, method))
    else:
        assert len(sigmas) == 13 and len(sigmas.unique()) == (2 if method.levels[0] == method.levels[1] else 13)
        assert (float(sigmas[0]), float(sigmas[-2])) == pytest.approx(method.levels)


@pytest.mark.parametrize("scheduler", schedulers()[1:])
def test_other_schedulers_are_comfyuis(model, scheduler):
    sampling = model.get_model_object("model_sampling")
    sigmas = noise_levels(model, scheduler, 7, METHODS["Glued MAP"])
    assert torch.equal(sigmas, comfy.samplers.calculate_sigmas(sampling, scheduler, 7))


def test_levels_stay_within_those_of_training(model):
    sampling = model.get_model_object("model_sampling")
    sigmas = spaced(sampling, 5, 1e6, 1e-6)
    assert float(sigmas[0]) == pytest.approx(float(sampling.sigma_max))
    assert float(sigmas[-2]) == pytest.approx(float(sampling.sigma_min))


def test_a_flow_model_gets_the_same_levels_in_its_own_terms():
    class Flow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    s = spaced(Flow(), 9, 10.0, 0.1)[:-1]
    ratio = s / (1 - s)
    assert (float(ratio[0]), float(ratio[-1])) == pytest.approx((10.0, 0.1), rel=1e-3)


def test_an_unknown_scheduler_is_refused(model):
    with pytest.raises(ValueError, match="scheduler: 'magic' is not one of auto"):
        noise_levels(model, "magic", 5, METHODS["PSLD"])
