"""Wrong wires are found before the first step, and named in display names and pixels."""

from __future__ import annotations

import comfy.latent_formats
import pytest
import torch
from psld.runtime import checks
from psld.tests.ldm import photo
from psld.tests.prompts import Failed, call, node

EMBEDDED = "[embedded] hands64.safetensors"


def test_a_vae_of_another_factor_is_refused_before_the_first_step(comfy_base):
    """A TAESD of Stable Diffusion has as many channels as the embedded prior, but covers 8 pixels a latent."""
    import comfy.sd
    from comfy.taesd.taesd import Decoder, Encoder

    weights = {f"taesd_{name}.{key}": value for name, part in (("encoder", Encoder()), ("decoder", Decoder()))
               for key, value in part.state_dict().items()}  # fmt: skip
    other = comfy.sd.VAE(sd=weights)
    (operator,) = call("Denoise")
    measurement = call("Measure", image=photo(), operator=operator, noise="none", sigma=0.0, seed=0)[0]
    with torch.inference_mode():
        model, *_ = call("LoadLDM", ckpt_name=EMBEDDED)
    settings = dict(seed=0, steps=2, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, method="PSLD")
    with pytest.raises(ValueError, match="vae: a latent of it covers 8 x 8 pixels, but one of the model's 4 x 4"):
        call("KSampler", model=model, vae=other, measurement=measurement, **settings)


@pytest.mark.parametrize(("name", "factor"), [("SD15", 8), ("SDXL", 8), ("SD3", 8), ("Flux", 8), ("SD_X4", 4)])
def test_the_factor_of_known_families_is_known(name, factor):
    assert checks.factor_of(getattr(comfy.latent_formats, name)()) == factor


def test_data_consistency_refuses_what_it_cannot_fit_before_the_sampler_runs(run_prompt, executor, comfy_base):
    from PIL import Image

    Image.fromarray((photo()[0] * 255).byte().numpy()).save(comfy_base / "input" / "wiring.png")
    prompt = {
        "photo": node("LoadImage", image="wiring.png"),
        "prior": node("PSLD_LoadLDM", ckpt_name=EMBEDDED),
        "operator": node("PSLD_Gamma", gamma=2.2),
        "measurement": node("PSLD_MeasurementFromImage", image=["photo", 0], operator=["operator", 0], sigma=0.02),
        "sampler": node("PSLD_KSampler", model=["prior", 0], vae=["prior", 1], measurement=["measurement", 0], seed=77,
                        steps=2, cfg=1.0, scheduler="auto", gamma=-1.0, omega=-1.0, method="LDPS"),
        "consistent": node("PSLD_DataConsistency", image=["sampler", 1], measurement=["measurement", 0],
                           method="exact", rcond=0.1, error=0.1),
        "save": node("PreviewImage", images=["consistent", 0]),
    }  # fmt: skip
    with pytest.raises(Failed, match="measurement: .* not linear"):
        run_prompt(prompt)
    assert executor.caches.outputs.get("sampler") is None
