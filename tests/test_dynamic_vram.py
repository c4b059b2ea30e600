"""Dynamic VRAM, which GPUs of 2026 have on: gradients flow through plain weights, and the result is the same.

The pinned ComfyUI has no dynamic VRAM, and none runs on a CPU; `Dynamic` brings its interface (ComfyUI 0.33,
`ModelPatcherDynamic`) to the real patcher, with a handle that nobody may copy.
"""

from __future__ import annotations

import comfy.samplers
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from psld.nodes.loading import PRIORS
from psld.operators.masks import InpaintBox
from psld.operators.measurement import Measurement
from psld.runtime.ldm import load_ldm
from psld.runtime.plain import plain
from psld.runtime.sampler import posterior_sampler

pytestmark = pytest.mark.usefixtures("single_thread")


class Handle:
    """Of a buffer of the driver's."""

    def __deepcopy__(self, memo):
        raise RuntimeError("a handle was copied")


class Dynamic(ModelPatcher):
    """A patcher with the interface of dynamic VRAM."""

    cached_patcher_init = None

    def __init__(self, model, *arguments, **keywords):
        super().__init__(model, *arguments, **keywords)
        model.dynamic_vbars = {"device": Handle()}
        next(model.children())._v = Handle()
        if hasattr(model, "model_config"):  # which ComfyUI 0.33 makes impossible to copy
            model.model_config.__deepcopy__ = Handle().__deepcopy__

    def is_dynamic(self):
        return True

    def clone(self, disable_dynamic=False, model_override=None):
        assert disable_dynamic and model_override is not None, "there is no file to read again"
        twin = ModelPatcher(model_override[0], self.load_device, self.offload_device)
        twin.patches, twin.model_options = self.patches, self.model_options
        return twin


@pytest.fixture
def prior(monkeypatch):
    """The embedded prior's model and VAE."""
    monkeypatch.setattr(ModelPatcher, "get_clone_model_override", lambda self: (self.model, None), raising=False)
    return load_ldm(PRIORS / "hands64.safetensors")


def dynamic(patcher: ModelPatcher) -> Dynamic:
    return Dynamic(patcher.model, patcher.load_device, patcher.offload_device)


def test_the_first_stage_of_a_prior_is_loaded_plainly(prior):
    assert type(prior[1].patcher) is ModelPatcher


def test_what_has_no_file_is_copied_once_without_its_handles(prior):
    patcher = dynamic(prior[1].patcher)
    twin = plain(patcher)
    assert not hasattr(twin.model, "dynamic_vbars") and hasattr(patcher.model, "dynamic_vbars")
    ours, theirs = twin.model.state_dict(), patcher.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert all(ours[key].data_ptr() != theirs[key].data_ptr() for key in theirs)
    assert plain(patcher).model is twin.model


def test_what_has_a_file_is_read_once(prior):
    patcher, twin = dynamic(prior[1].patcher), prior[1].patcher
    patcher.cached_patcher_init = (load_ldm, ())
    patcher.get_non_dynamic_delegate = lambda: twin
    assert plain(patcher) is twin


@pytest.mark.slow
@pytest.mark.parametrize("method", ["Glued MAP", "PSLD"])
def test_any_sampler_node_restores_the_same_under_dynamic_vram(prior, method):
    model, vae = prior
    operator = InpaintBox((3, 64, 64), 16)
    measurement = Measurement(operator(torch.zeros(1, 3, 64, 64)), operator, 0.05)

    def restored(patcher: ModelPatcher) -> torch.Tensor:
        guider = comfy.samplers.CFGGuider(patcher)
        guider.set_conds([[None, {}]], [])
        guider.set_cfg(1.0)
        noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        sampler = posterior_sampler(measurement, vae, method)
        return guider.sample(noise, torch.zeros_like(noise), sampler, torch.tensor([1.0, 0.3, 0.0]), seed=0)

    with torch.inference_mode():
        expected = restored(model)
        vae.patcher = dynamic(vae.patcher)
        assert torch.equal(restored(dynamic(model)), expected)
