"""The quality benchmark from end to end, small: rows, table, sheets, and going on where it stopped."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from psld.benchmarks import protocol, suite
from psld.benchmarks.images import read_images
from psld.benchmarks.passes import Cost, Passes, counted, drafted, metered
from psld.benchmarks.results import Results
from psld.benchmarks.table import mean_and_error, table, usual_device
from psld.benchmarks.tasks import TASKS
from psld.devkit import ROOT, DevError, bench
from psld.nodes.loading import PRIORS
from psld.operators import LinearOperator
from psld.solvers import Autoencoder, LatentModel, Method

SMALL = ["--limit", "1", "--steps", "2", "--tasks", "super_resolution", "denoising", "--sheet", "1"]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.quality_arguments(parser)
    return parser.parse_args([*SMALL, *words])


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one method, by the command a person types."""
    out = tmp_path_factory.mktemp("quality") / "run.json"
    command = [sys.executable, str(ROOT / "dev.py"), "--no-setup", "bench", "quality", *SMALL]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # as the tests: rows say how many
    command += ["--methods", "LDPS", "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert "super_resolution, LDPS@2: " in result.stdout
    return out


def test_a_run_goes_on_where_it_stopped(first_run: Path) -> None:
    before = json.loads(first_run.read_text())
    assert [(row["method"], row["task"]) for row in before["rows"]] == [
        ("LDPS", "super_resolution"),
        ("LDPS", "denoising"),
    ]
    protocol.run(arguments("--methods", "LDPS", "PSLD", "PSLD@1", "--out", str(first_run)))
    after = json.loads(first_run.read_text())
    assert after["rows"][:2] == before["rows"]  # not made again
    assert len(after["rows"]) == 6

    row = after["rows"][2]
    assert row["method"] == "PSLD" and row["steps"] == 2 and row["seed"] == 0 and row["sigma_y"] == 0.05
    assert row["nfe"] == {"unet_forward": 2, "unet_backward": 2, "decoder": 2, "encoder": 2, "draft": 0}
    assert row["seconds"] > 0 and row["psnr"] > 0 and 0 < row["lpips"] < 2 and 0.5 < row["residual_ratio"] < 2
    assert after["rows"][1]["sigma_y"] == 0.3
    assert {"torch", "comfyui"} <= after["versions"].keys() and after["setting"]["prior"] == "hands64.safetensors"

    lines = [line for line in first_run.with_suffix(".md").read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in cells}) == 1
    assert [line[:2] for line in cells if line[0] in ("LDPS", "PSLD")] == [
        ["LDPS", "2"], ["PSLD", "2"], ["PSLD", "1"], ["LDPS", "2"], ["PSLD", "2"], ["PSLD", "1"]
    ]  # fmt: skip
    assert float(cells[2][2]) == pytest.approx(before["rows"][0]["psnr"], abs=0.006)

    with Image.open(first_run.with_name("run_super_resolution_0.05.png")) as sheet:
        width, height = sheet.size
        columns = [sheet.crop((i * width // 6, 112, (i + 1) * width // 6, 250)).getextrema() for i in range(6)]
    assert all(low < 250 for column in columns for low, _ in column)  # truth, y, A^+ y and three results


def test_another_setting_does_not_mix_with_the_rows(first_run: Path) -> None:
    with pytest.raises(DevError, match="pixels 64, this run has 32; choose another file"):
        Results(first_run, {"prior": "hands64.safetensors", "pixels": 32})


def test_the_scheduler_sets_the_noise_levels(first_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    protocol.run(arguments("--methods", "LDPS", "--tasks", "denoising", "--scheduler", "karras", "--out", str(out)))
    found, before = json.loads(out.read_text()), json.loads(first_run.read_text())
    assert found["setting"]["scheduler"] == "karras" and before["setting"]["scheduler"] == "auto"
    assert abs(found["rows"][0]["psnr"] - before["rows"][1]["psnr"]) > 0.1


def test_a_suite_runs_on_each_prior_and_compares_with_the_first_method(tmp_path: Path) -> None:
    (tmp_path / "twin.safetensors").symlink_to(PRIORS / "hands64.safetensors")
    priors = [{"checkpoint": str(PRIORS / "hands64.safetensors")}, {"checkpoint": "twin.safetensors", "limit": 2}]
    (tmp_path / "suite.json").write_text(json.dumps(priors))
    words = ["--tasks", "denoising", "--methods", "LDPS@1", "PSLD@1", "--suite", str(tmp_path / "suite.json")]
    suite.run(arguments(*words, "--out", str(tmp_path / "all.json")))
    one, two = (json.loads((tmp_path / f"all_{name}.json").read_text())["rows"] for name in ("hands64", "twin"))
    assert len(one) == 2 and len(two) == 4
    assert [two[0][key] for key in ("image", "psnr")] == [one[0][key] for key in ("image", "psnr")]

    lines = (tmp_path / "all.md").read_text().splitlines()
    difference = [b["psnr"] - a["psnr"] for a, b in zip(two[:2], two[2:], strict=True)]
    error = abs(difference[0] - difference[1]) / 2  # of the mean of two
    assert any(f"| {sum(difference) / 2:+.2f} ({error:.2f}) / " in line for line in lines)
    mean = sum(row["psnr"] for row in two[2:]) / 2
    assert any(line.startswith(f"| PSLD@1 | {mean:.2f} / ") for line in lines)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("nonsense", "cannot be read as JSON"),
        ('{"checkpoint": "a"}', "is no prior"),
        ('[{"checkpoint": "a", "pixels": 64}]', "is no prior"),
        ('[{"checkpoint": "a", "size": "64"}]', "is no prior"),
        ('[{"size": 64}]', "is no prior"),
        ('[{"checkpoint": "a", "tasks": ["baking"]}]', "choose of super_resolution"),
        ('[{"checkpoint": "x/a.ckpt"}, {"checkpoint": "y/a.ckpt"}]', "two checkpoints"),
    ],
)
def test_a_file_that_is_no_suite_is_answered_by_a_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text(content)
    with pytest.raises(DevError, match=sentence):
        suite.read_suite(tmp_path / "suite.json")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--methods", "PSLE"], "'PSLE' is not one of Glued MAP, PSLD"),
        (["--methods", "PSLD@many"], "write it as PSLD@100"),
        (["--images", "/absent"], "/absent does not exist"),
        (["--checkpoint", "/absent.ckpt"], "/absent.ckpt does not exist"),
        (["--scheduler", "karass"], "--scheduler: 'karass' is not one of auto, "),
        (["--draft", "/absent.safetensors"], "--draft: /absent.safetensors does not exist"),
    ],
)
def test_a_wrong_argument_is_answered_by_a_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DevError, match=sentence):
        protocol.run(arguments(*words, "--out", str(tmp_path / "run.json")))


def test_images_come_from_the_test_part_of_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("train/a.png", "test/b.png", "test/c.png", "test/notes.txt"):
            archive.write(ROOT / "workflows" / "samples" / "hand_five.png", name)
    images = read_images(tmp_path / "photos.zip", 64, None)
    assert {image.name for image in images} == {"b", "c"}
    with Image.open(ROOT / "workflows" / "samples" / "hand_five.png") as picture:
        assert images[0].x[0, 0, 5, 9] == pytest.approx(picture.convert("RGB").getpixel((9, 5))[0] / 127.5 - 1)
    assert read_images(tmp_path / "photos.zip", 64, 1)[0].name == images[0].name


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("name", TASKS)
def test_tasks_scale_with_the_image(name: str, size: int) -> None:
    A = TASKS[name].bind(size, seed=1)
    assert isinstance(A, LinearOperator) and A.image_shape == (3, size, size)
    share = A.num_measurements / (3 * size**2)
    expected = {"super_resolution": 1 / 16, "random_inpainting": 0.3, "box_inpainting": 0.75, "destriping": 0.5}
    assert share == pytest.approx(expected.get(name, 1), abs=1e-3)


def test_only_gradients_through_the_denoiser_count_as_its_backward_passes() -> None:
    passes = Passes()
    model = counted(LatentModel(lambda z, sigma: 2 * z, lambda x: x, lambda z: z), passes, 1, lambda: None)
    z = torch.ones(1, 1, 2, 2, requires_grad=True)
    z0_hat = model.denoise(z, torch.tensor(1.0))
    torch.autograd.grad(model.decode(z0_hat).sum(), z0_hat, retain_graph=True)  # stops before the denoiser
    assert passes == Passes(unet_forward=1, decoder=1)
    torch.autograd.grad(z0_hat.sum() + z.sum(), z)
    model.denoise(z.detach(), torch.tensor(1.0))
    assert passes == Passes(unet_forward=2, unet_backward=1, decoder=1)


def test_a_draft_is_counted_apart_and_goes_to_the_methods_that_take_one() -> None:
    def plus_one(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    draft, cost = Autoencoder(plus_one, plus_one), Cost()
    model = LatentModel(plus_one, plus_one, plus_one)

    def solve(model: LatentModel, *_: object) -> torch.Tensor:
        return model.decode(model.guide.encode(model.guide.decode(torch.zeros(1))))

    for takes_draft in (True, False):
        method = metered(Method(solve, "", takes_draft=takes_draft), {}, cost, lambda: None)
        assert drafted(method, draft).solve(model, None, torch.zeros(1, 1), None) == 3
    assert (cost.passes.decoder, cost.passes.encoder, cost.passes.draft) == (1 + 2, 1, 2)


NFE = {"unet_forward": 1, "unet_backward": 0, "decoder": 1, "encoder": 2}
ROW = {"method": "M", "steps": 1, "parameters": {}, "nfe": NFE, "seconds": 1.0, "cpu_seconds": 1.0, "device": "here"}
GOOD = {"psnr": 20.0, "psnr_pinv": 20.5, "ssim": 0.5, "lpips": 0.1, "residual_ratio": 1.0}


def test_the_table_counts_what_failed() -> None:
    failed = ROW | GOOD | dict.fromkeys(("psnr", "ssim", "lpips"))
    text = table([ROW | GOOD, ROW | GOOD | {"psnr": 22.0}, failed], "here")
    assert "21.00 ± 1.00" in text and "| -0.5 |" in text and "3, 1 failed" in text
    assert mean_and_error([None], 2) == "-"


def test_seconds_are_those_of_the_usual_device() -> None:
    rows = [ROW | GOOD, ROW | GOOD, ROW | GOOD | {"psnr": 23.0, "seconds": 5.0, "device": "there"}]
    assert usual_device(rows) == "here"
    assert "21.00 ± 1.00" in table(rows, "here") and "| 1.00 | 1.00 | 3 |" in table(rows, "here")
    assert "| - | - | 1 |" in table(rows[2:], "here")
