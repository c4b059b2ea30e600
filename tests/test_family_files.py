"""Families of models as files: ComfyUI's loaders detect them, and its executor restores with them."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from psld.tests.families import ALL
from psld.tests.family_files import FILES, write, write_vae
from psld.tests.prompts import Failed, node

import nodes

pytestmark = [pytest.mark.usefixtures("single_thread"), pytest.mark.slow]


class Text:
    """What a text encoder of a family says; the encoders themselves are no part of what is tested."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "encode", "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"width": ("INT", {"max": 10000}), "pooled": ("INT", {"max": 10000})}}

    def encode(self, width: int, pooled: int) -> tuple[list]:
        generator = torch.Generator().manual_seed(0)
        extra = {"pooled_output": torch.randn(1, pooled, generator=generator)} if pooled else {}
        return ([[torch.randn(1, 4, width, generator=generator), extra]],)


@pytest.fixture(scope="module", autouse=True)
def text_node():
    nodes.NODE_CLASS_MAPPINGS["TestText"] = Text
    yield
    del nodes.NODE_CLASS_MAPPINGS["TestText"]


def loaders(family, folder) -> tuple[dict, list, list]:
    """Nodes that load a family, its MODEL and its VAE."""
    name, alone = write(family, folder)
    text = {"text": node("TestText", width=family.text, pooled=family.pooled or 0)}
    if not alone:
        return text | {"load": node("CheckpointLoaderSimple", ckpt_name=name)}, ["load", 0], ["load", 2]
    vae = {"vae": node("VAELoader", vae_name=write_vae(family, folder))}
    return text | vae | {"load": node("UNETLoader", unet_name=name, weight_dtype="default")}, ["load", 0], ["vae", 0]


def restoration(model: list, vae: list, method: str) -> dict:
    """One step for a picture with a hole."""
    sampler = dict(model=model, vae=vae, measurement=["measure", 0], positive=["text", 0], method=method, seed=1)
    sampler |= dict(steps=1, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, candidates=1)
    return {
        "photo": node("LoadImage", image="family.png"),
        "operator": node("PSLD_InpaintBox", width=16, height=16, left=8, top=24, margin=0, seed=0),
        "measure": node(
            "PSLD_Measure", image=["photo", 0], operator=["operator", 0], noise="gaussian", sigma=0.05, seed=1
        ),
        "psld": node("PSLD_KSampler", **sampler),
        "see": node("PreviewImage", images=["psld", 1]),
    }


def stock(model: list, vae: list, family) -> dict:
    """The stock KSampler and VAE Decode."""
    latent = "EmptySD3LatentImage" if family.latents[0] == 16 else "EmptyLatentImage"
    sampler = dict(seed=5, steps=1, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0)
    return {
        "empty": node(latent, width=family.side, height=family.side, batch_size=1),
        "ksampler": node("KSampler", model=model, positive=["text", 0], negative=["text", 0],
                         latent_image=["empty", 0], **sampler),
        "decode": node("VAEDecode", samples=["ksampler", 0], vae=vae),
        "see": node("PreviewImage", images=["decode", 0]),
    }  # fmt: skip


@pytest.mark.parametrize("family", FILES, ids=lambda family: family.name)
def test_families_as_files(family, run_prompt, executor, comfy_base):
    load, model, vae = loaders(family, comfy_base / "models")
    picture = Image.linear_gradient("L").resize((family.side, family.side)).convert("RGB")
    picture.save(comfy_base / "input" / "family.png")

    def run(prompt: dict) -> dict:
        return run_prompt(load | prompt)

    try:
        if family.works != ALL:
            with pytest.raises(Failed, match=family.works):
                run(restoration(model, vae, "Glued MAP"))
            return
        outputs = run(stock(model, vae, family))
        assert type(outputs["load"][0].model.model_config).__name__ == family.config
        pictures = [run(restoration(model, vae, method))["psld"][1] for method in ("Glued MAP", "PSLD")]
        assert all(p.shape == (1, family.side, family.side, 3) and torch.isfinite(p).all() for p in pictures)
        assert not torch.equal(*pictures)
        before, again = (o["ksampler"][0]["samples"] for o in (outputs, run(stock(model, vae, family))))
        assert again is not before and torch.equal(again, before)
    finally:
        executor.reset()  # or its cache keeps the model
