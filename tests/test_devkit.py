"""dev.py and the parts of the devkit that need no server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from psld.devkit import ROOT, TASKS, DevError, demo, environment, trial
from psld.devkit.client import execution_message, load_workflow, node_titled
from psld.devkit.server import PACK, model_folders, prepare_base


def dev(*arguments: str, **environ: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "dev.py"), "--no-setup", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)


def test_every_command_has_a_module() -> None:
    listed = dev("--help").stdout
    for name in ("demo", "ui", "restore", "soak", "matrix", "test", "bench", "check", "draw"):
        assert name in listed and (ROOT / "devkit" / f"{name}.py").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["demo", "--bogus"], 2, "unrecognized arguments: --bogus"),
        (["demo", "--task", "colourise"], 2, "invalid choice: 'colourise'"),
        (["demo", "--image", __file__], 1, "cannot be read as a picture"),
        (["demo", "--image", "absent.png"], 1, "absent.png"),
    ],
)
def test_a_wrong_command_line_is_answered_by_a_sentence(arguments: list[str], code: int, sentence: str) -> None:
    result = dev(*arguments)
    assert result.returncode == code
    assert sentence in result.stderr and "Traceback" not in result.stderr


def test_set_up_refuses_a_comfyui_path_without_comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    monkeypatch.setattr(environment, "HOME", tmp_path / "home")
    with pytest.raises(DevError, match="no main.py"):
        environment.ensure()


@pytest.mark.parametrize(("version", "audio"), [("0.3.75", False), ("0.33.0", True), ("1.0.2", True)])
def test_the_torch_family_is_pinned_by_us(tmp_path: Path, version: str, audio: bool) -> None:
    (tmp_path / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    (tmp_path / "requirements.txt").write_text("torch\ntorchvision\ntorchaudio\ntorchsde\n\n#more:\nav>=14  # video\n")
    assert environment.requirements(tmp_path) == ["torchsde", "av>=14"]
    assert any("torchaudio" in package for package in environment.torch_packages(tmp_path)) == audio


def test_a_failing_step_shows_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "LOG", tmp_path / "setup.log")
    with pytest.raises(DevError, match="(?s)thinking failed.*setup.log.*no idea"):
        environment.logged("thinking", [sys.executable, "-c", "raise SystemExit('no idea')"])


def test_the_base_directory_holds_the_pack_and_the_checkouts_models(tmp_path: Path) -> None:
    (tmp_path / "checkout" / "models" / "loras").mkdir(parents=True)
    base = tmp_path / "base"
    for _ in range(2):  # a second run finds it as it is
        prepare_base(base)
    assert (base / "custom_nodes" / PACK).resolve() == ROOT
    paths = json.loads(model_folders(tmp_path / "checkout", base).read_text())["checkout"]
    assert (Path(paths["base_path"]) / paths["loras"]).is_dir()


@pytest.mark.parametrize("task", TASKS)
def test_every_demo_workflow_names_the_nodes_the_demo_needs(task: str) -> None:
    workflow = load_workflow(ROOT / "workflows" / "api" / f"{trial(task)}.json")
    for title in ("photo", "sampler", "metrics", *demo.PICTURES.values()):
        assert node_titled(workflow, title)
    assert workflow[node_titled(workflow, "photo")]["inputs"]["image"] in os.listdir(ROOT / "workflows" / "input")


def restoration() -> demo.Restoration:
    """A photo, its right half unknown, and a restoration that is off by 1/16 there and by 1/32 elsewhere."""
    truth = np.full((64, 64, 3), 64, np.uint8)
    pinv, restored = truth.copy(), truth + np.uint8(8)
    pinv[:, 32:] = 127
    restored[:, 32:] += 8
    arrays = {"truth": truth, "measured": pinv, "pinv": pinv, "restored": restored}
    pictures = {name: Image.fromarray(array) for name, array in arrays.items()}
    reported = {"method": "PSLD", "nfe": 7, "seconds": 1.5, "ssim": 0.5, "residual": 0.1, "sigma_y": 0.05}
    return demo.Restoration("box_inpainting", pictures, demo.metrics_row("box_inpainting", pictures, reported))


def test_metrics_come_from_the_pictures_where_the_workflow_gives_none() -> None:
    row = restoration().metrics
    assert list(row)[:9] == "task method nfe seconds psnr_measurement psnr ssim residual sigma_y".split()
    assert row["psnr_hole"] == pytest.approx(20 * np.log10(255 / 16), abs=1e-3)
    assert row["psnr_hole_measurement"] == pytest.approx(20 * np.log10(255 / 63), abs=1e-3)
    assert row["psnr"] == pytest.approx(-10 * np.log10((16**2 + 8**2) / 2 / 255**2), abs=1e-3)


def test_the_demo_writes_pictures_sheet_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "OUTPUT", tmp_path)
    one = restoration()
    demo.write([one])
    assert json.loads((tmp_path / "metrics.json").read_text()) == [one.metrics]
    assert Image.open(tmp_path / "box_inpainting_restored.png").getpixel((0, 0)) == (72, 72, 72)
    colours = Image.open(tmp_path / "sheet.png").getcolors(maxcolors=1 << 20)
    assert {(64, 64, 64), (127, 127, 127), (72, 72, 72), (80, 80, 80)} <= {colour for _, colour in colours}
    assert "box_inpainting" in demo.table([one])


def test_a_failed_node_is_described_by_its_title() -> None:
    workflow = {"7": {"class_type": "KSampler", "_meta": {"title": "sampler"}}}
    data = {"node_id": "7", "exception_message": "too small\n", "exception_type": "ValueError"}
    assert execution_message(workflow, data) == "sampler (node 7) failed: too small [ValueError]"
