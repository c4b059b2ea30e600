"""The training tool from nothing to samples in ComfyUI, and its metrics against their definitions."""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image, ImageDraw
from psld.devkit import ROOT, train
from psld.devkit.perceptual import ArraysOnly, lpips_alex
from psld.nodes.loading import PRIORS
from psld.runtime.ldm.tiny import TinyAutoencoder
from psld.training import data, diffusion, draft, evaluate, finished, loop, metrics, networks, run, samples
from safetensors.torch import save_file


def drawing(rng: np.random.Generator) -> Image.Image:
    """A disc on a wall, not square."""
    image = Image.new("RGB", (90, 80), tuple(rng.integers(150, 255, 3)))
    x, y, r = rng.uniform(20, 60, 3) / (1, 1, 3)
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 120, 3)))
    return image


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A zip of 40 pictures."""
    path, rng = tmp_path_factory.mktemp("data") / "photos.zip", np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(40):
            file = BytesIO()
            drawing(rng).save(file, "png")
            archive.writestr(f"some/{i:03}.png", file.getvalue())
    return path


@pytest.fixture
def hasty(monkeypatch) -> None:
    """What is not looked at takes no time: how good a U-Net and its samples are."""
    monkeypatch.setattr(run, "FIRST_STAGE_SHARE", 0.6)
    monkeypatch.setattr(samples, "STEPS", 3)


def dev(*arguments: object) -> subprocess.CompletedProcess:
    """`dev.py train` as a person types it."""
    command = [sys.executable, str(ROOT / "dev.py"), "--no-setup", "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def here(*arguments: object) -> None:
    """The same within this process, which has ComfyUI already."""
    parser = argparse.ArgumentParser()
    train.arguments(parser)
    train.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_train_resume_export_load_and_sample(photos, tmp_path, run_prompt, comfy_base, capsys, hasty):
    common = ("--data", photos, "--out", tmp_path, "--minutes")
    here(*common, 60, "--stop-after", 0.05)
    assert "the same command goes on" in capsys.readouterr().out and not (tmp_path / "prior.safetensors").exists()
    before = torch.load(tmp_path / "first_stage.pt", weights_only=True)
    minutes = (before["seconds"] + 6) / run.FIRST_STAGE_SHARE / 60  # on any machine: 6 s more for the first stage
    here(*common, minutes)
    after, unet = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("first_stage", "unet"))
    assert after["step"] > before["step"] > 0 and after["seconds"] > before["seconds"]

    here(*common, 2 * minutes, "--stop-after", 0.01)
    kept, longer = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("first_stage", "unet"))
    assert kept["step"] == after["step"], "the U-Net knows the latents of this first stage only"
    assert longer["step"] > unet["step"]

    logged = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert {"psnr", "lpips"} <= {row["name"] for row in logged}
    quality = [float(row["value"]) for row in logged if row["name"] == "psnr"]
    assert quality[-1] > quality[0]
    assert Image.open(tmp_path / "curves.png").size[0] > 0
    assert list((tmp_path / "sheets").glob("samples_*.png"))

    prior = tmp_path / "prior.safetensors"
    (comfy_base / "models" / "checkpoints" / "trained.safetensors").write_bytes(prior.read_bytes())
    picture = run_prompt(stock_sampling("trained.safetensors"))["decode"][0]
    assert picture.shape == (1, 64, 64, 3) and torch.isfinite(picture).all()

    evaluated = dev("--evaluate", prior, "--data", photos, "--samples", 4, "--out", tmp_path / "evaluation")
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads(evaluated.stdout[evaluated.stdout.index("{") :])
    assert (found["train_photos"], found["test_photos"], found["size"]) == (36, 4, 64)
    assert found["psnr"] == pytest.approx(quality[-1], abs=1.0) and found["kid"] > 0
    assert Image.open(tmp_path / "evaluation" / "neighbours.png").size == (8 * 66, 66)


def stock_sampling(checkpoint: str) -> dict:
    """Load Latent Diffusion (LDM), then nothing but ComfyUI's own nodes."""
    settings = {"seed": 0, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    text = {"positive": ["load", 2], "negative": ["load", 2]}
    return {
        "load": {"class_type": "PSLD_LoadLDM", "inputs": {"ckpt_name": checkpoint}},
        "empty": {"class_type": "PSLD_EmptyLatent",
                  "inputs": {"vae": ["load", 1], "width": 64, "height": 64, "batch_size": 1}},
        "sample": {"class_type": "KSampler",
                   "inputs": {"model": ["load", 0], "latent_image": ["empty", 0], **text, **settings}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["load", 1]}},
        "look": {"class_type": "PreviewImage", "inputs": {"images": ["decode", 0]}},
    }


def test_training_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="holds no photos"):
        here("--data", tmp_path, "--out", tmp_path / "out")
    other = tmp_path / "weights.safetensors"
    other.write_bytes(b"0")
    with pytest.raises(ValueError, match="is no prior"):
        here("--data", tmp_path, "--evaluate", other)


@pytest.mark.slow
def test_a_draft_learns_to_answer_like_the_autoencoder(photos):
    teacher = draft.teacher_of(PRIORS / "hands64.safetensors")
    torch.manual_seed(0)
    network = draft.draft_of(teacher.vae)
    images = data.squares(data.read_photos(photos, "train"), 32)
    loss = draft.DraftLoss(network, teacher, images, seed=0)
    training = loop.Training(network, draft.LEARNING_RATE, draft.DECAY)
    training.step = loop.WARM_UP
    history = list(itertools.islice(training.run(loss, budget=math.inf, every=1), 25))
    for part in ("decoder", "encoder"):
        first, last = ([step[part] for step in steps] for steps in (history[:5], history[-5:]))
        assert sum(last) < 0.8 * sum(first)


def test_a_draft_is_read_back(photos, tmp_path):
    read = draft.load_draft(draft.distil(PRIORS / "hands64.safetensors", photos, tmp_path, minutes=1e-3))
    z0 = read.encode(torch.zeros(2, 3, 64, 64))
    assert z0.shape == (2, 4, 16, 16) and read.decode(z0).shape == (2, 3, 64, 64)


def test_splits_follow_folders_where_there_are_any(tmp_path):
    for split, number in (("train", 3), ("test", 2)):
        (tmp_path / split).mkdir()
        for i in range(number):
            drawing(np.random.default_rng(i)).save(tmp_path / split / f"{i}.png")
    assert [len(data.read_photos(tmp_path, split)) for split in ("train", "test")] == [3, 2]


def test_augmentations_keep_the_size_and_differ(photos):
    images = data.bank(data.read_photos(photos, "test"), 32, copies=2, zoom=0.6)
    assert images.shape == (8, 3, 32, 32) and images.dtype == torch.uint8
    assert (images[:4] != images[4:]).flatten(1).any(dim=1).all()


def test_fid_agrees_with_the_matrix_square_root():
    x, y = torch.randn(200, 6).double(), (torch.randn(300, 6) * 1.5 + 0.3).double()
    covariances = [torch.cov(features.T).numpy() for features in (x, y)]
    cross = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = float((x.mean(0) - y.mean(0)).square().sum()) + np.trace(sum(covariances) - 2 * cross)
    assert metrics.fid(x, y) == pytest.approx(expected, abs=1e-3)
    assert metrics.fid(x, x) == pytest.approx(0, abs=1e-3)


def test_kid_is_the_unbiased_discrepancy():
    x, y = torch.randn(9, 5).double(), torch.randn(7, 5).double() + 1

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(a @ b / 5 + 1) ** 3

    def within(a: torch.Tensor) -> float:
        return np.mean([k(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j])

    expected = within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])
    assert metrics.kid(x, y) == pytest.approx(expected, abs=1e-5)


def test_the_nearest_photo_of_a_photo_is_itself_and_of_its_mirror_image_too(photos, monkeypatch):
    monkeypatch.setattr(evaluate, "COMPARED", 5)  # at a time, of twelve
    images = data.pixels(data.squares(data.read_photos(photos, "train")[:12], 64))
    distances, nearest = evaluate.nearest_photos(torch.stack([images[5], images[7].flip(-1)]), images)
    assert nearest.tolist() == [5, 7] and distances.abs().max() < 1e-6


def test_lpips_grows_with_distortion():
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    distances = torch.stack([lpips_alex(x, x + sigma * torch.randn_like(x)) for sigma in (0.0, 0.1, 0.4)])
    assert distances[0].abs().max() == 0 and (distances.diff(dim=0) > 0).all()


def test_a_pickle_that_names_anything_but_arrays_is_refused():
    malicious = b"cos\nsystem\n(S'true'\ntR."
    with pytest.raises(Exception, match="no place in a file of weights"):
        ArraysOnly(BytesIO(malicious)).load()


@pytest.mark.parametrize(("factor", "shape"), [(4, (1, 4, 16, 16)), (8, (1, 16, 8, 8))])
def test_the_latents_are_as_small_as_the_factor_says(factor, shape):
    config = networks.kl_config(64, factor)
    mean, _ = networks.encode(networks.first_stage(config), torch.zeros(1, 3, 64, 64))
    assert mean.shape == shape
    assert networks.unet(networks.sizes(64, factor, shape[1]))(mean, torch.zeros(1)).shape == shape


def test_mean_losses_come_after_so_many_steps():
    training = loop.Training(torch.nn.Conv2d(1, 1, 1), 1e-3, 0.9)
    values = iter(range(100))

    def loss() -> dict[str, torch.Tensor]:
        return {"v": 0 * training.network(torch.ones(1, 1, 2, 2)).sum() + next(values)}

    assert list(itertools.islice(training.run(loss, math.inf, every=4), 9)) == [
        {}, {}, {}, {"v": 1.5}, {}, {}, {}, {"v": 5.5}, {}]  # fmt: skip


@pytest.mark.parametrize("parameterization", ["v", "eps"])
def test_a_network_that_knows_the_answer_has_no_loss(parameterization):
    z = torch.randn(1, 3, 4, 4)

    class Knowing(torch.nn.Module):
        """The noise of the one latent there is."""

        def forward(self, noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            alpha = networks.alphas_cumprod()[t][:, None, None, None]
            noise = (noisy - alpha.sqrt() * z.half().float()) / (1 - alpha).sqrt()
            return noise if parameterization == "eps" else alpha.sqrt() * noise - (1 - alpha).sqrt() * z.half().float()

    latents = diffusion.Latents(z, 3, torch.device("cpu"))
    loss = diffusion.DiffusionLoss(Knowing(), latents, 1.0, parameterization, 16, torch.device("cpu"), seed=0)
    assert float(loss()[parameterization]) < 1e-6


def test_noise_levels_are_spread_evenly_over_a_log_normal_distribution():
    latents = diffusion.Latents(torch.zeros(1, 3, 4, 4), 3, torch.device("cpu"))
    loss = diffusion.DiffusionLoss(torch.nn.Identity(), latents, 1.0, "v", 2000, torch.device("cpu"), seed=0)
    sigmas = ((1 - loss.alphas) / loss.alphas).sqrt()[loss.steps()]
    quartiles = sigmas.quantile(torch.tensor([0.25, 0.5, 0.75]))
    expected = diffusion.MEDIAN_SIGMA * torch.exp(diffusion.SPREAD * torch.tensor([-0.6745, 0, 0.6745]))
    torch.testing.assert_close(quartiles, expected, rtol=0.02, atol=0)


def test_latents_have_unit_variance_after_scaling_with_a_posterior_and_without():
    means, spread = 3 * torch.randn(4000, 2, 2, 2), torch.full((4000, 2, 2, 2), 2 * math.log(4))
    generator = torch.Generator().manual_seed(0)
    for moments in (means, torch.cat([means, spread], dim=1)):
        latents = diffusion.Latents(moments, 2, torch.device("cpu"))
        drawn = latents.scale_factor() * latents.draw(4000, generator)
        assert drawn.shape == (4000, 2, 2, 2) and drawn.var() == pytest.approx(1, abs=0.05)


def test_shifted_pictures_are_parts_of_the_reflected_ones_and_half_are_mirrored():
    ramp = torch.arange(64.0).expand(40, 3, 64, 64)
    moved = data.shifted(ramp, torch.Generator().manual_seed(0))
    steps = moved[:, 0, 32].diff(dim=-1)[:, 8:-8]
    assert moved.shape == ramp.shape and (steps.abs() == 1).all()
    assert 10 < int((steps[:, 0] < 0).sum()) < 30
    assert (moved[:, 0, 0, 32] - 31.5).abs().max() <= 2.5


@pytest.mark.slow
def test_a_prior_in_the_latents_of_a_given_autoencoder_is_trained_and_gone_on_with(photos, tmp_path, hasty):
    torch.manual_seed(0)
    given = tmp_path / "tiny"
    given.mkdir()
    network = TinyAutoencoder(5, width=8, pooled=True)
    for half in ("encoder", "decoder"):
        torch.save(getattr(network, half).state_dict(), given / f"tiny_{half}.pth")
    (given / "LICENSE").write_text("Take it.")
    out, again = tmp_path / "out", tmp_path / "again"
    trained = run.train(photos, out, minutes=0.02, given=given, copies=1)
    start = finished.read_start(trained, torch.device("cpu"))
    assert start.first_stage.notes["first_stage_license"] == "Take it."
    assert (start.sizes.channels, start.sizes.image_size, start.parameterization) == (5, 8, "v")
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(start.first_stage.moments(x), network.encode(x), atol=1e-2, rtol=1e-2)
    weights, metadata = finished.opened(trained)
    save_file(weights | {"model.diffusion_model.out.0.bias": torch.ones(64)}, trained, metadata)
    longer = finished.read_start(run.train(photos, again, minutes=0.02, start=trained, copies=1), torch.device("cpu"))
    assert longer.scale_factor == start.scale_factor and longer.first_stage.notes == start.first_stage.notes
    assert (longer.unet["out.0.bias"] - 1).abs().max() < 0.1
    assert not torch.equal(longer.unet["out.2.weight"], start.unet["out.2.weight"])
    assert evaluate.image_size(trained) == 64
    torch.testing.assert_close(draft.load_draft(given).encode(x), network.encode(x))


def test_a_given_autoencoder_needs_both_halves(tmp_path):
    with pytest.raises(ValueError, match="holds 0 files called \\*encoder"):
        finished.read_first_stage(tmp_path, torch.device("cpu"))
