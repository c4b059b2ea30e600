"""The bridge: gradients through ComfyUI's own models inside its executor, and nothing left changed afterwards."""

from __future__ import annotations

from contextlib import contextmanager

import comfy.utils
import pytest
import safetensors.torch
import torch
from PIL import Image
from psld.nodes.loading import PRIORS
from psld.runtime.autograd import differentiable
from psld.runtime.ldm import load_ldm
from psld.tests.checkpoints import write_sd15
from psld.tests.prompts import Failed, node

import nodes

SAMPLE = "gradient.png"
LORA = "random_lora.safetensors"


@pytest.fixture(scope="module", autouse=True)
def files(comfy_base):
    """A 64 px picture, a checkpoint of the real SD 1.5 architecture and a LoRA for it, where ComfyUI looks for them."""
    ramp = torch.linspace(0, 255, 64).expand(64, 64)
    picture = torch.stack([ramp, ramp.T, 255 - ramp], dim=-1).byte().numpy()
    Image.fromarray(picture).save(comfy_base / "input" / SAMPLE)
    write_sd15(comfy_base / "models" / "checkpoints")
    loras = comfy_base / "models" / "loras"
    loras.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    weights = {
        f"{name}.lora_up.weight": torch.randn(1280, 4, generator=generator),
        f"{name}.lora_down.weight": torch.randn(4, 1280, generator=generator),
        f"{name}.alpha": torch.tensor(4.0),
    }
    safetensors.torch.save_file(weights, loras / LORA)


def restoration(prior: str, steps: int = 2, gamma: float = 0.1, omega: float = 0.1, lora: bool = False) -> dict:
    """PSLD of a box-inpainted picture by the embedded prior ("ldm") or SD 1.5, as an API-format prompt."""
    model, vae = ["load", 0], ["load", 1 if prior == "ldm" else 2]
    prompt = loader(prior) | {
        "photo": node("LoadImage", image=SAMPLE),
        "operator": node("PSLD_InpaintBox", width=16, height=16, left=8, top=24, margin=0, seed=0),
        "measure": node(
            "PSLD_Measure", image=["photo", 0], operator=["operator", 0], noise="gaussian", sigma=0.05, seed=1
        ),
    }
    if lora:
        prompt["lora"] = node("LoraLoaderModelOnly", model=model, lora_name=LORA, strength_model=1.0)
        model = ["lora", 0]
    sampler = dict(model=model, vae=vae, measurement=["measure", 0], seed=3, steps=steps, cfg=1.0, scheduler="karras")
    sampler |= dict(gamma=gamma, omega=omega, method="PSLD")
    if prior == "sd15":
        sampler |= dict(positive=["text", 0])
    prompt["psld"] = node("PSLD_KSampler", **sampler)
    prompt["picture"] = node("PreviewImage", images=["psld", 1])
    return prompt


def loader(prior: str) -> dict:
    if prior == "ldm":
        return {"load": node("PSLD_LoadLDM", ckpt_name="[embedded] hands64.safetensors")}
    return {
        "load": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly-fp16.safetensors"),
        "text": node("CLIPTextEncode", clip=["load", 1], text="a hand"),
    }


def stock(prior: str) -> dict:
    """Two steps of the stock KSampler and VAE Decode."""
    text = ["load", 2] if prior == "ldm" else ["text", 0]
    vae = ["load", 1 if prior == "ldm" else 2]
    sampler = dict(seed=5, steps=2, cfg=1.0, sampler_name="euler", scheduler="normal", denoise=1.0)
    return loader(prior) | {
        "empty": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "ksampler": node(
            "KSampler", model=["load", 0], positive=text, negative=text, latent_image=["empty", 0], **sampler
        ),
        "decode": node("VAEDecode", samples=["ksampler", 0], vae=vae),
        "picture": node("PreviewImage", images=["decode", 0]),
    }


def stock_output(run_prompt, prior: str) -> torch.Tensor:
    return run_prompt(stock(prior))["decode"][0].clone()


@contextmanager
def at_second_step(action):
    """Does something, as the server might, when the second step of a run is reported."""

    def hook(value, total, preview=None, **_):
        if value == 2:
            action()

    comfy.utils.set_progress_bar_global_hook(hook)
    try:
        yield
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
        nodes.interrupt_processing(False)


def fail():
    raise RuntimeError("the disk is full")


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["ldm", "sd15"])
def test_the_stock_sampler_is_bit_equal_after_a_run_an_error_and_a_cancel(prior, executor, run_prompt):
    executor.reset()
    fresh = stock_output(run_prompt, prior)

    executor.reset()
    restored = run_prompt(restoration(prior))["psld"][1]
    assert restored.shape == (1, 64, 64, 3) and torch.isfinite(restored).all()
    assert torch.equal(stock_output(run_prompt, prior), fresh)

    with pytest.raises(Failed, match="the disk is full"), at_second_step(fail):
        run_prompt(restoration(prior, steps=3))
    assert torch.equal(stock_output(run_prompt, prior), fresh)

    with pytest.raises(Failed, match="execution_interrupted"), at_second_step(lambda: nodes.interrupt_processing(True)):
        run_prompt(restoration(prior, steps=20, gamma=0.2))
    assert torch.equal(stock_output(run_prompt, prior), fresh)


@pytest.mark.slow
def test_a_lora_reaches_the_restoration_and_leaves_with_it(executor, run_prompt):
    executor.reset()
    fresh = stock_output(run_prompt, "sd15")

    def restored(lora: bool) -> torch.Tensor:
        prompt = restoration("sd15", gamma=50.0, omega=50.0, lora=lora)
        prompt["psld"]["inputs"]["method"] = "PSLD reference"  # unbounded steps, which small changes move
        return run_prompt(prompt)["psld"][0]["samples"]

    plain, patched = restored(lora=False), restored(lora=True)
    assert torch.isfinite(patched).all() and not torch.allclose(plain, patched)
    assert torch.equal(stock_output(run_prompt, "sd15"), fresh)


def test_same_seed_same_image(executor, run_prompt):
    executor.reset()
    first = run_prompt(restoration("ldm"))["psld"][1].clone()
    executor.reset()
    assert torch.equal(run_prompt(restoration("ldm"))["psld"][1], first)


def test_weights_are_aliased_and_put_back():
    with torch.inference_mode():
        module = torch.nn.Linear(3, 3)
        module.register_buffer("offset", torch.ones(3))
    before = {**module._parameters, **module._buffers}
    with pytest.raises(KeyError), torch.inference_mode(), differentiable([module]):
        assert not module.weight.is_inference() and not module.weight.requires_grad
        assert module.weight.data_ptr() == before["weight"].data_ptr()
        x = torch.ones(1, 3, requires_grad=True)
        assert torch.autograd.grad((module(x) * module.offset).sum(), x)[0].abs().sum() > 0
        raise KeyError
    after = {**module._parameters, **module._buffers}
    assert all(after[name] is before[name] for name in before)


def test_a_patch_without_a_gradient_is_named_as_the_cause():
    model, vae = load_ldm(PRIORS / "hands64.safetensors")
    model.set_model_unet_function_wrapper(
        lambda apply_model, a: apply_model(a["input"], a["timestep"], **a["c"]).detach()
    )
    with pytest.raises(RuntimeError, match="model, vae: .* a model patch .* may have no gradient"):
        denoise(model, vae)


@pytest.mark.parametrize(("cfg", "branches"), [(1.0, 1), (2.0, 2)])
def test_cfg_1_runs_one_branch(cfg, branches):
    model, vae = load_ldm(PRIORS / "hands64.safetensors")
    seen = []

    def count(apply_model, arguments):
        seen.append(len(arguments["cond_or_uncond"]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(count)
    denoise(model, vae, cfg)
    assert sum(seen) == 2 * branches


def denoise(model, vae, cfg: float = 1.0) -> None:
    """Two steps of the PSLD KSampler, called directly."""
    text = [[torch.zeros(1, 1, 1), {}]]
    Measure, KSampler = (nodes.NODE_CLASS_MAPPINGS[f"PSLD_{name}"] for name in ("Measure", "KSampler"))
    operator = nodes.NODE_CLASS_MAPPINGS["PSLD_Denoise"].execute().args[0]
    measurement = Measure.execute(torch.rand(1, 64, 64, 3), operator, "gaussian", 0.05, 0).args[0]
    KSampler.execute(model, vae, measurement, 0, 2, cfg, "karras", 0.1, 0.1, "PSLD", positive=text, negative=text)
