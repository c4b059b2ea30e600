"""Every SD 1.5 workflow on a checkpoint of the real architecture with random weights, through the real executor."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from psld.devkit import ROOT, TASKS, trial
from psld.runtime.ldm import load_ldm
from psld.tests.checkpoints import write_sd15
from psld.tests.ldm import sample

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def files(comfy_base: Path) -> None:
    write_sd15(comfy_base / "models" / "checkpoints")
    for picture in (ROOT / "workflows" / "samples").glob("*.png"):
        (comfy_base / "input" / picture.name).write_bytes(picture.read_bytes())


def by_class(workflow: dict, class_type: str) -> dict:
    """Inputs of the only node of a type."""
    (found,) = [node["inputs"] for node in workflow.values() if node["class_type"] == class_type]
    return found


def small(task: str, size: int, steps: int) -> dict:
    """The task's workflow at another size: a picture of 512 px takes minutes on a CPU."""
    workflow = json.loads((ROOT / "workflows" / "api" / f"{trial(task, 'SD 1.5')}.json").read_text())
    by_class(workflow, "ImageScale").update(width=size, height=size)
    by_class(workflow, "PSLD_KSampler").update(steps=steps, candidates=1)  # four are for the embedded prior's tests
    operator = by_class(workflow, by_title(workflow, "operator"))
    shrink = size / 512
    for name, least in (("width", 8), ("height", 8), ("margin", 0), ("kernel_size", 13)):
        if name in operator:
            operator[name] = max(least, int(operator[name] * shrink))
    return workflow


def by_title(workflow: dict, title: str) -> str:
    (found,) = [node["class_type"] for node in workflow.values() if node["_meta"]["title"] == title]
    return found


def sampled(outputs: dict, workflow: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and picture of the PSLD KSampler."""
    (number,) = [number for number, node in workflow.items() if node["class_type"] == "PSLD_KSampler"]
    latent, picture, _ = outputs[number]
    return latent["samples"].clone(), picture


@pytest.mark.parametrize("task", TASKS)
def test_workflow_runs(task, run_prompt):
    """A gradient that is not finite or all zero would end the run with an error."""
    workflow = small(task, size=64, steps=2)
    guided, picture = sampled(run_prompt(workflow), workflow)
    assert torch.isfinite(guided).all() and picture.shape == (1, 64, 64, 3) and torch.isfinite(picture).all()


def test_gradients_change_the_picture(run_prompt):
    workflow = small("super_resolution", size=64, steps=2)
    by_class(workflow, "PSLD_KSampler").update(method="PSLD")
    guided, _ = sampled(run_prompt(workflow), workflow)
    free = copy.deepcopy(workflow)
    by_class(free, "PSLD_KSampler").update(gamma=0.0, omega=0.0)
    assert not torch.allclose(sampled(run_prompt(free), free)[0], guided)


def test_one_step_at_128_pixels(run_prompt):
    workflow = small("super_resolution", size=128, steps=1)
    by_class(workflow, "PSLD_KSampler").update(method="PSLD")
    latent, picture = sampled(run_prompt(workflow), workflow)
    assert torch.isfinite(latent).all() and picture.shape == (1, 128, 128, 3)


def test_random_sd15_is_a_stable_diffusion_checkpoint(comfy_base, caplog):
    import comfy.sd
    import comfy.supported_models

    file = write_sd15(comfy_base / "models" / "checkpoints")
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(file))
    assert isinstance(model.model.model_config, comfy.supported_models.SD15)
    assert "missing" not in caplog.text.lower()
    conditioning = clip.encode_from_tokens_scheduled(clip.tokenize("a hand"))
    out = sample(model, torch.zeros(1, 4, 8, 8), conditioning)
    assert out.isfinite().all() and 0.1 < float(out.std()) < 200
    image = vae.decode(out)
    assert image.isfinite().all() and 0.02 < float(image.std()) < 0.5
    with pytest.raises(ValueError, match="use the Load Checkpoint node"):
        load_ldm(file)
