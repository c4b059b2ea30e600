"""A small VAE that takes the gradients: TAESD with random weights beside SD 1.5's VAE, through ComfyUI's executor.

The U-Net is a small one of SD 1.5's kind.
"""

from __future__ import annotations

import comfy.taesd.taesd
import pytest
import safetensors.torch
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from PIL import Image
from psld.solvers import METHODS
from psld.tests.checkpoints import SD15_VAE, random_weights
from psld.tests.family_files import FILES, shapes, write
from psld.tests.prompts import Failed, node
from psld.tests.test_family_files import Text
from psld.training.networks import initialised

import nodes

pytestmark = pytest.mark.slow
SAMPLE, SIDE = "grey.png", 32
SD15 = next(family for family in FILES if family.name == "SD 1.5")


@pytest.fixture(scope="module", autouse=True)
def files(comfy_base):
    """A picture, a checkpoint and both halves of TAESD, where ComfyUI looks for them."""
    Image.new("RGB", (SIDE, SIDE), (90, 120, 150)).save(comfy_base / "input" / SAMPLE)
    with torch.device("meta"):
        first_stage = AutoencoderKL(embed_dim=4, ddconfig=SD15_VAE)
    write(SD15, comfy_base / "models", random_weights(shapes(first_stage), seed=0))
    folder = comfy_base / "models" / "vae_approx"
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    for half in ("Encoder", "Decoder"):
        network = initialised(getattr(comfy.taesd.taesd, half)())
        safetensors.torch.save_file(network.state_dict(), folder / f"taesd_{half.lower()}.safetensors")
    nodes.NODE_CLASS_MAPPINGS["TestText"] = Text
    yield
    del nodes.NODE_CLASS_MAPPINGS["TestText"]


def restoration(method: str, prior: str = "sd15") -> dict:
    """Two steps on a picture with a hole, with the draft VAE, as an API-format prompt.

    LatentDAPS has twenty passes of the decoder in one.
    """
    box = dict(width=8, height=8, left=8, top=16, margin=0, seed=0)
    prompt = {
        "photo": node("LoadImage", image=SAMPLE),
        "operator": node("PSLD_InpaintBox", **box),
        "measure": node(
            "PSLD_Measure", image=["photo", 0], operator=["operator", 0], noise="gaussian", sigma=0.05, seed=1
        ),
        "draft": node("VAELoader", vae_name="taesd"),
        "load": node("PSLD_LoadLDM", ckpt_name="[embedded] hands64.safetensors"),
    }
    sampler = dict(model=["load", 0], vae=["load", 1], measurement=["measure", 0], draft_vae=["draft", 0])
    if prior == "sd15":
        prompt["load"] = node("CheckpointLoaderSimple", ckpt_name=f"tiny {SD15.name}.safetensors")
        prompt["text"] = node("TestText", width=SD15.text, pooled=0)
        sampler |= dict(vae=["load", 2], positive=["text", 0])
    steps = 1 if method == "LatentDAPS" else 2
    sampler |= dict(seed=3, steps=steps, cfg=1.0, scheduler="karras", gamma=-1.0, omega=-1.0)
    sampler |= dict(method=method, candidates=1)
    return prompt | {"psld": node("PSLD_KSampler", **sampler), "see": node("PreviewImage", images=["psld", 1])}


def without_draft(prompt: dict) -> dict:
    del prompt["psld"]["inputs"]["draft_vae"]
    return prompt


@pytest.fixture
def decodings(monkeypatch) -> list[bool]:
    """Whether autograd was asked to come back through the SD decoder, at each of its decodings."""
    seen, decode = [], AutoencoderKL.decode

    def watch(self, z, *args, **kwargs):
        x = decode(self, z, *args, **kwargs)
        seen.append(x.requires_grad)
        return x

    monkeypatch.setattr(AutoencoderKL, "decode", watch)
    return seen


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.takes_draft])
def test_the_draft_takes_the_gradients_and_the_picture_stays_the_vaes(method, run_prompt, decodings):
    drafted = run_prompt(restoration(method))["psld"]
    assert decodings and not any(decodings)
    plain = run_prompt(without_draft(restoration(method)))["psld"]
    assert any(decodings)
    assert torch.isfinite(drafted[1]).all() and drafted[1].shape == plain[1].shape
    assert not torch.equal(drafted[0]["samples"], plain[0]["samples"])


def test_a_method_without_use_for_a_draft_says_so(run_prompt):
    with pytest.raises(Failed, match="draft_vae: this method has no use for one.*Glued MAP"):
        run_prompt(restoration("PSLD"))


def test_a_draft_of_other_latents_is_refused(run_prompt):
    with pytest.raises(Failed, match="draft_vae: its latents have 4 channels of 1/8 of the side, the VAE's 4 .* 1/4"):
        run_prompt(restoration("Glued MAP", prior="ldm"))
