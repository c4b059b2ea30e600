"""Checkpoints whose first stage is an autoencoder of the TAESD family."""

from __future__ import annotations

import comfy.model_patcher
import comfy.taesd.taesd
import pytest
import torch
from psld.runtime.ldm import load_ldm
from psld.runtime.ldm.tiny import TinyAutoencoder, tiny_config
from psld.tests.ldm import SMALL, STAGE, change, photo, sample, save, small_weights

pytestmark = pytest.mark.usefixtures("single_thread")


def config(**first_stage: object) -> dict:
    stage = {"embed_dim": 6, "width": 8, "pooled": True} | first_stage
    params = change(SMALL, in_channels=stage["embed_dim"], out_channels=stage["embed_dim"])
    return params | {"first_stage_config": {"params": stage}}


@pytest.fixture
def tiny(tmp_path):
    return load_ldm(save(tmp_path, small_weights(config()), config()))


def test_its_vae_says_what_it_is(tiny):
    model, vae = tiny
    assert (vae.latent_channels, vae.spacial_compression_encode(), vae.spacial_compression_decode()) == (6, 8, 8)
    assert type(vae.patcher) is comfy.model_patcher.ModelPatcher and vae.patcher.model is vae.first_stage_model
    assert vae.memory_used_decode((1, 6, 8, 8), torch.float32) == vae.memory_used_encode((1, 3, 64, 64), torch.float32)
    latent_format = model.get_model_object("latent_format")
    assert latent_format.scale_factor == 0.5 and len(latent_format.latent_rgb_factors) == 6


def test_it_samples_encodes_and_decodes_by_stock_nodes(tiny):
    model, vae = tiny
    with torch.inference_mode():
        image = vae.decode(sample(model, torch.zeros(1, 6, 4, 4)))
        latent = vae.encode(photo())
    assert image.shape == (1, 32, 32, 3) and 0 <= float(image.min()) and float(image.max()) <= 1
    assert latent.shape == (1, 6, 8, 8)


def test_pixels_are_signed_outside_and_from_0_to_1_inside(tiny):
    stage = tiny[1].first_stage_model
    x = photo().movedim(-1, 1) * 2 - 1
    torch.testing.assert_close(stage.encode(x), stage.encoder(photo().movedim(-1, 1)))
    z = torch.randn(1, 6, 4, 4)
    torch.testing.assert_close(stage.decode(z), stage.decoder(z) * 2 - 1)


def test_gradients_come_through_it(tiny):
    stage = tiny[1].first_stage_model
    z = torch.randn(1, 6, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(stage.encode(stage.decode(z)).square().sum(), z)
    assert gradient.isfinite().all() and float(gradient.norm()) > 0


def test_without_pooling_it_is_comfyuis_own():
    torch.manual_seed(0)
    ours = TinyAutoencoder(4)
    theirs = comfy.taesd.taesd.TAESD(latent_channels=4)
    halves = {f"taesd_{key}": tensor for key, tensor in ours.state_dict().items()}
    theirs.load_state_dict(halves | {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)})
    x, z = torch.rand(1, 3, 32, 32) * 2 - 1, torch.randn(1, 4, 4, 4)
    torch.testing.assert_close(ours.encode(x), theirs.encode(x))
    torch.testing.assert_close(ours.decode(z), theirs.decode(z))


@pytest.mark.parametrize("keywords", [
    {"embed_dim": 32, "width": 64, "pooled": True, "halvings": 3, "blocks": 3},
    {"embed_dim": 4, "width": 8, "pooled": False, "halvings": 2, "blocks": 2},
])  # fmt: skip
def test_the_architecture_is_read_off_the_weights(keywords):
    weights = TinyAutoencoder(**keywords).state_dict()
    assert tiny_config(weights) == keywords
    z = TinyAutoencoder(**keywords).encode(torch.zeros(1, 3, 32, 32))
    assert z.shape == (1, keywords["embed_dim"], *2 * (32 >> keywords["halvings"],))


@pytest.mark.parametrize(("lost", "message"), [
    ("encoder.", "has no encoder"), ("decoder.", "has no decoder"),
    ("encoder.7.conv.2.weight", "first stage of this checkpoint lacks 1 weights, first encoder.7.conv.2.weight"),
])  # fmt: skip
def test_an_incomplete_one_is_refused(tmp_path, lost, message):
    weights = {key: tensor for key, tensor in small_weights(config()).items() if not key.startswith(STAGE + lost)}
    with pytest.raises(ValueError, match=message):
        load_ldm(save(tmp_path, weights, config()))
